"""Reads a database and writes it to an archive, at one point in time where the server can."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO

from bson.timestamp import Timestamp
from pymongo.database import Database
from pymongo.errors import ExecutionTimeout, OperationFailure, WTimeoutError

from ..document.collections import STATE
from ..errors import ArchiveError
from ..server import operation_time
from ..server.connection import Server
from ..support import majority
from ..support.progress import Sink
from ..values.raw import RAW_CODEC, SnapshotMissedError, raw_batches
from . import catalog, documents, names
from .archive_writer import Writer
from .documents import CHUNK, Reading
from .manifest import NAME, Collection, File, Manifest
from .spool import Spool

UNAUTHORIZED = 13
SNAPSHOT_UNAVAILABLE = 246
SNAPSHOT_TOO_OLD = 239
CAPPED_POSITION_LOST = 136
_OVERTAKEN = 5  # times that writers may overtake the reading of a capped collection


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The collections to read, and the cluster time to read them at; None where there is none."""

    found: list[catalog.Found]
    time: Timestamp | None = None


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A collection whose documents are being read, and the file that they go to."""

    entry: Collection
    found: catalog.Found
    output: documents.Output


class CatalogChangedError(ArchiveError):
    """Collections or indexes were made or removed meanwhile; a new attempt may succeed."""


def snapshot(database: Database[Any], server: Server, *, attempts: int = 5) -> Snapshot:
    """Return what to read, and at which time.

    The catalog has no snapshot of its own: it is read before and after the time is taken, until
    both readings agree.
    """
    found = catalog.read(database)
    if server.topology == "standalone":
        return Snapshot(found=found)
    for _ in range(attempts):
        time = operation_time.present(database.client)
        again = catalog.read(database)
        if again == found:
            _await(database, found, time)
            return Snapshot(found=found, time=time)
        found = again
    raise CatalogChangedError(
        f"Collections or indexes of '{database.name}' are being made or removed all the time. "
        "Wait until that is over, then take the backup."
    )


def _await(database: Database[Any], found: list[catalog.Found], time: Timestamp) -> None:
    """Wait, not without end, until the members can be read as of *time*.

    Raises:
        WTimeoutError: a majority hasn't come so far.
    """
    name = next((one.stored_in for one in found if one.stored_in and not one.capped), None)
    if name is None:
        return
    try:
        database.command(
            {
                "find": name,
                "limit": 1,
                "singleBatch": True,
                "readConcern": {"level": "snapshot", "atClusterTime": time},
                "maxTimeMS": majority.WAIT_SECONDS * 1000,
            },
            codec_options=RAW_CODEC,
        )
    except ExecutionTimeout as error:
        raise WTimeoutError("a majority hasn't confirmed the newest writes", 64) from error
    except OperationFailure as error:
        _explain(error, database, name)
        raise


def write(
    database: Database[Any],
    file: BinaryIO | Spool,
    *,
    server: Server,
    now: Callable[[], datetime],
    progress: Sink,
    note: dict[str, Any] | None = None,
    locked: bool = False,
) -> Manifest:
    """Write all of *database* to *file*, an archive that is verified by nobody yet.

    Args:
        database: what to read; from its primary.
        file: empty and seekable.
        server: what kind of deployment it is.
        now: the clock.
        progress: told of each chunk.
        note: kept in the manifest: which change the backup belongs to.
        locked: the caller holds the server still (fsync lock): then a standalone is consistent too.

    Raises:
        CatalogChangedError: try again.
        ArchiveError: the server can't give what is needed; the message says how to go on.
    """
    started = now()
    what = snapshot(database, server)
    total = sum(count for count, _ in catalog.sizes(database, what.found).values())
    writer = Writer(file, modified=int(started.timestamp()))
    sources = [_source(database, one, what) for one in what.found]
    files = [write_definition(writer, database.name, source.entry) for source in sources]
    stored = [one for one in sources if one.found.stored_in]
    reading = _read(database, stored, what.time)
    files += documents.write(writer, reading, total=total, progress=progress)
    for source in stored:
        source.output.describe(source.entry)

    consistent, reason = _consistency(what, locked)
    manifest = Manifest(
        database=database.name,
        started=iso(started),
        finished=iso(now()),
        server=server.as_dict(),
        consistent=consistent,
        reason=reason,
        snapshot_time=iso(what.time.as_datetime()) if what.time else None,
        cluster_time={"t": what.time.time, "i": what.time.inc} if what.time else None,
        collections=[source.entry for source in sources],
        files=files,
        runs=runs(database),
        note=note or {},
    )
    writer.finish(NAME, manifest.dump())
    return manifest


def _read(database: Database[Any], sources: list[_Source], time: Timestamp | None) -> Reading:
    """Yield the documents of each collection in lists, then None as its end."""
    for source in sources:
        for batch in read_collection(database, source.found, time):
            yield source.output, batch
        yield source.output, None


def read_collection(
    database: Database[Any], found: catalog.Found, time: Timestamp | None
) -> Iterator[list[bytes]]:
    """Yield all documents of a collection: of *time*, or as a majority has them if it is capped.

    Raises:
        CatalogChangedError: try again.
        ArchiveError: the server can't give what is needed; the message says how to go on.
    """
    with explained(database, found.name):
        yield from (_read_capped if found.capped else _read_all)(database, found, time)


@contextmanager
def explained(database: Database[Any], collection: str) -> Iterator[None]:
    """Say of what the server refuses to read from *collection* how to go on."""
    try:
        yield
    except OperationFailure as error:
        _explain(error, database, collection)
        raise
    except SnapshotMissedError as error:
        raise _changed(database, collection) from error


def _read_all(
    database: Database[Any], found: catalog.Found, time: Timestamp | None
) -> Iterator[list[bytes]]:
    if found.stored_in is None:
        raise AssertionError("a collection with data has a place")
    return raw_batches(
        database,
        found.stored_in,
        at=None if found.capped else time,
        read_concern={"level": "majority"} if time else None,
        batch_bytes=CHUNK,
        comment="mongo_backup",
    )


def _read_capped(
    database: Database[Any], found: catalog.Found, time: Timestamp | None
) -> Iterator[list[bytes]]:
    """Yield the documents of a capped collection, which may be written while it is read.

    It ends with more than the collection can hold: whoever runs after new documents would never
    end. Where the writers overtake the reading, all that was read is gone by now, and what is there
    is later: the reading goes on with that.
    """
    options = found.options
    most, most_bytes = options.get("max") or math.inf, options.get("size") or math.inf
    for attempt in range(_OVERTAKEN + 1):
        count = size = 0
        try:
            for batch in _read_all(database, found, time):
                yield batch
                count, size = count + len(batch), size + sum(map(len, batch))
                if count > most or size > most_bytes:
                    return
        except OperationFailure as error:
            if error.code != CAPPED_POSITION_LOST or attempt == _OVERTAKEN:
                raise
        else:
            return


def _explain(error: OperationFailure, database: Database[Any], collection: str) -> None:
    where = f"{database.name}.{collection}"
    if error.code == SNAPSHOT_UNAVAILABLE:
        raise _changed(database, collection) from error
    if error.code == UNAUTHORIZED:
        raise ArchiveError(
            f"This user may not read {where}: grant it the role backup on admin. Without time "
            f"series, the role read on {database.name} is enough.",
            collection=collection,
        ) from error
    if error.code == CAPPED_POSITION_LOST:
        raise ArchiveError(
            f"The capped collection {where} is overwritten faster than it can be read. Stop what "
            "writes to it, or take the backup when less is written.",
            collection=collection,
        ) from error
    if error.code == SNAPSHOT_TOO_OLD:
        raise ArchiveError(
            f"The backup takes longer than the server's snapshot history window: reading {where} "
            "failed with SnapshotTooOld. Widen it, on every member: "
            "db.adminCommand({setParameter: 1, minSnapshotHistoryWindowInSeconds: 3600}), and take "
            "the backup again (option snapshot_window does this for the time of the backup).",
            collection=collection,
        ) from error


def _changed(database: Database[Any], collection: str) -> CatalogChangedError:
    return CatalogChangedError(
        f"{database.name}.{collection} or its indexes changed while the backup was taken, so that "
        "it can't be read at the time of the snapshot. Take the backup again when nothing is "
        "created, dropped, renamed or indexed."
    )


def _source(database: Database[Any], found: catalog.Found, what: Snapshot) -> _Source:
    entry = Collection.describe(found)
    entry.at_snapshot = found.type == "view" or (what.time is not None and not found.capped)
    file = names.data_file(database.name, found.name, found.type)
    return _Source(entry=entry, found=found, output=documents.Output(file, found.name))


def write_definition(writer: Writer, database: str, entry: Collection) -> File:
    """Write what mongorestore wants to know of a collection's options and indexes."""
    text = entry.metadata()
    written = writer.add(names.metadata_file(database, entry.name), text)
    return documents.describe(written, hashlib.sha256(text).hexdigest())


def _consistency(what: Snapshot, locked: bool) -> tuple[bool, str | None]:
    """Return whether all collections are of one point in time, and what to know about it."""
    if what.time is not None:
        return True, capped_note(what.found)
    if locked:
        return True, "Read while the server was locked against writes."
    return False, (
        "A standalone server has no snapshots: each collection was read at another moment. "
        "Writes during the backup may be in one collection and not in the other. Stop the writers "
        "first, set fsync_lock, or run the server as a replica set of one member."
    )


def capped_note(found: list[catalog.Found]) -> str | None:
    """Return what is to know of collections that no snapshot shows."""
    capped = [one.name for one in found if one.capped]
    if not capped:
        return None
    return (
        "Capped collections can't be read at a snapshot; they were read as they were a moment "
        f"later: {', '.join(capped)}."
    )


def runs(database: Database[Any]) -> list[dict[str, Any]]:
    """Return the runs that the archive's data has been through, for listing and retention."""
    fields = {"migration": 1, "name": 1, "phase": 1, "backup": 1}
    found = catalog.lenient(database)[STATE].find({"kind": "run"}, fields).sort("_id", 1)
    return [json.loads(json.dumps({**run, "_id": str(run["_id"])}, default=str)) for run in found]


def iso(moment: datetime) -> str:
    """Return *moment* as a manifest says it."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
