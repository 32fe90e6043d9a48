"""One look at a server: everything that it shows this user. What it doesn't show is a gap."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pymongo import DESCENDING, MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from ..ledger import runs
from ..ledger.state_format import StateError
from ..server import transactions
from ..server.connection import UNAUTHORIZED
from ..server.majority_lag import MajorityLag

Document = dict[str, Any]

# What marks our own questions, so that we don't report ourselves.
COMMENT = "migration-playbooks monitor"
_SLOWEST = 5
_MOMENT_SECONDS = 0.6
_LOOK_SECONDS = 0.2
_UNKNOWN_COMMAND = 59
_NO_REPLICATION = 76
# Answers that mean "this deployment has no such thing", which is not a gap.
_NOT_HERE = frozenset({_UNKNOWN_COMMAND, _NO_REPLICATION})
_MONITOR = "the role clusterMonitor on admin"
_STATUS = {
    "serverStatus": 1,
    "oplog": 1,
    "opLatencies": {"histograms": True},
    "tcmalloc": 0,
    "mirroredReads": 0,
}
# Long values of a foreign command stay out of screens and files.
_TEXT = 120


@dataclass(kw_only=True)
class Look:
    """What was seen.

    ``at`` is the monotonic time, for rates between two looks.
    """

    at: float
    time: datetime.datetime
    status: Document = field(default_factory=dict)
    members: Document = field(default_factory=dict)
    configuration: Document = field(default_factory=dict)
    majority_lag_seconds: float | None = None
    operations: list[Document] = field(default_factory=list)
    operations_seen: bool = False
    transactions: list[transactions.Open] = field(default_factory=list)
    oplog: Document = field(default_factory=dict)
    pool: Document = field(default_factory=dict)
    totals: Document = field(default_factory=dict)
    disk: Document = field(default_factory=dict)
    profiler: Document = field(default_factory=dict)
    run: Document = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)


def take(
    client: MongoClient[Document],
    database: str,
    *,
    slow_since: datetime.datetime | None = None,
    lag: MajorityLag | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Look:
    """Look at the server.

    Args:
        client: connected to the deployment.
        database: the database that is migrated.
        slow_since: from when on slow queries of the profiler count; by default the last minute.
        lag: what earlier looks have seen of the majority.
        clock: seconds that only grow.

    Raises:
        PyMongoError: the server can't be reached; a missing privilege, or state of ours that isn't
            as we write it, is a gap instead.
    """
    seen = Look(at=clock(), time=datetime.datetime.now(datetime.UTC))
    since = slow_since or seen.time - datetime.timedelta(minutes=1)
    admin, db = client.admin, client[database]

    ask = partial(_ask, seen.gaps)
    seen.status = ask("server status", _MONITOR, lambda: admin.command(_STATUS), {})
    if seen.status.get("repl"):
        _look_at_replication(client, seen, lag or MajorityLag())
    operations = ask(
        "current operations",
        "the privilege inprog on the cluster",
        lambda: _operations(client),
        None,
    )
    seen.operations, seen.operations_seen = operations or [], operations is not None
    if seen.operations_seen:
        seen.transactions = transactions.look(client)
    seen.pool = ask("connection pools", _MONITOR, lambda: admin.command("connPoolStats"), {})
    seen.totals = ask(
        "time per collection", _MONITOR, lambda: admin.command("top").get("totals", {}), {}
    )
    grant = f"the role dbAdmin on {database}"
    seen.disk = ask("disk", grant, lambda: db.command("dbStats"), {})
    seen.profiler = ask("profiler", grant, lambda: _profiler(db, since), {})
    seen.run = ask("run", f"the role read on {database}", lambda: _run(db), {})
    return seen


def _ask(gaps: list[str], what: str, grant: str, read: Callable[[], Any], default: Any) -> Any:
    """Return what *read* gives; what this user may not see is a gap, and *default*."""
    try:
        return read()
    except OperationFailure as error:
        if error.code == UNAUTHORIZED:
            gaps.append(f"{what}: this user lacks {grant}")
        elif error.code not in _NOT_HERE:
            gaps.append(f"{what}: the server says {str(error).partition(', full')[0]}")
        return default
    except StateError as error:
        gaps.append(f"{what}: {error.message}")
        return default


def _look_at_replication(client: MongoClient[Document], seen: Look, lag: MajorityLag) -> None:
    ask, admin = partial(_ask, seen.gaps, grant=_MONITOR), client.admin
    seen.members, seen.majority_lag_seconds = ask(
        "replication", read=lambda: _members(admin, lag), default=({}, None)
    )
    seen.configuration = ask(
        "the members' roles",
        read=lambda: admin.command("replSetGetConfig").get("config", {}),
        default={},
    )
    seen.oplog = ask(
        "oplog", read=lambda: client.local.command("collStats", "oplog.rs"), default={}
    )


def _members(admin: Any, lag: MajorityLag) -> tuple[Document, float | None]:
    """Return the state of the replica set, and for how long its majority has been behind.

    The first write after a pause looks like a lag as long as the pause, until the others have it:
    what is behind gets a moment to catch up.
    """
    end = time.monotonic() + _MOMENT_SECONDS
    while True:
        found = admin.command("replSetGetStatus")
        times = found.get("optimes", {})
        written, majority = times.get("lastAppliedWallTime"), times.get("lastCommittedWallTime")
        behind = None
        if written is not None and majority is not None:
            behind = lag.see(written, majority, found["date"])
        dates = [item["optimeDate"] for item in found["members"] if "optimeDate" in item]
        if (not behind and max(dates) == min(dates)) or time.monotonic() > end:
            return dict(found), behind
        time.sleep(_LOOK_SECONDS)


def _operations(client: MongoClient[Document]) -> list[Document]:
    """Return what clients do now, and index builds; not the server's own threads, nor ourselves."""
    pipeline: list[Mapping[str, Any]] = [
        {"$currentOp": {"allUsers": True, "idleConnections": False}},
        {
            "$match": {
                "active": True,
                "$or": [{"client": {"$exists": True}}, {"msg": {"$regex": "^Index Build"}}],
                "op": {"$ne": "none"},
                "command.comment": {"$ne": COMMENT},
                # Drivers that wait for news of the topology, and members for the oplog.
                "command.hello": {"$exists": False},
                "command.isMaster": {"$exists": False},
                "command.ismaster": {"$exists": False},
                "ns": {"$ne": "local.oplog.rs"},
            }
        },
        {
            "$project": {
                "opid": 1, "op": 1, "ns": 1, "secs_running": 1, "microsecs_running": 1,
                "waitingForLock": 1, "client": 1, "appName": 1, "msg": 1, "progress": 1,
                "effectiveUsers": 1, "command.comment": 1, "command.createIndexes": 1,
                "desc": 1, "planSummary": 1,
            }
        },
    ]  # fmt: skip
    return list(client.admin.aggregate(pipeline, comment=COMMENT))


def _profiler(db: Any, since: datetime.datetime) -> Document:
    level = db.command("profile", -1)
    found: Document = {"level": level["was"], "slow_ms": level["slowms"]}
    if not level["was"]:
        return found
    wanted = {"ts": {"$gte": since}, "command.comment": {"$ne": COMMENT}}
    profile = db["system.profile"]
    rows = profile.find(
        wanted,
        {"ts": 1, "op": 1, "ns": 1, "millis": 1, "planSummary": 1, "docsExamined": 1},
        sort=[("millis", DESCENDING)],
        limit=_SLOWEST,
        comment=COMMENT,
    )
    found["slowest"] = list(rows)
    found["count"] = profile.count_documents(
        {**wanted, "millis": {"$gte": level["slowms"]}}, comment=COMMENT
    )
    found["since"] = since
    return found


def _run(db: Any) -> Document:
    """Return the run that is at work, or nothing.

    Raises:
        StateError: what is there isn't a run that we wrote.
    """
    return runs.newest(db, ("running", runs.ROLLING_BACK), short=True, comment=COMMENT) or {}


def operation(seen: Mapping[str, Any]) -> Document:
    """Return what a person wants to know of one current operation."""
    users = ", ".join(user.get("user", "") for user in seen.get("effectiveUsers", ()))
    return {
        "opid": str(seen.get("opid")),
        "op": seen.get("msg") or seen.get("op"),
        "namespace": seen.get("ns", ""),
        "seconds": round(seen.get("microsecs_running", 0) / 1e6, 1),
        "waiting": bool(seen.get("waitingForLock")),
        "client": seen.get("appName") or seen.get("client", ""),
        "user": users,
        "plan": str(seen.get("planSummary", ""))[:_TEXT],
        "comment": str(seen.get("command", {}).get("comment", ""))[:_TEXT],
    }


def reachable(error: PyMongoError) -> str:
    """Return why a look failed, on one line."""
    return str(error).partition(", Timeout:")[0][:300]
