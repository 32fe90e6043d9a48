"""The proof that a backup restores: restore it into a scratch database, compare, drop it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from ..document.collections import STATE
from ..errors import ArchiveError
from ..ledger import lease
from ..server import connection
from ..support.progress import Sink
from ..support.stop import StopSignal
from . import compare, load, restore, scratch, specs
from .source import Source

_LEASE_SECONDS = 30
# A collection that the backup doesn't have.
_STRAY = "_migrations_drill"


def scratch_name(database: str) -> str:
    """Return the name of the scratch database for *database*."""
    return f"{database}{scratch.DRILL}"


def drill(
    client: MongoClient[dict[str, Any]],
    source: Source,
    *,
    name: str,
    operator: Mapping[str, Any],
    progress: Sink,
    stop: StopSignal | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Restore *source* into the database *name*, compare it, and drop it again.

    A restore in earnest finds a database there. So does this one: collections of the same names and
    options, and one that the backup doesn't have.

    Args:
        client: the deployment of the scratch database; it may be another one than production.
        source: the backup.
        name: a database that doesn't exist; it is dropped whatever happens.
        operator: user, host and pid of this process.
        progress: told of each batch.
        stop: asks for the end.
        clock: seconds, for the time it took.

    Raises:
        ArchiveError: the scratch database exists, or the backup doesn't restore to what it says.
    """
    began = clock()
    of, purpose = source.manifest.database, f"drill of {source.path.name}"
    wanted = scratch.Wanted(
        name=name, of=of, ending=scratch.DRILL, purpose=purpose, operator=operator
    )
    with scratch.own(client, wanted) as mine:
        _make_present(mine.database, source)
        restore.restore(
            client,
            source,
            restore.Settings(database=name, source_database=of, confirm=name, keep_state=False),
            hold=lambda there: lease.hold(
                there, purpose=purpose, holder=dict(operator), seconds=_LEASE_SECONDS
            ),
            progress=progress,
            stop=stop,
        )
        for found in compare.each(mine.database, source):
            found.require()
    return {
        "archive": str(source.path),
        "scratch": name,
        "server": connection.inspect(client).version,
        "collections": len(source.manifest.collections),
        "documents": source.manifest.documents,
        "passed": True,
        "elapsed": round(clock() - began, 3),
    }


def examiner(
    client: MongoClient[dict[str, Any]],
    *,
    name: str,
    operator: Mapping[str, Any],
    progress: Sink,
    stop: StopSignal,
) -> Callable[[Source], dict[str, Any]]:
    """Return what drills a backup that was just taken."""
    return lambda source: drill(
        client, source, name=name, operator=operator, progress=progress, stop=stop
    )


def _make_present(database: Database[Any], source: Source) -> None:
    """Make what a restore would find: the backup's own collections, empty, and another one."""
    load.create(database, _STRAY, {})
    for entry in source.manifest.collections:
        if entry.name == STATE:
            continue
        options, _indexes = specs.restorable(*entry.exact())
        try:
            load.create(database, entry.name, options)
        except OperationFailure as error:
            raise ArchiveError(
                f"The drill can't make the collection {entry.name!r}: {error}. The backup doesn't "
                "restore on this server.",
                collection=entry.name,
            ) from error
