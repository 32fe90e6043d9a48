"""The plan for people: an aligned table to read at night, and a diff of before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from textwrap import wrap
from typing import Any

from ..document import collections as naming
from ..errors import PlanBlockedError
from ..support import neutral
from ..values import ejson

Row = Mapping[str, Any]

_NOTHING = "-"
_WIDTH = 100
_FINISHED = ("applied", "verified")


def _to_change(row: Row) -> int:
    return int(row.get("to_change", row["candidates"]))


def _unresolved(row: Row) -> int:
    return sum(int(item["count"]) for item in row["unresolved"])


# Heading, and how the number is found in the row of a step that sets a field.
_ALWAYS = ("documents", "to change", "unresolved", "already fine")
_COLUMNS: dict[str, Callable[[Row], int]] = {
    "documents": lambda row: int(row["documents"]),
    "to change": _to_change,
    "missing": lambda row: int(row["empty"].get("missing", 0)),
    "null": lambda row: int(row["empty"].get("null", 0)),
    "empty": lambda row: int(row["empty"].get("empty_string", 0)),
    "wrong type": lambda row: int(row["invalid"].get("wrong_type", 0)),
    "dangling": lambda row: int(row["invalid"].get("dangling", 0)),
    "unresolved": lambda row: _unresolved(row) - int(row.get("skipped", 0)),
    "left alone": lambda row: int(row.get("skipped", 0)),
    "already fine": lambda row: int(row["documents"] - row["candidates"]),
}


def table(plan: Mapping[str, Any]) -> str:
    """Return *plan* as aligned text: per collection, then indexes, inserts, cost and problems."""
    word = "Repair" if naming.is_repair(plan["migration"]) else "Migration"
    downtime = f" (downtime {plan['downtime']})" if plan.get("downtime") else ""
    blocks = [
        [f"{word} {plan['migration']} {plan['name']} on database {plan['database']}{downtime}"],
        _fields(plan["steps"]),
        _inserts(plan["steps"]),
        _merges(plan["steps"]),
        _removals(plan["steps"]),
        _commands(plan["steps"]),
        _indexes(plan["steps"]),
        _cost(plan),
        _listed("Warnings", plan["warnings"]),
        _problems(plan["problems"]),
    ]
    return "\n\n".join(
        "\n".join(neutral.line(line.rstrip()) for line in block) for block in blocks if block
    )


def diff(plan: Mapping[str, Any]) -> dict[str, str]:
    """Return what *plan* changes as two texts, before and after, that differ line by line."""
    before: list[str] = []
    after: list[str] = []
    for row in plan["steps"]:
        place = row.get("real_name", row["collection"])
        total = row["documents"]
        if "field" in row:
            fine = total - row["candidates"]
            label = f"{place}.{row['field']}: {{:,}} of {total:,} documents set"
            before.append(label.format(fine))
            after.append(label.format(fine + _to_change(row)))
        elif "to_insert" in row:
            before.append(f"{place}: {total:,} documents")
            after.append(f"{place}: {total + row['to_insert']:,} documents")
        elif "to_remove" in row:
            before.append(f"{place}: {total:,} documents")
            after.append(f"{place}: {total - row['to_remove']:,} documents")
        elif "command" in row:
            before.append(f"command not run: {row['command']}")
            after.append(f"command run: {row['command']}")
        for index in row.get("indexes", ()):
            label = f"{place}: index {index['name']} {{}}"
            missing = index["state"] == "missing"
            before.append(label.format("missing" if missing else index["state"]))
            after.append(label.format("present" if missing else index["state"]))
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
    finished = idle or (migration["state"] in _FINISHED and not _anew(migration))
    verify = f"verify.yml -e migration={migration['id']}"
    command = "repair.yml" if idle else verify if finished else migration["command"]
    return {
        "changed": not finished,
        **{key: migration[key] for key in ("name", "digest", "run")},
        "migration": migration["id"],
        "phase": migration["state"],
        "warnings": [] if finished or plan is None else plan["warnings"],
        "next": f"ansible-playbook {command}",
        # What differs from the plan of a finished run is drift, and no run's business.
        **({} if finished or plan is None else {"plan": plan}),
    }


def _anew(migration: Mapping[str, Any]) -> bool:
    """Return whether a repair that was done before is to be done again."""
    return bool(migration["todo"] == "migrate" and migration["state"] == "verified")


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


def _fields(steps: Iterable[Row]) -> list[str]:
    """Return the documents that get a field; columns that hold nothing but zeros are left out."""
    rows = [row for row in steps if "field" in row]
    if not rows:
        return []
    numbers = [{name: count(row) for name, count in _COLUMNS.items()} for row in rows]
    shown = [name for name in _COLUMNS if name in _ALWAYS or any(row[name] for row in numbers)]
    body = [
        [_name(row), row["field"], *(_number(counts[name]) for name in shown)]
        for row, counts in zip(rows, numbers, strict=True)
    ]
    if len(rows) > 1:
        sums = [_number(sum(counts[name] for counts in numbers)) for name in shown]
        body.append(["total", "", *sums])
    return _aligned([["collection", "field", *shown], *body], numeric_from=2)


def _inserts(steps: Iterable[Row]) -> list[str]:
    rows = [row for row in steps if "to_insert" in row]
    if not rows:
        return []
    return _aligned(
        [
            ["inserts into", "to insert", "kept as they are"],
            *(
                [_name(row), _number(row["to_insert"]), _number(row.get("existing", 0))]
                for row in rows
            ),
        ],
        numeric_from=1,
    )


def _merges(steps: Iterable[Row]) -> list[str]:
    rows = [row for row in steps if "to_remove" in row]
    if not rows:
        return []
    heads = ["merges in", "duplicated", "to remove", "references to move", "stays"]
    return _aligned(
        [
            heads,
            *(
                [
                    _name(row),
                    *(_number(row[key]) for key in ("groups", "to_remove", "to_repoint")),
                    row["keep"].replace("_", " "),
                ]
                for row in rows
            ),
        ],
        numeric_from=1,
    )


def _removals(steps: Iterable[Row]) -> list[str]:
    """Return each document that goes, or would by the policy `merge`, with what it is."""
    lines = []
    known = ("remove", "keep", "references", "differs")
    for row in steps:
        shown = row.get("removals", ())
        for item in shown:
            what = ", ".join(f"{k} {ejson.short(v)}" for k, v in item.items() if k not in known)
            lines.append(
                f"  {ejson.short(item['remove'])} ({what}; {item['references']:,} references) "
                f"for {ejson.short(item['keep'])}" + (", differing" if item["differs"] else "")
            )
    return ["Removes, or would if differing ones were merged", *lines] if lines else []


def _commands(steps: Iterable[Row]) -> list[str]:
    lines = []
    for row in steps:
        if "command" in row:
            lines += [
                f"Runs     {row['command']} (at most {row['timeout_seconds']} s; writes to "
                f"{row['real_name']})",
                f"Undo     {row['down'] or 'none: only a restore of the backup'}",
            ]
    return lines


def _indexes(steps: Iterable[Row]) -> list[str]:
    """Return a paragraph for each index and state, since an index is mostly on many collections."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in steps:
        for index in row.get("indexes", ()):
            groups.setdefault((index["name"], index["state"]), []).append(_name(row))
    said = {"missing": "to build on", "present": "exists on", "different": "IN THE WAY on"}
    lines = ["Indexes"] if groups else []
    for (name, state), collections in groups.items():
        count = f"{len(collections)} collections: " if len(collections) > 1 else ""
        lines += wrap(
            f"{name} {said.get(state, state)} {count}{', '.join(collections)}",
            width=_WIDTH,
            initial_indent="  ",
            subsequent_indent="    ",
        )
    return lines


def _cost(plan: Mapping[str, Any]) -> list[str]:
    cost = plan["estimate"]
    return [f"Estimate: {_duration(cost['seconds'])}, {_size(cost['oplog_bytes'])} of oplog"]


def _problems(problems: Sequence[Row]) -> list[str]:
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
    return lines


def _listed(heading: str, items: Sequence[str]) -> list[str]:
    return [heading, *(f"  - {item}" for item in items)] if items else []


def _aligned(rows: Sequence[Sequence[str]], numeric_from: int = 99) -> list[str]:
    """Return *rows* as lines; from the column *numeric_from* on, cells are flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column >= numeric_from else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _name(row: Row) -> str:
    """Return what the database calls the collection, and the document where that differs much."""
    name, real = str(row["collection"]), str(row.get("real_name", row["collection"]))
    return real if real.lower() == name.lower() else f"{real} ({name})"


def _number(count: int) -> str:
    return f"{count:,}" if count else _NOTHING


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "nothing to do" if not seconds else "under 1 s"
    if seconds < 120:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{neutral.line(line)}\n" for line in lines)
