"""The changelog for people, in as many columns as the screen has room for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..support import neutral, tables

Entry = Mapping[str, Any]

_BEGAN = "began (UTC)"
_COLUMNS = ("migration", "name", "phase", _BEGAN, "ended", "verified", "by", "digest", "run")
# What is left out, in turn, until a line fits.
_LESS = (
    (),
    ("digest", "run"),
    ("digest", "run", "by"),
    ("digest", "run", "by", "ended"),
    ("digest", "run", "by", "ended", "verified"),
)
_NOTE = "(by whom, digests, runs: -e format=json)"
_NEVER = "-"


def lines(entries: Sequence[Entry], files: Sequence[str] = ()) -> list[str]:
    """Return the runs, the newest first, behind the documents that have none yet.

    Args:
        entries: of the changelog, as the module returns them.
        files: names of the documents that exist.
    """
    seen = {entry["migration"] for entry in entries}
    rows = [_pending(file) for file in files if file.partition("-")[0] not in seen]
    rows += [_run(entry) for entry in entries]
    if not rows:
        return ["no migrations"]
    for left_out in _LESS:
        kept = [name for name in _COLUMNS if name not in left_out]
        table = [kept, *([row.get(name, "") for name in kept] for row in rows)]
        found = tables.aligned(table)
        # Of another length, it gave up its shape.
        if len(found) == len(table) and max(map(len, found)) <= tables.width():
            note = [_NOTE] if left_out else []
            return [*(line.rstrip() for line in found), *note]
    return [*(line for row in rows for line in _paragraph(row)), _NOTE]


def _paragraph(row: Mapping[str, str]) -> list[str]:
    words = [row["phase"], *([f"began {row[_BEGAN]}"] if row.get(_BEGAN) else [])]
    return [f"{row['migration']} {row['name']}", *tables.folded(words, indent="  ")]


def _pending(file: str) -> dict[str, str]:
    number, _hyphen, rest = file.partition("-")
    name = rest.rpartition(".")[0]
    return {"migration": neutral.line(number), "name": neutral.line(name), "phase": "pending"}


def _run(entry: Entry) -> dict[str, str]:
    found = {
        "migration": entry["migration"],
        "name": entry["name"],
        "phase": str(entry["phase"]).replace("_", " "),
        _BEGAN: _time(entry["started"]),
        "ended": _time(entry["finished"]),
        "verified": "yes" if entry["verified_at"] else _NEVER,
        "by": (entry["operator"] or {}).get("user", _NEVER),
        "digest": str(entry["digest"])[:10],
        "run": entry["run"],
    }
    return {name: neutral.line(value) for name, value in found.items()}


def _time(value: Any) -> str:
    """Return a time to the minute, from what JSON or BSON makes of one."""
    text = str(value["$date"] if isinstance(value, Mapping) else value or "")
    return text[:16].replace("T", " ") or _NEVER
