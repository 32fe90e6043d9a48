"""Documents that an index would refuse by what one of its fields holds, foreseen from a filter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pymongo.collection import Collection

from ..base import Plan, Scope, problem
from .unique_indexes import fields_of
from .validators import violating


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What every document in an index must be.

    Args:
        fits: a filter for the documents that the index takes.
        what: a document that it doesn't take, in words.
        fix: what to do about it.
    """

    fits: Mapping[str, Any]
    what: str
    fix: str


def tell(
    plan: Plan,
    scope: Scope,
    spec: Mapping[str, Any],
    rule: Rule,
    *,
    step: int,
    name: str,
    collection: Collection[dict[str, Any]],
) -> bool:
    """Add to *plan* the documents that *rule* refuses, once this and earlier steps are done.

    Args:
        plan: of the step.
        scope: of the plan, which knows what they do.
        spec: of the index that will be built.
        rule: of the index.
        step: the index of the step.
        name: the document's name of the collection.
        collection: of the documents.

    Returns:
        Whether it can be known.
    """
    fits: Mapping[str, Any] = rule.fits
    if partial := spec.get("partialFilterExpression"):
        fits = {"$or": [dict(fits), {"$nor": [dict(partial)]}]}
    rewrites = scope.rewrites.get(collection.name, [])
    refusal = violating(
        collection,
        fits,
        rewrites=[one for one in rewrites if one.concerns(fields_of(spec))],
        inserted=scope.planned.get(name, []),
        comment=scope.comment,
    )
    if refusal is None:
        return False
    if refusal.count:
        plan.problems.append(
            problem(
                step=step,
                collection=name,
                what=rule.what,
                count=refusal.count,
                samples=refusal.samples,
                policy="an index that the server can't build",
                fix=rule.fix,
            )
        )
    return True
