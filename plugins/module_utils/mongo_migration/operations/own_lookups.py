"""Sources that look up documents of the very collection which their step changes.

A batch is computed after the batches before it were written. What it finds in its own collection
is then what they wrote, or what they left: values would depend on how large the batches are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pymongo.collection import Collection

from ..document import reads
from ..document.value_sources import Scope
from ..values.compare import bind_now
from .base import Plan, problem

_SAMPLES = 5


def tell(
    plan: Plan,
    sources: Mapping[str, Mapping[str, Any]],
    *,
    collection: Collection[dict[str, Any]],
    where: Mapping[str, Any],
    changed: Iterable[str],
    does: str = "changes",
    step: int,
    scope: Scope,
) -> None:
    """Add to *plan* what a step would find in its own collection: a problem, or a warning.

    Args:
        plan: takes it in.
        sources: by the path or name to tell, where values come from.
        collection: whose documents the step changes.
        where: which of them.
        changed: their top-level fields that change.
        does: to the documents; other than ``changes``, it matters which of them there are.
        step: its index.
        scope: of the plan.
    """
    for label, spec in sources.items():
        ((kind, body),) = spec.items()
        if kind not in ("reference", "aggregate"):
            continue
        for name, fields in dict.fromkeys(reads.lookups([spec])):
            if scope.collections.real_name(name) != collection.name:
                continue
            both = sorted(fields.intersection(changed)) if fields is not None else []
            if both:
                filters = [bind_now(dict(one), scope.now) for one in (where, *_bounds(body))]
                count = collection.count_documents({"$and": filters}, comment=scope.comment)
                if count:
                    what = f"{label} looks up {' and '.join(map(repr, both))} of {name}"
                    plan.problems.append(
                        {**_problem(what, step, name), "count": count}
                        | {"samples": _some(collection, {"$and": filters}, scope)}
                    )
            elif fields is None or does != "changes":
                plan.warnings.append(
                    f"{label} looks up documents of {name}, which this very step "
                    f"{does}: a later batch finds what the earlier ones left. It is right only "
                    "where they leave what is looked up as it is"
                )


def _bounds(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the filters behind which a source looks."""
    stages: list[Mapping[str, Any]] = body.get("pipeline", [])[:1]
    found = (body.get("where"), *(stage.get("$match") for stage in stages))
    return [one for one in found if one is not None]


def _some(
    collection: Collection[dict[str, Any]], selector: Mapping[str, Any], scope: Scope
) -> list[Any]:
    rows = collection.find(selector, {"_id": 1}, comment=scope.comment).limit(_SAMPLES)
    return [row["_id"] for row in rows]


def _problem(what: str, step: int, name: str) -> dict[str, Any]:
    return problem(
        step=step,
        collection=name,
        what=f"{what}, which this very step changes: a later batch would find what an earlier one "
        "wrote",
        count=0,
        samples=[],
        policy="values don't depend on batches",
        fix="write another field here, and put it in its place by a migration behind this one; "
        "or bound the source by `where` to documents that the step doesn't change",
    )


__all__ = ["tell"]
