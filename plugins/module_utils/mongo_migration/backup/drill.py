"""The proof that a backup restores: restore it into a scratch database, compare, drop it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from .. import connection
from ..document.collections import STATE
from ..errors import ArchiveError
from ..ledger import lease as leases
from ..ledger.lease import LEASE_ID, Lease
from ..support.progress import Sink
from ..support.stop import StopSignal
from . import catalog, compare, load, restore, specs
from .source import Source

_SUFFIX = "_drill"
_LEASE_SECONDS = 30


def scratch_name(database: str) -> str:
    """Return the name of the scratch database for *database*."""
    return f"{database}{_SUFFIX}"


def drill(
    client: MongoClient[dict[str, Any]],
    source: Source,
    *,
    scratch: str,
    hold: Callable[[Database[dict[str, Any]]], AbstractContextManager[Lease]],
    progress: Sink,
    stop: StopSignal | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Restore *source* into the database *scratch*, compare it, and drop it again.

    A restore in earnest finds a database there. So does this one: collections of the same names and
    options, and one that the backup doesn't have.

    Args:
        client: the deployment of the scratch database; it may be another one than production.
        source: the backup.
        scratch: a database that doesn't exist; it is dropped whatever happens.
        hold: takes the lease of a database, so that two drills don't meet; its purpose begins
            with :data:`PURPOSE`.
        progress: told of each batch.
        stop: asks for the end.
        clock: seconds, for the time it took.

    Raises:
        ArchiveError: the scratch database exists, or the backup doesn't restore to what it says.
    """
    began = clock()
    database = client[scratch]
    _require_scratch(database, source)
    with hold(database) as held:
        try:
            _make_present(database, source)
            restore.restore(
                client,
                source,
                restore.Settings(
                    database=scratch,
                    source_database=source.manifest.database,
                    confirm=scratch,
                    keep_state=False,
                ),
                hold=lambda _database: nullcontext(held),
                progress=progress,
                stop=stop,
            )
            compared = _compare(client, source, scratch)
        finally:
            held.check()
            client.drop_database(scratch)
    return {
        "archive": str(source.path),
        "scratch": scratch,
        "server": connection.inspect(client).version,
        "collections": compared,
        "documents": source.manifest.documents,
        "passed": True,
        "elapsed": round(clock() - began, 3),
    }


def examiner(
    client: MongoClient[dict[str, Any]],
    *,
    scratch: str,
    holder: Mapping[str, Any],
    progress: Sink,
    stop: StopSignal,
) -> Callable[[Source], dict[str, Any]]:
    """Return what drills a backup that was just taken, under the scratch database's lease."""

    def examine(source: Source) -> dict[str, Any]:
        return drill(
            client,
            source,
            scratch=scratch,
            hold=lambda database: leases.hold(
                database,
                purpose=f"{PURPOSE} of {source.path.name}",
                holder=dict(holder),
                seconds=_LEASE_SECONDS,
            ),
            progress=progress,
            stop=stop,
        )

    return examine


#: How the purpose of a drill's lease begins; it tells a drill's leftover from what somebody needs.
PURPOSE = "drill"
# A collection that the backup doesn't have.
_STRAY = "_migrations_drill"


def _is_ours(database: Database[Any]) -> bool:
    lease = database[STATE].find_one({"_id": LEASE_ID}, {"purpose": 1}) or {}
    return str(lease.get("purpose", "")).startswith(PURPOSE)


def _require_scratch(database: Database[Any], source: Source) -> None:
    if database.name == source.manifest.database or not database.name.endswith(_SUFFIX):
        raise ArchiveError(
            f"A drill drops its database in the end, so its name must end in {_SUFFIX}: "
            f"'{database.name}' doesn't."
        )
    if catalog.every_name(database) and not _is_ours(database):
        raise ArchiveError(
            f"The database '{database.name}' exists and isn't a leftover of a drill. Drop it, or "
            "name another one for the drill."
        )


def _make_present(database: Database[Any], source: Source) -> None:
    """Make what a restore would find: the backup's own collections, empty, and another one."""
    for one in catalog.read(database):  # a leftover
        if one.name != STATE:
            load.drop(database, one.name)
    database.command({"create": _STRAY})
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


def _compare(client: MongoClient[dict[str, Any]], source: Source, scratch: str) -> int:
    """Read the restored collections under their own names and compare; return how many."""
    database = client[scratch]
    found = {one.name: one for one in catalog.read(database)}
    missing = [one.name for one in source.manifest.collections if one.name not in found]
    if missing:
        raise ArchiveError(f"After the drill's restore, these are missing: {', '.join(missing)}.")
    for entry in source.manifest.collections:
        stored = found[entry.name].stored_in
        # Where a TTL index removes what has expired, only the restore's own comparison counts.
        if stored is None or entry.digest is None or _expires(entry.exact()):
            continue
        if entry.name == STATE:
            continue
        digest = load.digest_of(database, stored, read=lambda count: None)
        compare.require_loaded(source, entry, digest)
    return len(source.manifest.collections)


def _expires(exact: tuple[dict[str, Any], list[dict[str, Any]]]) -> bool:
    options, indexes = exact
    return "expireAfterSeconds" in options or any("expireAfterSeconds" in one for one in indexes)
