"""Wait until nobody but us writes to a database any more, and say who still does.

The application's flag stops new work, but what it began goes on: a long update, an open
transaction, a worker that nobody thought of. One look at the running operations misses short
writes, so the server's own counters of each collection (``top``) are watched too. Drained is a
database in which for a while no operation writes, no transaction is open and no counter moves.
What is said here about the server's answers was seen on MongoDB 6.0.5.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from ..document import collections as naming
from ..server import connection, transactions

Document = dict[str, Any]
Client = MongoClient[Document]

LOOK_SECONDS = 0.25

_WRITES = frozenset({"insert", "update", "remove"})
# Of the operations of kind "command": those that write.
_WRITING_COMMANDS = frozenset(
    {
        *("insert", "update", "delete", "findAndModify", "findandmodify", "bulkWrite"),
        *("create", "createIndexes", "drop", "dropIndexes", "dropDatabase", "renameCollection"),
        *("collMod", "convertToCapped", "mapReduce"),
    }
)
_WRITING_STAGES = frozenset({"$out", "$merge"})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How long to wait, and what to do then.

    Args:
        seconds: to wait at most.
        quiet_seconds: for which nothing may be written.
        policy: whether writers that don't end are an error.
    """

    seconds: float = 60.0
    quiet_seconds: float = 1.0
    policy: Literal["fail", "continue"] = "fail"


@dataclass(frozen=True, kw_only=True)
class Drained:
    """How the waiting ended."""

    drained: bool
    waited_seconds: float
    # Who was at work when the time was over, in words; empty where it is drained.
    writers: tuple[str, ...] = ()
    # The counters of writes that moved in the last quiet window that was not quiet.
    collections: tuple[str, ...] = ()
    # Why the server doesn't show what would have to be seen.
    unseen: str = ""

    def as_dict(self) -> Document:
        """Return the facts as plain values."""
        return {
            "drained": self.drained,
            "waited_seconds": round(self.waited_seconds, 1),
            "writers": list(self.writers),
            "collections": list(self.collections),
            "unseen": self.unseen,
        }


def wait(
    client: Client,
    database: str,
    settings: Settings,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Drained:
    """Wait until *database* is drained or the time is over."""
    began = clock()
    try:
        counted = _written(client, database)
        quiet_since, busy = began, Counter[str]()
        while True:
            writers = _writers(client, database)
            now_counted = _written(client, database)
            moved = [name for name, count in now_counted.items() if count != counted.get(name, 0)]
            counted = now_counted
            now = clock()
            if writers or moved:
                quiet_since = now
                busy = Counter(moved)
            elif now - quiet_since >= settings.quiet_seconds:
                return Drained(drained=True, waited_seconds=now - began)
            if now - began >= settings.seconds and quiet_since > began:
                return Drained(
                    drained=False,
                    waited_seconds=now - began,
                    writers=tuple(writers or _connected(client)),
                    collections=tuple(sorted(busy)),
                )
            sleep(LOOK_SECONDS)
    except OperationFailure as error:
        if error.code != connection.UNAUTHORIZED:
            raise
        return Drained(
            drained=False,
            waited_seconds=clock() - began,
            unseen="this user may not see the operations of others: it lacks clusterMonitor",
        )


def _writers(client: Client, database: str) -> list[str]:
    """Return the operations and open transactions of others that write, in words."""
    found: Counter[str] = Counter()
    stage = {"allUsers": True, "idleSessions": True, "idleConnections": False}
    for operation in client.admin.aggregate([{"$currentOp": stage}]):
        if transactions.is_foreign(operation):
            work = _work(operation, database)
            if work:
                found[f"{transactions.who(operation)}: {work}"] += 1
    return [f"{words}, {times} times" if times > 1 else words for words, times in found.items()]


def _work(operation: Mapping[str, Any], database: str) -> str:
    """Return what *operation* writes to *database*, or nothing."""
    place = str(operation.get("ns", ""))
    if transactions.is_open(operation):
        # Which collections an idle transaction wrote to isn't shown: it may be this database.
        if not place or place.startswith("admin.") or place.partition(".")[0] == database:
            seconds = operation["transaction"].get("timeOpenMicros", 0) / 1e6
            return f"a transaction, open for {seconds:.0f} s"
        return ""
    if not operation.get("active") or place.partition(".")[0] != database:
        return ""
    seconds = operation.get("microsecs_running", 0) / 1e6
    name = _writes(operation)
    return f"{name} in {place}, running for {seconds:.0f} s" if name else ""


def _writes(operation: Mapping[str, Any]) -> str:
    """Return how *operation* writes, or nothing if it only reads."""
    kind = str(operation.get("op", ""))
    if kind in _WRITES:
        return kind
    command = operation.get("command") or {}
    if kind == "getmore":
        command = (operation.get("cursor") or {}).get("originatingCommand") or {}
    name = next(iter(command), "")
    if name in _WRITING_COMMANDS:
        return str(name)
    stages = {key for stage in command.get("pipeline") or () for key in stage}
    return next(iter(sorted(stages & _WRITING_STAGES)), "")


def _connected(client: Client) -> list[str]:
    """Return who is connected: writes too short to be seen at work must come from one of them."""
    found: Counter[str] = Counter()
    stage = {"allUsers": True, "idleConnections": True}
    for operation in client.admin.aggregate([{"$currentOp": stage}]):
        if transactions.is_foreign(operation) and operation.get("effectiveUsers"):
            found[transactions.who(operation, port=False)] += 1
    return [
        f"perhaps {who}, {times} connection{'s' if times > 1 else ''}"
        for who, times in sorted(found.items())
    ]


def _written(client: Client, database: str) -> dict[str, int]:
    """Return how often each collection was written to since the server started."""
    try:
        totals = client.admin.command("top")["totals"]
    except OperationFailure as error:
        if error.code == connection.UNAUTHORIZED:
            raise
        return {}  # a router has no counters
    return {
        place: sum(counts.get(kind, {}).get("count", 0) for kind in ("insert", "update", "remove"))
        for place, counts in totals.items()
        if isinstance(counts, Mapping)
        and place.partition(".")[0] == database
        and _is_theirs(place.partition(".")[2])
    }


def _is_theirs(collection: str) -> bool:
    """Return whether an application writes there; the profiler of the server does it too."""
    own = collection.startswith("system.") and not collection.startswith("system.buckets.")
    return not naming.is_ours(collection) and not own
