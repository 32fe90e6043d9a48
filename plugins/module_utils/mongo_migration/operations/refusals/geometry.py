"""Which documents a ``2dsphere`` index would refuse: where the field is no geometry on earth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo.collection import Collection

from ..base import Plan, Scope
from . import index_documents

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
    """Add to *plan* what the index refuses; the arguments are those of :mod:`.index_documents`."""
    paths = [path for path, kind in spec["key"].items() if kind == "2dsphere"]
    if not paths:
        return
    rule = index_documents.Rule(
        fits={
            "$and": [
                {"$or": [{path: None}, {path: []}, {path: {}}, {path: _EARTH}]} for path in paths
            ]
        },
        what=f"{', '.join(paths)}: no geometry that a 2dsphere index takes",
        fix="correct these documents (GeoJSON and pairs are longitude first, from -180 to 180, "
        "then latitude, from -90 to 90), or leave them out by a partialFilterExpression",
    )
    if not index_documents.tell(
        plan, scope, spec, rule, step=step, name=name, collection=collection
    ):
        plan.warnings.append(
            f"{name}: whether {', '.join(paths)} will be places on earth can't be known before the "
            "earlier steps have changed it; the index refuses what isn't"
        )
