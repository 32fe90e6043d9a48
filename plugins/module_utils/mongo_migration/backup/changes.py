"""Which documents were written since a time, as a change stream tells it; up to a time of ours.

The end of a stream is where a mark of ours comes by: it is written and removed again when reading
begins, and what a stream reports is in the order of the oplog. So what was seen when the removal
comes by is all that was written up to that very time, and nothing of later.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_preferences import ReadPreference

from ..document.collections import SCRATCH, STATE
from ..errors import ArchiveError
from ..support import majority, retry
from ..support.progress import Sink
from ..values import elements
from ..values.raw import RAW_CODEC
from . import identity
from .names import LOADING

MARK = "backup_mark"
# What a key takes in memory is some 250 bytes; see docs/backup.md.
MOST_KEYS = 500_000
_MOST_EVENTS = 10_000_000
_PER_REPLY = 20_000
_WAIT_MS = 500
# The mark was confirmed by a majority: a stream that doesn't show it by then never will.
_SILENCE_SECONDS = 60
_HISTORY_LOST, _TOO_LONG = 286, 50
_LOOK_MS = 3_000
_UNAUTHORIZED = 13
_WRITES = frozenset({"insert", "update", "replace", "delete"})
_RENAME, _DROP = "rename", "drop"


class NoIncrementError(ArchiveError):
    """An incremental backup can't be had; the message says why, as a clause."""


@dataclass(slots=True)
class Keys:
    """The documents of one collection that were written.

    ``raw`` holds a document ``{_id}`` for each, by what its ``_id`` is equal to; ``new`` those that
    weren't there at the beginning: the first that was written of them was an insert.
    """

    raw: dict[bytes, bytes] = field(default_factory=dict)
    new: set[bytes] = field(default_factory=set)


@dataclass(kw_only=True)
class Changes:
    """What was written up to ``time``, by collection; ``renamed`` are names that moved."""

    time: Timestamp | None = None
    keys: dict[str, Keys] = field(default_factory=dict)
    renamed: set[str] = field(default_factory=set)
    events: int = 0


def read(
    database: Database[Any],
    since: Timestamp,
    *,
    progress: Sink,
    clock: Callable[[], float] = time.monotonic,
) -> Changes:
    """Return what was written to *database* after *since*.

    Args:
        database: of a replica set.
        since: the time before; what was written at that very time isn't counted.
        progress: told of each reply that holds something.
        clock: seconds that only grow.

    Raises:
        NoIncrementError: the server can't tell, or it is too much.
    """
    own = f"backup-{uuid.uuid4()}"
    found = Changes()
    try:
        _mark(database, own)
        for event in _events(database, since, progress=progress, clock=clock):
            if _take(found, event, since) == own and event["operationType"] == "delete":
                found.time = event["clusterTime"]
                return found
    except OperationFailure as error:
        if retry.is_retryable(error):
            raise
        raise NoIncrementError(_reason(error, database)) from error
    finally:
        with suppress(PyMongoError):
            _state(database).delete_one({"_id": own})
    raise NoIncrementError("the change stream ended")


def require_readable(database: Database[Any], since: Timestamp) -> None:
    """Require that the server would tell what was written to *database* after *since*.

    Nothing is written, and hardly anything is read.

    Raises:
        NoIncrementError: it wouldn't; the message says why, as a clause.
    """
    command = {
        "aggregate": 1,
        "pipeline": [
            {"$changeStream": {"startAtOperationTime": since}},
            {"$match": {"operationType": "none"}},
        ],
        "cursor": {"batchSize": 1},
        "readConcern": {"level": "majority"},
        "maxTimeMS": _LOOK_MS,
        "comment": "mongo_backup",
    }
    with database.client.start_session(causal_consistency=False) as session:
        try:
            cursor = _reply(database, command, session)
        except OperationFailure as error:
            if error.code == _TOO_LONG:  # it reads, and there is much
                return
            raise NoIncrementError(_reason(error, database)) from error
        if cursor["id"]:
            name = str(cursor["ns"]).partition(".")[2]
            with suppress(PyMongoError):
                database.command("killCursors", name, cursors=[cursor["id"]], session=session)


def _mark(database: Database[Any], own: str) -> None:
    state = _state(database)
    state.delete_many({"kind": MARK})  # of processes that were killed
    state.insert_one({"_id": own, "kind": MARK})
    state.delete_one({"_id": own})


def _state(database: Database[Any]) -> Any:
    return database[STATE].with_options(write_concern=majority.WRITE_CONCERN)


def _events(
    database: Database[Any], since: Timestamp, *, progress: Sink, clock: Callable[[], float]
) -> Iterator[Mapping[str, Any]]:
    """Yield the events after *since*, each as a raw document, without an end."""
    command = {
        "aggregate": 1,
        "pipeline": [
            {"$changeStream": {"startAtOperationTime": since}},
            # Of a large document only its name; the server looks at the size of what is left.
            {
                "$project": dict.fromkeys(
                    ("operationType", "ns", "documentKey", "clusterTime", "to"), 1
                )
            },
        ],
        "cursor": {"batchSize": _PER_REPLY},
        "readConcern": {"level": "majority"},
        "comment": "mongo_backup",
    }
    with database.client.start_session(causal_consistency=False) as session:
        cursor = _reply(database, command, session)
        number, name = cursor["id"], str(cursor["ns"]).partition(".")[2]
        batch, seen, heard = cursor["firstBatch"], 0, clock()
        more = {
            "getMore": number,
            "collection": name,
            "batchSize": _PER_REPLY,
            "maxTimeMS": _WAIT_MS,
        }
        try:
            while True:
                if batch:
                    seen, heard = seen + len(batch), clock()
                    progress(
                        {"phase": "read changes", "done": seen, "total": 0, "detail": f"{seen:,}"}
                    )
                    yield from batch
                if seen > _MOST_EVENTS:
                    raise NoIncrementError(f"more than {_MOST_EVENTS:,} writes came since")
                if not number:
                    return
                if clock() - heard > _SILENCE_SECONDS:
                    raise NoIncrementError(
                        f"the change stream hasn't come to the present within {_SILENCE_SECONDS} s"
                    )
                progress({"phase": "read changes", "done": seen, "total": 0})
                batch = _reply(database, more, session)["nextBatch"]
        finally:
            with suppress(PyMongoError):
                database.command("killCursors", name, cursors=[number], session=session)


def _reply(
    database: Database[Any], command: Mapping[str, Any], session: ClientSession
) -> RawBSONDocument:
    reply = database.command(
        dict(command),
        codec_options=RAW_CODEC,
        session=session,
        read_preference=ReadPreference.PRIMARY,
    )
    cursor: RawBSONDocument = reply["cursor"]
    return cursor


def _take(found: Changes, event: Mapping[str, Any], since: Timestamp) -> str | None:
    """Note what *event* wrote; return the ``_id`` of a document of our own record."""
    if event["clusterTime"] <= since:
        return None
    kind = event["operationType"]
    if kind not in _WRITES:
        _note(found, kind, event)
        return None
    name = event["ns"]["coll"]
    if name == SCRATCH or name.startswith(LOADING):  # part of no backup
        return None
    key = bytes(event["documentKey"].raw)
    element = next(elements.elements(key))
    this = identity.of(key, element)
    keys = found.keys.setdefault(name, Keys())
    if this not in keys.raw:
        keys.raw[this] = elements.alone(key, element, b"_id")
        if kind == "insert":
            keys.new.add(this)
        found.events += 1
        if found.events > MOST_KEYS:
            raise NoIncrementError(f"more than {MOST_KEYS:,} documents were written since")
    if name != STATE:
        return None
    own = event["documentKey"]["_id"]
    return own if isinstance(own, str) else None


def _note(found: Changes, kind: str, event: Mapping[str, Any]) -> None:
    if kind == _RENAME:
        found.renamed |= {event["ns"]["coll"], event["to"]["coll"]}
    elif kind != _DROP:  # what is made anew under the name has another UUID
        what = (
            "the database was dropped"
            if kind == "dropDatabase"
            else f"the server tells of '{kind}'"
        )
        raise NoIncrementError(f"{what} since")


def _reason(error: OperationFailure, database: Database[Any]) -> str:
    if error.code == _HISTORY_LOST:
        return "the oplog doesn't reach back to it any more"
    if error.code == _UNAUTHORIZED:
        return (
            f"this user may not read the change stream of {database.name}, or write to "
            f"{database.name}.{STATE}: readWrite on {database.name} has both"
        )
    text = str(error).partition(", full error:")[0]
    return f"the server can't tell what was written since ({text[:300].rstrip('.')})"
