"""Every metric: its name, unit, limits, and what a person does when it is beyond them."""

from __future__ import annotations

from dataclasses import dataclass

from ..support import commands

DATABASE, APPLICATION, INTEGRITY = SECTIONS = ("database", "application", "integrity")
ABOVE, BELOW = "above", "below"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number.

    Args:
        name: its key in results and settings.
        section: which part of the table shows it.
        label: its words there.
        unit: what it is counted in; a ratio is shown in per cent.
        worse: whether more or less of it is worse; empty where neither is.
        warn: from here on it is a warning; None for never.
        critical: from here on it is critical; None for never.
        advice: what to do then.
    """

    name: str
    section: str
    label: str
    unit: str = ""
    worse: str = ""
    warn: float | None = None
    critical: float | None = None
    advice: str = ""


_SLOW = (
    "look at the long operations below; while a migration runs, "
    f"{commands.command('control', do='pause')} (or do=limits) takes load away"
)
_LOAD = (
    f"{commands.command('control', do='pause')} lets the server catch up; then resume with "
    "smaller batches"
)

_ALL = (
    Metric(
        name="read_latency_ms", section=DATABASE, label="reads, mean", unit="ms", worse=ABOVE,
        warn=100, critical=1000, advice=_SLOW,
    ),
    Metric(
        name="write_latency_ms", section=DATABASE, label="writes, mean", unit="ms", worse=ABOVE,
        warn=100, critical=1000, advice=_SLOW,
    ),
    Metric(
        name="command_latency_ms", section=DATABASE, label="commands, mean", unit="ms",
    ),
    Metric(
        name="latency_p95_ms", section=DATABASE, label="95th percentile of both",
        unit="ms", worse=ABOVE, warn=500, critical=5000, advice=_SLOW,
    ),
    Metric(
        name="operations_per_second", section=DATABASE, label="operations", unit="1/s",
    ),
    Metric(
        name="connections", section=DATABASE, label="connections",
    ),
    Metric(
        name="connections_used_ratio", section=DATABASE, label="connections used", unit="ratio",
        worse=ABOVE, warn=0.7, critical=0.9,
        advice="find the client that opens them (application pools, forgotten scripts), or raise "
        "net.maxIncomingConnections",
    ),
    Metric(
        name="connections_active", section=DATABASE, label="connections at work",
    ),
    Metric(
        name="pool_in_use", section=DATABASE, label="server's pools in use",
    ),
    Metric(
        name="lock_wait_ms_per_second", section=DATABASE, label="waiting for locks", unit="ms/s",
        worse=ABOVE, warn=200, critical=5000,
        advice="an operation holds a strong lock: see the long operations below and, if it is safe "
        "to lose, end it with db.killOp(opid)",
    ),
    Metric(
        name="operations_waiting", section=DATABASE, label="waiting for a lock",
        worse=ABOVE, warn=5, critical=50,
        advice="see the long operations below; one of them holds what the others wait for",
    ),
    Metric(
        name="queued_operations", section=DATABASE, label="queue", worse=ABOVE, warn=20,
        critical=200, advice=_LOAD,
    ),
    Metric(
        name="free_tickets_ratio", section=DATABASE, label="free tickets", unit="ratio",
        worse=BELOW, warn=0.25, critical=0.05, advice=_LOAD,
    ),
    Metric(
        name="cache_used_ratio", section=DATABASE, label="cache used", unit="ratio", worse=ABOVE,
        warn=0.95, critical=0.99, advice=_LOAD,
    ),
    Metric(
        name="dirty_cache_ratio", section=DATABASE, label="cache dirty", unit="ratio", worse=ABOVE,
        warn=0.15, critical=0.25, advice=_LOAD,
    ),
    Metric(
        name="flow_control", section=DATABASE, label="flow control brakes", worse=ABOVE,
        warn=1, advice="the majority is behind: see the replication lag",
    ),
    Metric(
        name="write_conflicts_per_second", section=DATABASE, label="write conflicts", unit="1/s",
        worse=ABOVE, warn=50,
        advice="others write to the documents that are migrated: smaller batches, "
        + commands.command("control", do="limits", batch_size=100),
    ),
    Metric(
        name="failed_writes_per_second", section=DATABASE, label="failed writes", unit="1/s",
        worse=ABOVE, warn=1, critical=50,
        advice="validators, unique indexes or the write block refuse them: the server's log says "
        "which; in maintenance mode that is what you asked for",
    ),
    Metric(
        name="replication_lag_seconds", section=DATABASE, label="lag, slowest member",
        unit="s", worse=ABOVE, warn=5, critical=30, advice=_LOAD,
    ),
    Metric(
        name="majority_lag_seconds", section=DATABASE, label="lag of the majority",
        unit="s", worse=ABOVE, warn=2, critical=20, advice=_LOAD,
    ),
    Metric(
        name="members_down", section=DATABASE, label="members down", worse=ABOVE, warn=1,
        critical=2,
        advice="bring them back before a migration: rs.status() says why they are away",
    ),
    Metric(
        name="oplog_window_hours", section=DATABASE, label="oplog window", unit="h", worse=BELOW,
        warn=24, critical=2,
        advice="a member that is down for longer needs an initial sync: replSetResizeOplog, or "
        "write more slowly",
    ),
    Metric(
        name="disk_free_ratio", section=DATABASE, label="free disk", unit="ratio",
        worse=BELOW, warn=0.2, critical=0.05,
        advice="make room, or grow the volume: a full disk stops the server",
    ),
    Metric(
        name="long_operations", section=DATABASE, label="long operations", worse=ABOVE, warn=1,
        advice="they are listed below; db.killOp(opid) ends one that nobody needs",
    ),
    Metric(
        name="longest_operation_seconds", section=DATABASE, label="longest operation", unit="s",
        worse=ABOVE, critical=600,
        advice="it is listed below; db.killOp(opid) ends one that nobody needs",
    ),
    Metric(
        name="slow_queries_per_minute", section=DATABASE, label="slow queries",
        unit="1/min", worse=ABOVE, warn=10, critical=300,
        advice="the slowest are listed below: is an index missing?",
    ),
    Metric(
        name="index_builds", section=DATABASE, label="index builds at work",
    ),
    Metric(
        name="index_build_ratio", section=DATABASE, label="slowest index build", unit="ratio",
    ),
    Metric(
        name="app_response_ms", section=APPLICATION, label="slowest response",
        unit="ms", worse=ABOVE, warn=500, critical=5000,
        advice="compare with the database above: if that is well, look at the application's host",
    ),
    Metric(
        name="app_error_ratio", section=APPLICATION, label="failed requests",
        unit="ratio", worse=ABOVE, warn=0.01, critical=0.5,
        advice="look at the application's log; in maintenance mode it may be what you asked for",
    ),
    Metric(
        name="app_requests_per_second", section=APPLICATION, label="throughput", unit="1/s",
    ),
    Metric(
        name="app_log_matches_per_minute", section=APPLICATION, label="matching log lines",
        unit="1/min", worse=ABOVE, warn=1, critical=60,
        advice="read the log: the lines match the pattern of monitor_app_log",
    ),
    Metric(
        name="collections_missing", section=INTEGRITY, label="missing collections",
        worse=ABOVE, warn=1,
        advice="mongo_collections of the inventory names a collection that isn't there: correct "
        "it, or map it to null",
    ),
    Metric(
        name="documents", section=INTEGRITY, label="documents",
    ),
    Metric(
        name="indexes", section=INTEGRITY, label="indexes",
    ),
    Metric(
        name="indexes_unfinished", section=INTEGRITY, label="unfinished indexes",
    ),
    Metric(
        name="invalid_documents", section=INTEGRITY, label="invalid documents",
        worse=ABOVE, warn=1,
        advice="an update of them fails or is logged: correct them (see the collections below), or "
        "the validator",
    ),
)  # fmt: skip

METRICS = {metric.name: metric for metric in _ALL}
