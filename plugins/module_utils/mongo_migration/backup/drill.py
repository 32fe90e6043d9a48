"""The proof that a backup restores: restore it into a scratch database, compare, drop it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import MongoClient

from .. import connection
from ..document.collections import STATE
from ..errors import ArchiveError
from ..support.progress import Sink
from ..support.stop import StopSignal
from ..values.digest import Digest
from . import catalog, load, restore

_SUFFIX = "_drill"


class _Nobody:
    """A scratch database needs no lease: nobody else knows its name."""

    def check(self) -> None:
        """Never lost."""


@contextmanager
def _unheld(_database: Any) -> Iterator[_Nobody]:
    yield _Nobody()


def scratch_name(database: str) -> str:
    """Return the name of the scratch database for *database*."""
    return f"{database}{_SUFFIX}"


def drill(
    client: MongoClient[dict[str, Any]],
    source: restore.Source,
    *,
    scratch: str,
    progress: Sink,
    stop: StopSignal | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Restore *source* into the database *scratch*, compare it, and drop it again.

    Args:
        client: the deployment of the scratch database; it may be another one than production.
        source: the backup.
        scratch: a database that doesn't exist; it is dropped whatever happens.
        progress: told of each batch.
        stop: asks for the end.
        clock: seconds, for the time it took.

    Raises:
        ArchiveError: the scratch database exists, or the backup doesn't restore to what it says.
    """
    began = clock()
    if scratch == source.manifest.database or not scratch.endswith(_SUFFIX):
        raise ArchiveError(
            f"A drill drops its database in the end, so its name must end in {_SUFFIX}: "
            f"'{scratch}' doesn't."
        )
    database = client[scratch]
    if database.list_collection_names() and not _is_ours(database):
        raise ArchiveError(
            f"The database '{scratch}' exists and isn't a leftover of a drill. Drop it, or name "
            "another one for the drill."
        )
    client.drop_database(scratch)
    database[_MARK].insert_one({"_id": "drill", "archive": source.path.name})
    try:
        restore.restore(
            client,
            source,
            restore.Settings(
                database=scratch,
                source_database=source.manifest.database,
                confirm=scratch,
                keep_state=False,
                keep=frozenset({_MARK}),
            ),
            hold=_unheld,
            progress=progress,
            stop=stop,
        )
        compared = _compare(client, source, scratch)
    finally:
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


# Tells a drill's own leftover from a database that somebody needs.
_MARK = f"{catalog.LOADING}drill"


def _is_ours(database: Any) -> bool:
    return database[_MARK].find_one({"_id": "drill"}) is not None


def _compare(client: MongoClient[dict[str, Any]], source: restore.Source, scratch: str) -> int:
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
        if digest != Digest.parse(entry.digest, entry.count):
            raise ArchiveError(
                f"After the drill's restore, {entry.name} has {digest.count} documents with digest "
                f"{digest.hexdigest()}; the manifest says {entry.count} with {entry.digest}.",
                collection=entry.name,
            )
    return len(source.manifest.collections)


def _expires(exact: tuple[dict[str, Any], list[dict[str, Any]]]) -> bool:
    options, indexes = exact
    return "expireAfterSeconds" in options or any("expireAfterSeconds" in one for one in indexes)
