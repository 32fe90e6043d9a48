"""Named numbers from one look at a server, or from two: what happened between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ..pace.sampler import dirty_ratio, free_tickets, percentile
from ..server import members
from ..server.transactions import Open
from . import snapshot
from .snapshot import Look

Values = dict[str, float]

_WRITES = ("insert", "update", "delete", "findAndModify", "bulkWrite")
_BUSIEST = 5
# The server removes old entries by the chunk, so a full oplog may be a little below its size.
_FULL = 0.85
_BUILD = "Index Build"


def measure(now: Look, before: Look | None) -> Values:
    """Return the metrics of *now*; rates are those since *before*, or since the server started."""
    status = now.status
    values: Values = {}
    earlier = before.status if before is not None else {}
    seconds = now.at - before.at if before is not None else float(status.get("uptime", 0))
    if before is not None and status.get("uptimeMillis", 0) < earlier.get("uptimeMillis", 0):
        # Another server answers now, or the same one anew: its counters began at zero.
        earlier, seconds = {}, float(status.get("uptime", 0))
    if status:
        _add_latencies(values, status, earlier)
        _add_load(values, status)
        if seconds > 0:
            _add_rates(values, status, earlier, seconds)
    _add_replication(values, now)
    if now.operations_seen:
        _add_operations(values, now.operations)
    if now.pool:
        values["pool_in_use"] = now.pool.get("totalInUse", 0)
    if now.disk.get("fsTotalSize"):
        free = now.disk["fsTotalSize"] - now.disk["fsUsedSize"]
        values["disk_free_ratio"] = round(free / now.disk["fsTotalSize"], 4)
    if now.profiler.get("level"):
        minutes = max((now.time - now.profiler["since"]).total_seconds(), 1.0) / 60
        values["slow_queries_per_minute"] = round(now.profiler["count"] / minutes, 2)
    return values


def long_operations(now: Look, seconds: float) -> list[dict[str, Any]]:
    """Return the operations that have run for *seconds* or longer, the longest first."""
    found = [snapshot.operation(item) for item in now.operations if not _builds(item)]
    found += [_idle(one) for one in now.transactions if one.idle_seconds]
    long = [item for item in found if item["seconds"] >= seconds]
    return sorted(long, key=lambda item: -item["seconds"])


def _idle(one: Open) -> dict[str, Any]:
    """Return an open transaction that does nothing, as an operation: it holds what it has."""
    return {
        "opid": "",
        "op": "idle transaction",
        "namespace": "",
        "seconds": round(one.open_seconds, 1),
        "waiting": False,
        "client": one.who,
        "user": "",
        "plan": "",
        "comment": "",
    }


def index_builds(now: Look) -> list[dict[str, Any]]:
    """Return the index builds at work with how far they are."""
    builds: dict[str, dict[str, Any]] = {}
    for item in now.operations:
        if not str(item.get("msg", "")).startswith(_BUILD):
            continue
        progress = item.get("progress") or {}
        done, total = progress.get("done", 0), progress.get("total", 0)
        builds[str(item.get("ns"))] = {
            "namespace": item.get("ns"),
            "what": str(item["msg"]).partition(":")[2].strip() or item["msg"],
            "done": done,
            "total": total,
            "ratio": round(min(1.0, done / total), 4) if total else 0.0,
        }
    return list(builds.values())


def _builds(item: Mapping[str, Any]) -> bool:
    """Return whether an operation builds an index, or waits for one that is built."""
    return str(item.get("msg", "")).startswith(_BUILD) or "createIndexes" in item.get("command", {})


def slow_queries(now: Look) -> list[dict[str, Any]]:
    """Return the slowest queries that the profiler kept."""
    return [
        {
            "time": item["ts"],
            "op": item["op"],
            "namespace": item["ns"],
            "milliseconds": item["millis"],
            "plan": item.get("planSummary", ""),
            "examined": item.get("docsExamined"),
        }
        for item in now.profiler.get("slowest", ())
    ]


def busiest(now: Look, before: Look | None, database: str) -> list[dict[str, Any]]:
    """Return the collections of *database* that the server spent most time on."""
    earlier = before.totals if before is not None else {}
    found = []
    for name, item in now.totals.items():
        if not name.startswith(f"{database}.") or not isinstance(item, Mapping):
            continue
        was = earlier.get(name, {})
        spent = {
            lock: (item[lock]["time"] - was.get(lock, {}).get("time", 0)) / 1000
            for lock in ("readLock", "writeLock")
        }
        total = sum(spent.values())
        if total > 0:
            found.append(
                {
                    "collection": name.partition(".")[2],
                    "reads_ms": round(spent["readLock"], 1),
                    "writes_ms": round(spent["writeLock"], 1),
                }
            )
    return sorted(found, key=lambda item: -(item["reads_ms"] + item["writes_ms"]))[:_BUSIEST]


def migration(now: Look) -> Values:
    """Return how far the run is that is at work; empty without one."""
    if not now.run:
        return {}
    counts = now.run.get("counts", {})
    if now.run["phase"] == "rolling_back":
        plan = now.run.get("rollback", {}).get("plan", {})
        return {
            "done": counts.get("restored", 0) + counts.get("removed", 0),
            "total": plan.get("restore", 0) + plan.get("remove", 0),
        }
    totals = now.run.get("plan", {}).get("totals", {})
    return {
        "done": counts.get("modified", 0) + counts.get("inserted", 0),
        "total": totals.get("to_change", 0) + totals.get("to_insert", 0),
    }


def _add_latencies(values: Values, status: Mapping[str, Any], earlier: Mapping[str, Any]) -> None:
    slow: Counter[int] = Counter()
    for kind, name in (("reads", "read"), ("writes", "write"), ("commands", "command")):
        section = status.get("opLatencies", {}).get(kind)
        if section is None:
            continue
        was = earlier.get("opLatencies", {}).get(kind, {})
        count = section["ops"] - was.get("ops", 0)
        if count > 0:
            spent = section["latency"] - was.get("latency", 0)
            values[f"{name}_latency_ms"] = round(spent / count / 1000, 2)
        if kind != "commands":
            slow += _histogram(section)
            slow.subtract(_histogram(was))
    worst = percentile(Counter({key: value for key, value in slow.items() if value > 0}))
    if worst is not None:
        values["latency_p95_ms"] = round(worst / 1000, 2)


def _histogram(section: Mapping[str, Any]) -> Counter[int]:
    return Counter({item["micros"]: item["count"] for item in section.get("histogram", ())})


def _add_load(values: Values, status: Mapping[str, Any]) -> None:
    connections = status.get("connections", {})
    if "current" in connections:
        current = connections["current"]
        values["connections"] = current
        allowed = current + connections.get("available", 0)
        values["connections_used_ratio"] = round(current / allowed, 4) if allowed else 0.0
        values["connections_active"] = connections.get("active", 0)
    queue = status.get("globalLock", {}).get("currentQueue")
    if queue is not None:
        values["queued_operations"] = queue.get("total", 0)
    tickets, dirty = free_tickets(status), dirty_ratio(status)
    if tickets is not None:
        values["free_tickets_ratio"] = round(tickets, 4)
    if dirty is not None:
        values["dirty_cache_ratio"] = round(dirty, 4)
    cache = status.get("wiredTiger", {}).get("cache", {})
    size = cache.get("maximum bytes configured")
    if size:
        used = cache.get("bytes currently in the cache", 0)
        values["cache_used_ratio"] = round(used / size, 4)
    if "isLagged" in status.get("flowControl", {}):
        values["flow_control"] = int(status["flowControl"]["isLagged"])


def _add_rates(
    values: Values, status: Mapping[str, Any], earlier: Mapping[str, Any], seconds: float
) -> None:
    def rate(now: float, was: float) -> float:
        return round(max(0.0, now - was) / seconds, 2)

    values["operations_per_second"] = rate(_operations(status), _operations(earlier))
    values["lock_wait_ms_per_second"] = rate(_waited(status) / 1000, _waited(earlier) / 1000)
    values["write_conflicts_per_second"] = rate(_conflicts(status), _conflicts(earlier))
    values["failed_writes_per_second"] = rate(_failed(status), _failed(earlier))


def _operations(status: Mapping[str, Any]) -> float:
    counters = status.get("opcounters", {})
    kinds = ("insert", "query", "update", "delete", "getmore", "command")
    return float(sum(counters.get(kind, 0) for kind in kinds))


def _waited(status: Mapping[str, Any]) -> float:
    """Return the microseconds that operations have waited for locks."""
    return float(
        sum(
            sum(lock.get("timeAcquiringMicros", {}).values())
            for lock in status.get("locks", {}).values()
        )
    )


def _conflicts(status: Mapping[str, Any]) -> float:
    found = status.get("metrics", {}).get("operation", {})
    return float(found.get("writeConflicts", 0))


def _failed(status: Mapping[str, Any]) -> float:
    commands = status.get("metrics", {}).get("commands", {})
    return float(sum(commands.get(name, {}).get("failed", 0) for name in _WRITES))


def _add_replication(values: Values, now: Look) -> None:
    if now.members.get("members"):
        seen = members.of(now.members, now.configuration)
        values["members_down"] = len(seen.down)
        if (lag := seen.lag_seconds) is not None:
            values["replication_lag_seconds"] = lag
    if now.majority_lag_seconds is not None:
        values["majority_lag_seconds"] = round(now.majority_lag_seconds, 3)
    _add_oplog(values, now)


def _add_oplog(values: Values, now: Look) -> None:
    """Add how long the oplog reaches back; one that isn't full yet has lost nothing."""
    times = now.status.get("oplog", {})
    size, used = now.oplog.get("maxSize"), now.oplog.get("size")
    if not (times.get("earliestOptime") and times.get("latestOptime") and size and used):
        return
    if used >= size * _FULL:
        seconds = times["latestOptime"].time - times["earliestOptime"].time
        values["oplog_window_hours"] = round(seconds / 3600, 2)


def _add_operations(values: Values, operations: Iterable[Mapping[str, Any]]) -> None:
    values["operations_waiting"] = sum(bool(item.get("waitingForLock")) for item in operations)
