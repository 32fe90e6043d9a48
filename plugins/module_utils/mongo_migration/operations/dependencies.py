"""Steps that rest on what earlier ones of the same migration do, where no plan can tell what it is.

A plan reads the database as it is. What an earlier step inserts, and which documents it deletes or
moves away, later plans take into account; what it writes into documents, they don't. Such a step
belongs to a migration of its own: refused here, before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..document.collections import Collections
from ..document.definition import Step
from .base import Need, Operation, Touched

# As old as these are to each other: the plan of each sees what the others insert, and
# `definition.load` has refused what they read of each other's fields.
_OLD_FRIENDS = {"set_field", "insert_for_each", "merge_duplicates", "create_index", "command"}


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """A step that comes before."""

    step: Step
    touches: Sequence[Touched]
    renames: frozenset[str]  # real names that mean another collection after it, or none
    tells: bool  # whether later plans know which documents it takes away


def of(step: Step, operation: Operation, names: Collections) -> Earlier:
    """Return what later steps have to know of a step."""
    gone = type(operation).consumes(step.options)
    made = type(operation).creates(step.options) if gone else set()
    return Earlier(
        step=step,
        touches=operation.touches(),
        renames=frozenset(map(names.real_name, {*gone, *made})),
        # Which documents an expression chooses, a filter can't say.
        tells=type(operation).TELLS_LEAVING and "only_if" not in step.options,
    )


def conflicts(
    step: Step, operation: Operation, names: Collections, earlier: Iterable[Earlier]
) -> Iterator[str]:
    """Yield, in words, what a plan of *step* couldn't tell.

    Args:
        step: that is to be planned.
        operation: of it.
        names: of collections.
        earlier: the steps before it.
    """
    needs = list(operation.needs())
    for before in earlier:
        place = f"steps[{step.index}].{step.kind}"
        there = f"steps[{before.step.index}].{before.step.kind}"
        for name in sorted(type(operation).names(step.options)):
            if names.real_name(name) in before.renames:
                yield (
                    f"{place} works on '{name}', which {there} renames or takes away, so that no "
                    "plan can tell what it will find"
                )
        if {step.kind, before.step.kind} <= _OLD_FRIENDS:
            continue
        told = dict.fromkeys(
            _rests(need, one, tells=before.tells) for need in needs for one in before.touches
        )
        for what in filter(None, told):
            yield f"{place} rests on {what}, which {there} only brings about"


def blurring(operation: Operation, later: Iterable[Operation]) -> str:
    """Return the first of *later* steps that writes what the check of *operation* looks at."""
    needs = list(operation.needs())
    for other in later:
        if {operation.KIND, other.KIND} <= _OLD_FRIENDS:
            continue  # whose checks know each other
        touches = other.touches()
        if any(_rests(need, one, tells=True) for need in needs for one in touches):
            return f"steps[{other.index}].{other.KIND}"
    return ""


def _rests(need: Need, touched: Touched, *, tells: bool) -> str:
    """Return what *need* rests on of what is *touched*; nothing, if it doesn't."""
    if touched.collection != need.collection or touched.nothing:
        return ""
    if field := touched.field or ("_id" if touched.other_ids else ""):
        return f"'{field}' of {need.collection}" if need.reads(field) else ""
    if touched.command or (touched.any_field and need.fields != frozenset()):
        return f"what documents of {need.collection} hold"
    if need.documents and (touched.inserts or (touched.removes and not tells)):
        return f"which documents of {need.collection} there are"
    return ""
