"""The format of what we keep in the database, and its shape: read, upgraded, or refused by name.

Whoever may write to the migrated database may write to our state as well. So nothing that is read
from it is obeyed before it has the shape of its kind, and nothing in it is ever a command: those
come from the migration document on the controller (see :mod:`..procedures.authority`).

Format 1 is that of 1.0, which wrote no number. Format 2 adds ``format``, ``engine`` and
``revision`` to runs and ``format`` to entries; a run's entries are then numbered without holes. A
run that is live first has ``cutover``, and may be ``caught_up``.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import MigrationError
from ..values import ejson

FORMAT = 2
ENGINE = "1.1.0"

# A key's type, or types, or a function that says whether a value is right.
Rule = type | tuple[type, ...] | Callable[[Any], bool]
Shape = Mapping[str, Rule]

PHASES = (
    *("planned", "running", "interrupted", "failed", "caught_up", "applied", "verified"),
    *("rolling_back", "rolled_back"),
)
_DATE = datetime.datetime


def count(value: Any) -> bool:
    """Return whether *value* is a number of things."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def documents(value: Any) -> bool:
    """Return whether *value* is a list of documents that each have an ``_id``."""
    return isinstance(value, list) and all(isinstance(d, dict) and "_id" in d for d in value)


def each(rules: Shape) -> Callable[[Any], bool]:
    """Return a rule for a list of documents of one shape."""
    return lambda value: isinstance(value, list) and all(not _wrong(item, rules) for item in value)


def optional(rule: Rule) -> Callable[[Any], bool]:
    """Return *rule*, kept by a key that is missing or null as well."""
    return lambda value: value is None or _keeps(value, rule)


def _counts(value: Any) -> bool:
    needed = {"modified", "inserted", "skipped", "batches"}
    return isinstance(value, dict) and needed <= set(value) and all(map(_number, value.values()))


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _totals(value: Any) -> bool:
    totals = value.get("totals") if isinstance(value, dict) else None
    needed = {"candidates", "to_change", "to_insert"}
    return isinstance(totals, dict) and needed <= set(totals) and all(map(count, totals.values()))


def _cutover(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("kind"), str)
        and all(count(value.get(key)) for key in ("passes", "last", "live", "proved"))
    )


def _plan(value: Any) -> bool:
    return (
        _totals(value)
        and isinstance(value.get("steps"), list)
        and all(isinstance(row, dict) for row in value["steps"])
        and isinstance(value.get("before"), dict)
        and isinstance(value.get("warnings"), list)
    )


_RUN: Shape = {
    "_id": str,
    "number": count,
    "migration": str,
    "name": str,
    "digest": str,
    "variables": dict,
    "collections": each({"name": str, "real": optional(str)}),
    "assume_applied": optional(list),
    "after": optional(list),
    "now": _DATE,
    "started": _DATE,
    "updated": optional(_DATE),
    "phase": lambda value: value in PHASES,
    "history": each({"phase": str, "at": _DATE}),
    "token": count,
    "position": lambda value: isinstance(value, dict) and count(value.get("step")),
    "seq": count,
    "counts": _counts,
    "plan": _plan,
    "control": optional(dict),
    "limits": optional(dict),
    "rollback": optional(dict),
    "baseline": optional(
        each({"collection": str, "without": list, "digest": str, "count": count, "fields": dict})
    ),
    "cutover": optional(_cutover),
    "server": optional(dict),
    "backup": optional(str),
    "error": optional(str),
    "operator": optional(dict),
    "change": optional(dict),
}
# Where a long list of runs is read, their long parts are left out.
_SHORT: Shape = {
    **{key: rule for key, rule in _RUN.items() if key not in ("variables", "collections")},
    "plan": _totals,
}


class StateError(MigrationError):
    """A document of ours in the database isn't what we write, or is from a newer release."""


def read_run(found: Mapping[str, Any], *, place: str, short: bool = False) -> dict[str, Any]:
    """Return a run document that may be relied on, in the format of today.

    Args:
        found: as it is in the database.
        place: the collection with its database, for messages.
        short: it was read without its long parts.

    Raises:
        StateError: it isn't of the shape of a run, or of a newer format.
    """
    _refuse_newer(found, place)
    if wrong := _wrong(found, _SHORT if short else _RUN):
        raise _odd(found, place, "a run", wrong)
    return {"revision": 0, **found}


def read_entry(
    found: Mapping[str, Any], shapes: Mapping[str, Shape], *, place: str
) -> dict[str, Any]:
    """Return a journal entry that may be relied on.

    Args:
        found: as it is in the database.
        shapes: of each kind of entry, beside what all have.
        place: the collection with its database, for messages.

    Raises:
        StateError: its kind is unknown, its shape isn't that of its kind, or its format is newer.
    """
    _refuse_newer(found, place)
    kind = found.get("kind")
    if not isinstance(kind, str) or kind not in shapes:
        raise _odd(found, place, "a journal entry", f"its kind is {ejson.short(kind)}")
    rules = {"run": str, "seq": count, "step": count, "collection": str, **shapes[kind]}
    if wrong := _wrong(found, rules):
        raise _odd(found, place, f"a journal entry of kind {kind}", wrong)
    return dict(found)


def _refuse_newer(found: Mapping[str, Any], place: str) -> None:
    number = found.get("format", 1)
    if not count(number) or number < 1:
        raise _odd(found, place, "a document of ours", f"its format is {ejson.short(number)}")
    if number > FORMAT:
        by = f" (written by {found['engine']})" if isinstance(found.get("engine"), str) else ""
        raise StateError(
            f"{place} {ejson.short(found.get('_id'))} has format {number}{by}; this release, "
            f"{ENGINE}, reads up to {FORMAT}. Use the release that wrote it.",
            id=found.get("_id"),
        )


def _wrong(found: Any, rules: Shape) -> str:
    """Return the first thing in which *found* isn't of a shape, or nothing."""
    if not isinstance(found, Mapping):
        return "it is no document"
    for key, rule in rules.items():
        if not _keeps(found.get(key), rule):
            return f"its {key} is {ejson.short(found[key])}" if key in found else f"it has no {key}"
    return ""


def _keeps(value: Any, rule: Rule) -> bool:
    if isinstance(rule, (type, tuple)):
        return isinstance(value, rule) and not (rule is int and isinstance(value, bool))
    return bool(rule(value))


def _odd(found: Mapping[str, Any], place: str, what: str, wrong: str) -> StateError:
    identity = ejson.short(found.get("_id"))
    return StateError(
        f"{place} {identity} isn't {what} that we wrote: {wrong}. Nothing was done by it. Someone "
        "else has written there: look who may (docs/privileges.md), keep a copy of the document, "
        "and remove it or put back what it was.",
        id=found.get("_id"),
    )


def checked(
    found: Mapping[str, Any] | None, rules: Shape, *, place: str, what: str
) -> dict[str, Any] | None:
    """Return another document of ours, such as the lease, if it is there and of its shape.

    Raises:
        StateError: it isn't.
    """
    if found is None:
        return None
    if wrong := _wrong(found, rules):
        raise _odd(found, place, what, wrong)
    return dict(found)
