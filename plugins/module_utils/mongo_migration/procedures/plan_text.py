"""The plan for people: an aligned table to read at night, and a diff of before and after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..document import collections as naming
from ..errors import PlanBlockedError
from ..ledger import runs
from ..operations.registry import OPERATIONS
from ..support import commands, neutral
from ..values import ejson

Row = Mapping[str, Any]


def table(plan: Mapping[str, Any]) -> str:
    """Return *plan* as aligned text: per collection, then indexes, inserts, cost and problems."""
    word = "Repair" if naming.is_repair(plan["migration"]) else "Migration"
    downtime = f" (downtime {plan['downtime']})" if plan.get("downtime") else ""
    blocks = [
        [f"{word} {plan['migration']} {plan['name']} on database {plan['database']}{downtime}"],
        *_steps(plan["steps"]),
        _cost(plan),
        _listed("Warnings", plan["warnings"]),
        _problems(plan),
    ]
    return "\n\n".join(
        "\n".join(neutral.line(line.rstrip()) for line in block) for block in blocks if block
    )


def diff(plan: Mapping[str, Any]) -> dict[str, str]:
    """Return what *plan* changes as two texts, before and after, that differ line by line."""
    before: list[str] = []
    after: list[str] = []
    for row in plan["steps"]:
        was, becomes = OPERATIONS[row["kind"]].diff(row)
        before += was
        after += becomes
        if row.get("preview"):
            # A line that is in both keeps what follows apart.
            before.append("")
            after.append("")
    return {"before": _text(before), "after": _text(after)}


def preview(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run would return, from what ``info.describe`` found; or refuse as it would.

    Raises:
        PlanBlockedError: the run would refuse.
    """
    migration = found["migration"]
    plan = found.get("plan")
    if found["problems"]:
        lines = "".join(f"\n  - {problem}" for problem in found["problems"])
        raise PlanBlockedError(
            f"Migration {migration['id']} would refuse; nothing was written:{lines}",
            migration=migration["id"],
            phase=migration["state"],
            problems=plan["problems"] if plan else [],
            **({"plan": plan, "plan_text": table(plan).splitlines()} if plan else {}),
        )
    idle = migration["todo"] == "idle"
    finished = idle or (migration["state"] in runs.DONE and not _anew(migration))
    command = commands.carry_out(migration["id"], migration["name"])
    if finished:
        look = commands.command("verify", migration=migration["id"])
        command = commands.command("repair") if idle else look
    return {
        "changed": not finished,
        **{key: migration[key] for key in ("name", "digest", "run")},
        "migration": migration["id"],
        "phase": migration["state"],
        "warnings": [] if finished or plan is None else plan["warnings"],
        "next": command,
        # What differs from the plan of a finished run is drift, and no run's business.
        **({} if finished or plan is None else {"plan": plan}),
    }


def _anew(migration: Mapping[str, Any]) -> bool:
    """Return whether a repair that was done before is to be done again."""
    return bool(migration["todo"] == "migrate" and migration["state"] in runs.VERIFIED)


def illustrate(result: Mapping[str, Any], *, with_diff: bool = False) -> dict[str, Any]:
    """Return *result* with its plan as text, where it has one, and if wanted as a diff."""
    plan = result.get("plan")
    if not plan:
        return {**result, **({"diff": {"before": "", "after": ""}} if with_diff else {})}
    shown: dict[str, Any] = {"plan_text": table(plan).splitlines()}
    if with_diff:
        # A run that found its work done already keeps the plan that it was once made from.
        changes = result.get("changed", True)
        shown["diff"] = diff(plan) if changes else {"before": "", "after": ""}
    return {**result, **shown}


def _steps(rows: Sequence[Row]) -> Iterable[list[str]]:
    """Yield what each kind of step would do, in the order of the registry."""
    for kind, operation in OPERATIONS.items():
        if mine := [row for row in rows if row["kind"] == kind]:
            yield operation.lines(mine)


def _cost(plan: Mapping[str, Any]) -> list[str]:
    cost = plan["estimate"]
    oplog = f"{_size(cost['oplog_bytes'])} of oplog"
    if measured := cost.get("rehearsed"):
        took = {name: _measured(seconds) for name, seconds in measured["seconds"].items()}
        # On the copy nobody else was at work.
        beside = (plan.get("cutover") or {}).get("kind") == "live_first"
        speed = " at full speed (beside writers it takes longer)" if beside else ""
        lines = [
            f"Rehearsed on {measured['at']} on a copy of the data of {measured['of']} "
            f"({measured['documents']:,} documents): {took['migrate']}{speed}, verification "
            f"{took.get('verify', '?')}, rollback {took.get('roll_back', '?')}; {oplog}"
        ]
    else:
        lines = [f"Estimate: {_duration(cost['seconds'])}, {oplog}"]
    return [*lines, *_cutover(plan)]


def _cutover(plan: Mapping[str, Any]) -> list[str]:
    """Return how long the writers will be stopped, and for what."""
    found = plan.get("cutover")
    if not found or found["kind"] == "live":
        return []
    seconds = plan["estimate"].get("stopped_seconds", 0)
    if found["kind"] == "live_first":
        return [
            "It can be live first: the work is done while the application writes, and the "
            f"database refuses writes for {_duration(seconds)}, for what is left"
        ]
    why = f" ({found['why']})" if found["why"] else ""
    return [
        f"Writers are stopped for all of it{why}: the database refuses writes for "
        f"{_duration(seconds)}, and while the backup, or what is left of it, is made"
    ]


def _problems(plan: Mapping[str, Any]) -> list[str]:
    problems: Sequence[Row] = plan["problems"]
    if not problems:
        return ["No problems: the migration would run."]
    lines = [f"PROBLEMS: the migration refuses to run until these are settled ({len(problems)})"]
    for number, problem in enumerate(problems, start=1):
        step = f"step {problem['step']}, " if problem.get("step") is not None else ""
        lines.append(
            f"  {number}. {step}{problem['collection']}: {problem['what']} "
            f"({problem['count']:,}; policy {problem['policy']})"
        )
        if problem["samples"]:
            samples = ", ".join(ejson.short(sample) for sample in problem["samples"][:3])
            lines.append(f"     such as {samples}")
        lines.append(f"     fix: {problem['fix']}")
    for repair, count in plan.get("repairs", {}).items():
        lines.append(f"  repair={repair} settles {count:,}")
    return lines


def _listed(heading: str, items: Sequence[str]) -> list[str]:
    return [heading, *(f"  - {item}" for item in items)] if items else []


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "nothing to do" if not seconds else "under 1 s"
    if seconds < 120:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min"


def _measured(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{neutral.line(line)}\n" for line in lines)
