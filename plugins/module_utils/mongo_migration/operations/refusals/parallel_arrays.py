"""Which documents a compound index would refuse: those with fields of it in different arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo.collection import Collection

from ..base import Plan, Scope
from . import index_documents


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
    paths = [path for path, kind in spec["key"].items() if kind in (1, -1) and "$" not in path]
    if len(paths) < 2:
        return
    arrays = {"$setDifference": [[_first_array(path) for path in paths], [None]]}
    rule = index_documents.Rule(
        fits={"$expr": {"$lte": [{"$size": arrays}, 1]}},
        what=f"{' and '.join(paths)}: two of them are arrays, or lie in different ones",
        fix="index one of them, correct these documents, or leave them out by a "
        "partialFilterExpression",
    )
    index_documents.tell(plan, scope, spec, rule, step=step, name=name, collection=collection)


def _first_array(path: str) -> dict[str, Any]:
    """Return the first part of *path* that is an array, or null."""
    parts = path.split(".")
    prefixes = [".".join(parts[: number + 1]) for number in range(len(parts))]
    branches = [{"case": {"$isArray": [f"${one}"]}, "then": {"$literal": one}} for one in prefixes]
    return {"$switch": {"branches": branches, "default": None}}
