"""What a release manager signs: the few facts that a report begins with, one row each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .plots import time_of

_MAINTENANCE = "mongo_maintenance"
_APPLICATIONS = "app_maintenance_everywhere"
_SHOWN = 5


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        label: what it is about.
        text: the fact.
        more: what belongs to it, a line each.
        tone: empty, ``bad`` or ``soft``.
    """

    label: str
    text: str
    more: tuple[str, ...] = ()
    tone: str = ""


@dataclass(frozen=True)
class Stop:
    """The time in which writers were told to stop, and seen to be stopped if so.

    Args:
        began: when the first of them was told.
        ended: when the last one was let in again; None where that isn't in the log.
        logged: the last moment that the log tells of.
    """

    began: datetime
    ended: datetime | None
    logged: datetime
    #: Whether a write was seen to be refused, or the server said that it refuses them.
    seen: bool = True

    @property
    def seconds(self) -> float:
        """How long it was, or was by the end of the log."""
        return ((self.ended or self.logged) - self.began).total_seconds()


def stop_of(lines: Iterable[Mapping[str, Any]]) -> Stop | None:
    """Return when writers were stopped, by the log; None where this command told none to."""
    began = ended = logged = None
    seen = False
    for line in lines:
        moment = time_of(line.get("time"))
        if moment is None:
            continue
        logged = moment
        seen = seen or _refuses(line)
        if str(line.get("action")).rpartition(".")[2] != _MAINTENANCE:
            continue
        state = (line.get("result") or {}).get("state")
        if state == "on" and began is None:
            began = moment
        elif state == "on":
            ended = None  # it went back into maintenance mode
        elif state == "off" and began is not None:
            ended = moment
    return Stop(began, ended, logged, seen) if began and logged else None


def _refuses(line: Mapping[str, Any]) -> bool:
    """Return whether *line* of the log shows that a writer is kept out."""
    result = line.get("result")
    if not isinstance(result, Mapping):
        return False
    action = str(line.get("action")).rpartition(".")[2]
    if action == _APPLICATIONS:
        return result.get("state") == "on" and bool(result.get("answering"))
    return (
        action == _MAINTENANCE and result.get("state") == "on" and bool(result.get("write_block"))
    )


def rows(facts: Mapping[str, Any], stop: Stop | None) -> list[Row]:
    """Return the rows for what :func:`evidence.report.collect` found."""
    run = facts["run"]
    found = [
        _decided(facts),
        Row("done", _done(facts)),
        _skipped(facts),
        _failed(facts),
        *_writers(facts, stop),
        *_way_back(facts),
    ]
    if run.get("check_mode"):
        found = [row for row in found if row.label not in ("done", "skipped", "way back")]
    return [row for row in found if row.text]


def _decided(facts: Mapping[str, Any]) -> Row:
    gate = facts["gate"]
    people = [
        f"{label} {gate[name]}"
        for name, label in (
            ("ticket", "ticket"), ("operator", "by"), ("approver", "approved by"), ("window", "in"),
        )
        if gate.get(name)
    ]  # fmt: skip
    policies = [
        f"{name.replace('_', ' ')}: {value}"
        for name, value in facts["policies"].items()
        if isinstance(value, str | int | float | bool)
    ]
    more = [
        *([gate["reason"]] if gate.get("reason") else []),
        *([", ".join(policies)] if policies else []),
    ]
    return Row("decided", ", ".join(people), tuple(more))


def _done(facts: Mapping[str, Any]) -> str:
    result, rollback = facts["result"], facts["rollback"]
    words = [
        f"{_count(amount, one)} {verb}"
        for amount, one, verb in (
            (result.get("modified"), "document", "changed"),
            (result.get("inserted"), "document", "inserted"),
            (result.get("deleted"), "document", "removed"),
            (len(result.get("indexes") or ()), "index", "built"),
            (rollback.get("restored"), "document", "restored"),
        )
        if amount
    ]
    if not words and (result or rollback):
        words = ["nothing had to be changed"]
    seconds = result.get("elapsed")
    foretold = (facts["plan"].get("estimate") or {}).get("seconds")
    if words and isinstance(seconds, int | float):
        said = f"; about {_span(foretold)} was foretold" if foretold is not None else ""
        words[-1] += f", in {_span(seconds)}{said}"
    return ", ".join(words)


def _skipped(facts: Mapping[str, Any]) -> Row:
    result, rollback = facts["result"], facts["rollback"]
    words = []
    if result.get("skipped"):
        words.append(f"{_count(result['skipped'], 'document')} by a policy")
    if rollback.get("conflict_count"):
        words.append(
            f"{_count(rollback['conflict_count'], 'document')} that somebody changed since"
        )
    unchecked = [
        row for row in facts["checks"]["rows"] if row.get("status") not in ("passed", "failed")
    ]
    if unchecked:
        words.append(f"{_count(len(unchecked), 'check')} not made")
    return Row("skipped", ", ".join(words), _names(unchecked), "soft")


def _failed(facts: Mapping[str, Any]) -> Row:
    checks = facts["checks"]
    failed = [row for row in checks["rows"] if row.get("status") == "failed"]
    if failed:
        return Row(
            "failed",
            f"{_count(len(failed), 'check')} of {len(checks['rows'])}",
            _names(failed),
            "bad",
        )
    reason = facts["conclusion"].get("reason")
    if reason:
        return Row("failed", str(facts["conclusion"].get("task") or "the command"), (), "bad")
    passed = f"nothing; {_count(checks['passed'], 'check')} passed" if checks["rows"] else ""
    return Row("failed", passed)


def _writers(facts: Mapping[str, Any], stop: Stop | None) -> Iterator[Row]:
    if stop is None:
        if facts["result"] and facts["plan"].get("downtime") == "none":
            yield Row("writers", "were not stopped")
        return
    until = (
        f" to {stop.ended:%H:%M:%S}" if stop.ended else "; this command didn't let them in again"
    )
    foretold = (facts["plan"].get("estimate") or {}).get("stopped_seconds")
    said = f"; about {_span(foretold)} was foretold" if isinstance(foretold, int | float) else ""
    refused = _refused(facts["conclusion"].get("stopped"))
    how = (
        "stopped"
        if stop.seen or _seconds(facts["conclusion"].get("stopped"))
        else "told to stop, which nobody saw them do,"
    )
    yield Row(
        "writers",
        f"{how} for {_span(stop.seconds)}, from {stop.began:%H:%M:%S}{until}"
        + ("" if refused else said),
        (f"{refused}{said}",) if refused else (),
        tone="" if stop.ended else "bad",
    )


def _refused(stopped: Any) -> str:
    """Return for how long the database itself refused writes, where a probe looked."""
    seconds = _seconds(stopped)
    if seconds is None:
        return ""
    return f"of it, the database refused writes for {_span(seconds)}, as a probe saw"


def _seconds(stopped: Any) -> float | None:
    seconds = stopped.get("database_seconds") if isinstance(stopped, Mapping) else None
    return None if isinstance(seconds, bool) or not isinstance(seconds, int | float) else seconds


def _way_back(facts: Mapping[str, Any]) -> Iterator[Row]:
    run, of_run = facts["run"], facts["of_run"]
    if run.get("action") in ("migrate", "repair", "release") and facts["result"]:
        command = f"ansible-playbook rollback.yml {run.get('inventory') or ''}".strip()
        yield Row(
            "way back",
            f"{command} -e migration={run.get('migration')}",
            ("exact, until prune.yml ends it on purpose: nothing else removes the run's journal",),
        )
    archive = (
        facts["backup"].get("archive") or facts["restore"].get("archive") or of_run.get("backup")
    )
    if archive:
        yield Row("backup", str(archive))


def _names(checks: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    shown = [
        f"{check.get('name')}{': ' + str(check['detail'])[:200] if check.get('detail') else ''}"
        for check in checks[:_SHOWN]
    ]
    rest = len(checks) - len(shown)
    return (*shown, *([f"and {rest} more, below"] if rest else []))


def _count(amount: Any, one: str) -> str:
    many = "indexes" if one == "index" else f"{one}s"
    return f"{amount:,} {one if amount == 1 else many}"


def _span(seconds: float) -> str:
    if seconds < 60:
        return (
            f"{seconds:.1f} s" if seconds < 10 and seconds != int(seconds) else f"{seconds:.0f} s"
        )
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
    )
