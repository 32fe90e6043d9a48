"""Which documents a ``2dsphere`` index would refuse: where the field is no geometry on earth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo.collection import Collection

from ..base import Plan, Scope, problem
from .unique_indexes import fields_of
from .validators import violating

# A circle around nowhere of more than half a turn, in radians: all of the earth.
_EARTH = {"$geoWithin": {"$centerSphere": [[0, 0], 4]}}


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
    paths = [path for path, kind in spec["key"].items() if kind == "2dsphere"]
    if not paths:
        return
    fits: dict[str, Any] = {
        "$and": [{"$or": [{path: None}, {path: []}, {path: {}}, {path: _EARTH}]} for path in paths]
    }
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
    if refusal is None:
        plan.warnings.append(
            f"{name}: whether {', '.join(paths)} will be places on earth can't be known before the "
            "earlier steps have changed it; the index refuses what isn't"
        )
    elif refusal.count:
        plan.problems.append(
            problem(
                step=step,
                collection=name,
                what=f"{', '.join(paths)}: no geometry that a 2dsphere index takes",
                count=refusal.count,
                samples=refusal.samples,
                policy="an index that the server can't build",
                fix="correct these documents (GeoJSON and pairs are longitude first, from -180 to "
                "180, then latitude, from -90 to 90), or leave them out by a "
                "partialFilterExpression",
            )
        )
