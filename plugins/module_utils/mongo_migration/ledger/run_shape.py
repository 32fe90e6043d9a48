"""What a run's document looks like; whatever is read from one has a rule here."""

from __future__ import annotations

import datetime
from typing import Any

from ..errors import MigrationError
from ..pace.throttle import Limits
from .shapes import (
    Shape,
    count,
    digest,
    each,
    each_is,
    identity,
    keeps,
    mapped,
    number,
    optional,
    seconds,
    shaped,
    texts,
    word,
)

PHASES = (
    *("planned", "running", "interrupted", "failed", "caught_up", "applied", "verified"),
    *("rolling_back", "rolled_back", "pruning", "pruned"),
)
_DATE = datetime.datetime

# How a command ended.
OUTCOME: Shape = {
    "command": optional(str),
    "exit_code": optional(int),
    "seconds": seconds,
    "timeout_seconds": seconds,
    "output": str,
}
# Of a plan's row, what is read again from a run.
_ROW: Shape = {
    "step": count,
    "collection": str,
    "kind": str,
    "documents": optional(count),
    "to_change": optional(count),
    "to_insert": optional(count),
    "real_name": optional(str),
    "indexes": optional(each({"name": str, "state": str})),
    "amounts": optional(mapped(count)),
    "command": optional(str),
    "foreign": optional(texts),
    "writes": optional(texts),
    "settles": optional(bool),
    "unfit": optional(
        each({"path": str, "why": str, "policy": str, "count": count, "samples": list})
    ),
}
# Of these, one that is there says something: null would be taken for a value.
_SAYING = ("documents", "indexes", "amounts", "command", "foreign", "writes", "settles", "unfit")
_TAKEN: Shape = {"digest": digest, "count": count}


def _totals(value: Any) -> bool:
    totals = value.get("totals") if isinstance(value, dict) else None
    needed = {"candidates", "to_change", "to_insert"}
    return isinstance(totals, dict) and needed <= set(totals) and mapped(count)(totals)


def _row(value: Any) -> bool:
    return (
        shaped(_ROW)(value)
        and not any(key in value and value[key] is None for key in _SAYING)
        and ("to_change" not in value or count(value.get("documents")))
    )


def _plan(value: Any) -> bool:
    rest: Shape = {"steps": each_is(_row), "before": mapped(count), "warnings": texts}
    return _totals(value) and shaped(rest)(value)


def _counts(value: Any) -> bool:
    needed = {"modified", "inserted", "skipped", "batches"}
    return isinstance(value, dict) and needed <= set(value) and mapped(number)(value)


def _fields(value: Any) -> bool:
    # 1.0 had one digest for all fields of a collection.
    return shaped(_TAKEN)(value) or mapped(shaped(_TAKEN))(value)


def _undone(value: Any) -> bool:
    return shaped({"restore": count, "remove": count})(value) and all(
        texts(one) if isinstance(one, list) else count(one) for one in value.values()
    )


def _limits(value: Any) -> bool:
    try:
        Limits(**value)
    except (TypeError, MigrationError):
        return False
    return True


_CUTOVER: Shape = {
    "kind": str,
    "half": optional(str),
    **dict.fromkeys(("passes", "last", "live", "proved"), count),
}
_POSITION: Shape = {
    "step": count,
    "target": optional(lambda value: count(value) or keeps(value, str)),
    "pass": optional(count),
    "seq": optional(count),
    "skipped": optional(number),
    "pairs": optional(bytes),
    "last": identity,
}

RUN: Shape = {
    "_id": word,
    "number": count,
    "revision": optional(count),
    "recoveries": optional(count),
    "migration": word,
    "name": word,
    "digest": str,
    "variables": dict,
    "collections": each({"name": str, "real": optional(str)}),
    "assume_applied": optional(texts),
    "after": optional(texts),
    "now": _DATE,
    "started": _DATE,
    "updated": optional(_DATE),
    **dict.fromkeys(
        ("applied_at", "verified_at", "rolled_back_at", "pruned_at", "batches_began"),
        optional(_DATE),
    ),
    "phase": lambda value: keeps(value, str) and value in PHASES,
    "history": each({"phase": str, "at": _DATE}),
    "token": count,
    "position": shaped(_POSITION),
    "seq": count,
    "counts": _counts,
    "plan": _plan,
    "control": optional(
        shaped(
            {
                "action": lambda value: value in ("pause", "abort"),
                "by": str,
                "at": optional(_DATE),
            }
        )
    ),
    "limits": optional(_limits),
    "rollback": optional(
        shaped(
            {"plan": _undone, "change": optional(dict), "operator": optional(dict)},
        )
    ),
    "prune": optional(
        shaped(
            {
                "operator": shaped({"user": optional(str), "host": optional(str)}),
                "change": optional(dict),
                "at": _DATE,
                "bytes": count,
            }
        )
    ),
    "baseline": optional(
        each(
            {
                "collection": str,
                "without": texts,
                **_TAKEN,
                "fields": _fields,
                "whole": optional(shaped(_TAKEN)),
                "until": optional(_DATE),
            }
        )
    ),
    "cutover": optional(shaped(_CUTOVER)),
    "commands": optional(mapped(mapped(shaped(OUTCOME)))),
    "server": shaped({"transactions": bool}),
    "backup": optional(str),
    "error": optional(str),
    "operator": optional(dict),
    "change": optional(dict),
}
# What another terminal, or anybody else, may write while the run is at work.
STEERED: Shape = {key: RUN[key] for key in ("control", "limits")}
# Where a long list of runs is read, their long parts are left out.
_LONG = ("variables", "collections", "baseline")
SHORT: Shape = {**{key: RUN[key] for key in RUN if key not in _LONG}, "plan": _totals}
