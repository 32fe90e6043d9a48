"""Everything that could stop a migration, looked for days before: all of it, and read only.

Each check says what it found and, where that would stop or endanger the night, the exact remedy.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from ..document.definition import Definition
from ..errors import MigrationError
from ..ledger import runs
from ..maintenance import write_block
from ..monitor import measure, snapshot
from ..monitor import thresholds as judge
from ..server import connection, members
from ..support import commands
from ..values import ejson
from . import estimate, login
from . import status as info

Document = dict[str, Any]

OK, WARNING, PROBLEM = "ok", "warning", "problem"

# Of the oplog, what the migration alone may fill.
_OPLOG_WARN, _OPLOG_FULL = 0.25, 0.8
_CLOCK_SECONDS = 5.0

_WATCHED = (
    "replication_lag_seconds", "majority_lag_seconds", "members_down", "connections_used_ratio",
    "free_tickets_ratio", "dirty_cache_ratio", "cache_used_ratio", "queued_operations",
    "lock_wait_ms_per_second", "oplog_window_hours", "disk_free_ratio",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: str
    found: str
    fix: str = ""

    def as_dict(self) -> Document:
        """Return the check as plain values."""
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True)
class Maintenance:
    """How the night will keep writers out.

    Args:
        needed: whether it will at all.
        write_block: the inventory's ``maintenance_write_block``.
        applications: its application hosts.
    """

    needed: bool = True
    write_block: write_block.Wanted = "auto"
    applications: Sequence[str] = ()


def examine(
    *,
    client: MongoClient[Document],
    database: str,
    definition: Definition,
    thresholds: Mapping[str, Any],
    long_operation_seconds: float,
    maintenance: Maintenance,
) -> Document:
    """Return every check of the server, the changelog, the plan and the data.

    Args:
        client: connected to the deployment, as the user that will migrate.
        database: the database.
        definition: the migration.
        thresholds: limits of metrics in place of the defaults.
        long_operation_seconds: from when on an operation is long.
        maintenance: how the inventory means to keep writers out.

    Raises:
        MigrationError: a setting is wrong.
        PyMongoError: the server can't be asked at all.
    """
    limits = judge.limits(thresholds)
    _refuse_notablescan(client)
    described = info.describe(client=client, database=database, definition=definition)
    now = snapshot.take(client, database)
    plan = described.get("plan")
    todo = described["migration"]["state"]
    checks = [
        _server(described),
        *_majority(client),
        *_privileges(client, database),
        *_state(described),
        *_write_block(client, maintenance),
        *_changelog_and_data(described),
        *_load(now, limits, plan),
        *_long(now, long_operation_seconds),
        *_room(now, plan),
        _clock(client),
        *(
            Check(name="not seen", status=WARNING, found=gap, fix="see docs/privileges.md")
            for gap in now.gaps
        ),
    ]
    return {
        "changed": False,
        "migration": described["migration"],
        "state": todo,
        "plan": plan,
        "lint": described.get("lint", []),
        "checks": [check.as_dict() for check in checks],
    }


def _server(described: Mapping[str, Any]) -> Check:
    server = described["server"]
    found = f"MongoDB {server['version']}, {server['topology'].replace('_', ' ')}"
    if server["topology"] == "standalone":
        return Check(
            name="server",
            status=WARNING,
            found=f"{found}: no transactions, no write block, no backup of one "
            "point in time while it is used",
            fix="make it a replica set of one member (rs.initiate()), if you can",
        )
    if server["topology"] == "sharded":
        return Check(
            name="server",
            status=WARNING,
            found=f"{found}: nobody has run a migration on one",
            fix="rehearse on a copy first; docs/limits.md",
        )
    if not server["primary"]:
        return Check(
            name="server", status=PROBLEM, found=f"{found}, without a primary",
            fix="rs.status() says why none is elected",
        )  # fmt: skip
    return Check(name="server", status=OK, found=found)


def _refuse_notablescan(client: MongoClient[Document]) -> None:
    """Refuse a server on which nothing else could be looked at.

    Raises:
        MigrationError: it refuses every search without an index.
    """
    try:
        on = client.admin.command("getParameter", notablescan=1).get("notablescan")
    except OperationFailure:
        return  # it can't be seen; then the first search says so
    if on:
        raise MigrationError(connection.WITHOUT_TABLESCAN)


def _majority(client: MongoClient[Document]) -> Iterable[Check]:
    seen = members.look(client)
    if seen is None:
        return  # no replica set; where it can't be seen, that is said as a gap
    yield Check(
        name="majority",
        status=OK if seen.has_majority else PROBLEM,
        found=f"{seen}",
        fix=""
        if seen.has_majority
        else "bring them back (rs.status()): no write could be confirmed, each command would wait",
    )


def _privileges(client: MongoClient[Document], database: str) -> Iterable[Check]:
    found = login.look(client, database)
    if not found.user:
        yield Check(
            name="privileges",
            status=WARNING,
            found="nobody is logged in: this server doesn't require authentication",
            fix="turn access control on; without it nothing but a flag keeps writers out",
        )
    elif not found.missing:
        yield Check(name="privileges", status=OK, found=f"{found.user} has every privilege needed")
    else:
        yield Check(
            name="privileges",
            status=PROBLEM if found.on_database else WARNING,
            found=f"{found.user} lacks {', '.join(found.missing)}",
            fix="; ".join(found.for_mongosh()),
        )


def _state(described: Mapping[str, Any]) -> Iterable[Check]:
    held = described["lease"]
    if held:
        holder = held["holder"]
        yield Check(
            name="at work",
            status=PROBLEM,
            found=f"{holder.get('user')}@{holder.get('host')} (process {holder.get('pid')}): "
            f"{held['purpose']}",
            fix=f"wait for it: {commands.STATUS} shows how far it is",
        )
    else:
        yield Check(name="at work", status=OK, found="nobody")
    mode = described["maintenance"] or {}
    if mode.get("on"):
        yield Check(
            name="maintenance mode",
            status=PROBLEM,
            found=f"on, for: {mode.get('reason') or 'no reason given'}",
            fix=f"ask who switched it on; then {commands.command('maintenance', state='off')}",
        )
    else:
        yield Check(name="maintenance mode", status=OK, found="off")


def _write_block(client: MongoClient[Document], wanted: Maintenance) -> Iterable[Check]:
    """Yield how writers will be kept out, by the rule that the night goes by."""
    if not wanted.needed:
        return
    found = write_block.way(client, wanted.write_block, applications=wanted.applications)
    if found.problem:
        yield Check(name="write block", status=PROBLEM, found=found.problem, fix=found.fix)
    elif found.block:
        yield Check(name="write block", status=OK, found="the server can refuse writes")
    else:
        yield Check(
            name="write block",
            status=WARNING,
            found=found.warning or "not used: the application's flag alone keeps writers out",
            fix="maintenance_write_block: never in the inventory says that this is accepted"
            if found.warning
            else "maintenance_write_block: auto in the inventory uses it",
        )


def _changelog_and_data(described: Mapping[str, Any]) -> Iterable[Check]:
    """Yield what would make the migration refuse, each dirty case by itself."""
    plan = described.get("plan")
    problems = list(described["problems"])
    for problem in problems:
        found, _word, fix = problem.partition(". Fix: ")
        yield Check(
            name="plan", status=PROBLEM, found=found,
            fix=fix or "see the message above; nothing runs until that is resolved",
        )  # fmt: skip
    for warning in plan["warnings"] if plan else ():
        yield Check(name="plan", status=WARNING, found=warning, fix="see the plan above")
    state = described["migration"]["state"]
    if not problems:
        done = " (it is applied already)" if state in runs.DONE else ""
        yield Check(name="plan", status=OK, found=f"the migration would run{done}")


def _load(
    now: snapshot.Look, limits: Mapping[str, Any], plan: Mapping[str, Any] | None
) -> Iterable[Check]:
    values = measure.measure(now, None)
    watched = {name: values[name] for name in _WATCHED if name in values}
    findings = {finding.metric: finding for finding in judge.judge(watched, limits)}
    for name, value in watched.items():
        metric = limits[name]
        finding = findings.get(name)
        if finding is None:
            found = f"{metric.label}: {judge.amount(value, metric.unit)}"
            yield Check(name="server load", status=OK, found=found)
            continue
        status = PROBLEM if finding.level == judge.CRITICAL else WARNING
        yield Check(name="server load", status=status, found=finding.text, fix=finding.advice)
    size = now.oplog.get("maxSize")
    if plan is None or not size:
        return
    needed = plan["estimate"]["oplog_bytes"]
    share = needed / size
    found = f"the migration writes about {_size(needed)} of an oplog of {_size(size)}"
    if share < _OPLOG_WARN:
        yield Check(name="oplog", status=OK, found=found)
        return
    megabytes = max(990, round(needed / _OPLOG_WARN / 1e6) + 1)
    yield Check(
        name="oplog",
        status=PROBLEM if share >= _OPLOG_FULL else WARNING,
        found=f"{found}: a member that is down meanwhile would need an initial sync",
        fix=f"on each member: db.adminCommand({{replSetResizeOplog: 1, size: {megabytes}}})",
    )


def _long(now: snapshot.Look, seconds: float) -> Iterable[Check]:
    if not now.operations_seen:
        return
    held = [one for one in now.transactions if one.idle_seconds >= seconds]
    for one in held:
        yield Check(
            name="open transactions",
            status=PROBLEM,
            found=f"{one}: an index build would wait for it, and the application behind the build",
            fix=f"find out why it hangs{one.ending}",
        )
    if not held:
        yield Check(name="open transactions", status=OK, found=f"none idle for {seconds:g} s")
    long = [item for item in measure.long_operations(now, seconds) if item["opid"]]
    for item in long:
        yield Check(
            name="long operations",
            status=WARNING,
            found=f"{item['op']} on {item['namespace'] or 'no collection'} for "
            f"{item['seconds']:,.0f} s, {item['user'] or 'no user'} from {item['client']}",
            fix=f"if nobody needs it: db.killOp({item['opid']})",
        )
    if not long:
        found = f"none over {seconds:g} s"
        yield Check(name="long operations", status=OK, found=found)


def _room(now: snapshot.Look, plan: Mapping[str, Any] | None) -> Iterable[Check]:
    total, used = now.disk.get("fsTotalSize"), now.disk.get("fsUsedSize")
    if not total or plan is None:
        return
    free = total - used
    grows = estimate.growth(plan)
    needed = grows + total * estimate.RESERVE
    found = f"the server has {_size(free)} free; the migration needs about {_size(grows)}"
    if free >= needed:
        yield Check(name="room for the data", status=OK, found=found)
        return
    yield Check(
        name="room for the data",
        status=PROBLEM,
        found=found,
        fix=f"free or add {_size(needed - free)} where MongoDB keeps its data",
    )


def _clock(client: MongoClient[Document]) -> Check:
    try:
        theirs = client.admin.command("hello", codec_options=ejson.CODEC)["localTime"]
    except PyMongoError as error:
        return Check(
            name="clock", status=WARNING, found=connection.explain(error), fix="run it again"
        )
    apart = abs((datetime.datetime.now(datetime.UTC) - theirs).total_seconds())
    found = f"this machine and the server are {apart:.1f} s apart"
    if apart < _CLOCK_SECONDS:
        return Check(name="clock", status=OK, found=found)
    return Check(
        name="clock", status=WARNING, found=found,
        fix="set both by NTP: logs and evidence would contradict each other",
    )  # fmt: skip


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
