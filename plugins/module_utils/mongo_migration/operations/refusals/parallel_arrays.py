"""Which documents a compound index would refuse: those with fields of it in different arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo.collection import Collection

from ..base import Plan, Scope, problem
from .unique_indexes import fields_of
from .validators import violating


def tell(
    plan: Plan,
    scope: Scope,
    spec: Mapping[str, Any],
    *,
    step: int,
    name: str,
    collection: Collection[dict[str, Any]],
) -> None:
    """Add to *plan* the documents that the index refuses, once this and earlier steps are done.

    Args:
        plan: of the step.
        scope: of the plan, which knows what they do.
        spec: of the index that will be built.
        step: the index of the step.
        name: the document's name of the collection.
        collection: of the documents.
    """
    paths = [path for path, kind in spec["key"].items() if kind in (1, -1) and "$" not in path]
    if len(paths) < 2:
        return
    arrays = {"$setDifference": [[_first_array(path) for path in paths], [None]]}
    fits: dict[str, Any] = {"$expr": {"$lte": [{"$size": arrays}, 1]}}
    if partial := spec.get("partialFilterExpression"):
        fits = {"$or": [fits, {"$nor": [dict(partial)]}]}
    rewrites = scope.rewrites.get(collection.name, [])
    refusal = violating(
        collection,
        fits,
        rewrites=[one for one in rewrites if one.concerns(fields_of(spec))],
        inserted=scope.planned.get(name, []),
        comment=scope.comment,
    )
    if refusal is not None and refusal.count:
        plan.problems.append(
            problem(
                step=step,
                collection=name,
                what=f"{' and '.join(paths)}: two of them are arrays, or lie in different ones",
                count=refusal.count,
                samples=refusal.samples,
                policy="an index that the server can't build",
                fix="index one of them, correct these documents, or leave them out by a "
                "partialFilterExpression",
            )
        )


def _first_array(path: str) -> dict[str, Any]:
    """Return the first part of *path* that is an array, or null."""
    parts = path.split(".")
    prefixes = [".".join(parts[: number + 1]) for number in range(len(parts))]
    branches = [{"case": {"$isArray": [f"${one}"]}, "then": {"$literal": one}} for one in prefixes]
    return {"$switch": {"branches": branches, "default": None}}
