"""The record of maintenance mode in a database, and whether it keeps writers out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from pymongo import MongoClient, ReturnDocument
from pymongo.collection import Collection
from pymongo.database import Database

from ..document import collections
from ..ledger import shapes, state_format
from ..support import commands
from ..values.abridged import abridge
from .errors import MaintenanceError
from .write_block import write_block_is_on

Document = dict[str, Any]
Client = MongoClient[Document]

ID = "maintenance"
_LONGEST = 20_000  # bytes, roughly
_BY: shapes.Shape = {"user": shapes.optional(str), "host": shapes.optional(str)}
_RECORD: shapes.Shape = {
    "on": shapes.optional(bool),
    "write_block": shapes.optional(bool),
    "since": shapes.optional(datetime),
    "by": shapes.optional(shapes.shaped(_BY)),
    "reason": shapes.optional(str),
    "change": shapes.optional(dict),
    "applications": shapes.optional(shapes.texts),
    "switching": shapes.optional(
        shapes.shaped(
            {
                "to": str,
                "since": datetime,
                "by": shapes.optional(shapes.shaped(_BY)),
                "reason": shapes.optional(str),
            }
        )
    ),
}


# Where a process that works on many databases finds the record that they share.
_home: ContextVar[str | None] = ContextVar("home", default=None)


@contextmanager
def recorded_in(home: str) -> Iterator[None]:
    """Read the record of *home* meanwhile, for whatever database is asked about.

    Maintenance mode is the deployment's: who goes through its databases enters it once.
    """
    token = _home.set(home)
    try:
        yield
    finally:
        _home.reset(token)


def state(client: Client, database: str) -> Document | None:
    """Return what is recorded of maintenance mode, or ``None`` if it was never switched.

    Raises:
        StateError: what is there isn't what we write.
    """
    database = _home.get() or database
    found = state_format.checked(
        client[database][collections.STATE].find_one({"_id": ID}),
        _RECORD,
        place=f"{database}.{collections.STATE}",
        what="a record of maintenance mode",
    )
    # Shown by everybody who asks; whoever wrote it may have had much to say.
    return found and abridge({key: found[key] for key in found if key != "_id"}, _LONGEST)


def is_on(database: Database[Document]) -> bool:
    """Return whether the writers of *database* are stopped: recorded, and kept out by something."""
    return holds(database.client, state(database.client, database.name))


def is_on_since(database: Database[Document], moment: datetime) -> bool:
    """Return whether maintenance mode is on, and has been all the time since *moment*."""
    record = state(database.client, database.name)
    if record is None or record.get("since") is None:
        return False
    return holds(database.client, record) and record["since"] <= moment


def holds(client: Client, record: Mapping[str, Any] | None) -> bool:
    """Return whether what is recorded as on keeps writers out."""
    if record is None or not record.get("on"):
        return False
    # A record of before applications were seen to refuse (1.0) claims no more than it shows.
    return bool(record.get("applications")) or blocked(client, record)


def require_on(client: Client, database: str) -> bool:
    """Return True if the writers of *database* are stopped; a claim of that proves nothing.

    Raises:
        MaintenanceError: nothing keeps them out.
    """
    if is_on(client[database]):
        return True
    raise MaintenanceError(
        f"`writers_stopped` says that nobody else writes to {database}, and nothing keeps writers "
        "out: maintenance mode isn't on, or neither the server refuses writes nor was an "
        f"application seen to refuse one. Nothing was written. {commands.STOP_WRITERS} first, or "
        "go on beside the writers, without `writers_stopped`.",
        next=commands.STOP_WRITERS,
    )


def blocked(client: Client, record: Mapping[str, Any]) -> bool:
    """Return whether the write block is on, by the server or else by our record."""
    seen = write_block_is_on(client)
    return bool(record.get("write_block")) if seen is None else seen


def mark_begun(records: Collection[Document], *, to: str, note: Mapping[str, Any]) -> None:
    """Record that a switch has begun, without touching what is recorded of the last one."""
    marker = {"to": to, "since": "$$NOW", "by": {"$literal": note["by"]}}
    marker["reason"] = {"$literal": note["reason"]}
    kept = {key: {"$ifNull": [f"${key}", False]} for key in ("on", "write_block")}
    records.update_one({"_id": ID}, [{"$set": {**kept, "switching": marker}}], upsert=True)


def mark_complete(records: Collection[Document]) -> None:
    """Record that no switch is under way."""
    records.update_one({"_id": ID, "switching": {"$exists": True}}, {"$unset": {"switching": 1}})


def write(
    records: Collection[Document],
    *,
    on: bool,
    write_block: bool,
    applications: Sequence[str],
    note: Mapping[str, Any],
) -> Document:
    """Write the record; a state that is recorded already keeps its time, person and reason.

    What ends, and kept writers out, is kept as ``last``, with when it began and ended.
    """

    values = {
        "since": "$$NOW",
        **{key: {"$literal": value} for key, value in note.items()},
    }
    kept = {
        key: {"$cond": [{"$eq": ["$on", on]}, f"${key}", value]} for key, value in values.items()
    }
    ended = {"since": "$since", "until": "$$NOW", "reason": "$reason"}
    # A switch that failed on its way was recorded, and nothing kept anybody out.
    held = {"$or": ["$write_block", {"$ne": [{"$ifNull": ["$applications", []]}, []]}]}
    after = records.find_one_and_update(
        {"_id": ID},
        [
            {
                "$set": {
                    **kept,
                    "last": {"$cond": [{"$and": ["$on", not on, held]}, ended, "$last"]},
                    "on": on,
                    "write_block": write_block,
                    "applications": {"$literal": list(applications) if on else []},
                }
            }
        ],
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    return dict(after or {})  # never empty, as it upserts
