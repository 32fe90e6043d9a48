"""What the server would refuse of documents that come to a collection, found beforehand."""

from __future__ import annotations

from typing import Any

from ...document.definition import Step
from ...document.value_sources import Scope
from ..base import Plan, amounts, problem
from ..futures import Rewrite
from ..refusals import unique_indexes
from ..refusals.validators import Validator

# A filter of no document: something comes, and none of those that are there changes.
_NOTHING: dict[str, Any] = {"_id": {"$in": []}}


def tell_coming(
    plan: Plan,
    scope: Scope,
    step: Step,
    *,
    documents: list[dict[str, Any]],
    total: int,
) -> None:
    """Add to *plan* that *documents* come to a collection, and which of them it refuses.

    Args:
        plan: of the step.
        scope: of the plan; later steps see what comes.
        step: that brings them.
        documents: what comes; of very many, some.
        total: how many come.
    """
    into = step.options["into"]
    target = scope.collections.target(into)
    few = total == len(documents) <= unique_indexes.MOST_INSERTED
    if few:
        scope.planned.setdefault(into, []).extend(documents)
    else:
        plan.change(target.name, _NOTHING)
        scope.rewrites.setdefault(target.name, []).append(Rewrite.untold(None))
    validator = Validator(target, scope)
    _tell_refused(plan, scope, step, validator, documents)
    if not few and (validator or list(unique_indexes.of(target))):
        plan.warnings.append(
            f"{into}: whether its validator and unique indexes take what comes was tried with "
            f"{min(len(documents), unique_indexes.MOST_INSERTED):,} of {total:,} documents"
        )
    plan.rows.append(
        {
            "step": step.index,
            "kind": step.kind,
            "collection": into,
            "real_name": target.name,
            "documents": target.count_documents({}, comment=scope.comment),
            "candidates": 0,
            "to_insert": total,
            "amounts": amounts(inserts=total),
        }
    )


def _tell_refused(
    plan: Plan,
    scope: Scope,
    step: Step,
    validator: Validator,
    documents: list[dict[str, Any]],
) -> None:
    """Add what the collection's validator and its unique indexes refuse."""
    into = step.options["into"]
    target = scope.collections.target(into)
    refusal = validator.refuses_new(documents, {"_id": "$_id"}) if validator else None
    if refusal and refusal.count:
        plan.problems.append(
            problem(
                step=step.index,
                collection=into,
                what="the collection's validator refuses documents that come",
                count=refusal.count,
                samples=refusal.samples,
                policy="validator",
                fix="change the validator, or what comes",
            )
        )
    for spec in unique_indexes.of(target) if documents else ():
        twins = unique_indexes.refuses(
            target,
            spec,
            inserted=documents[: unique_indexes.MOST_INSERTED],
            comment=scope.comment,
        )
        if twins.count:
            plan.problems.append(unique_indexes.problem_of(step.index, into, spec["name"], twins))
