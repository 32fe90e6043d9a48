"""What a policy left as it is: how many documents, why, and which."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from ..document.value_sources import Found
from ..support.chunks import chunks
from ..values import compare
from . import contradictions
from .field_rules import Rules, Target
from .referents import Referents

# Of the documents of one collection.
MOST_NAMED = 1000
_READ = 1000

# The name of a policy, and the reason for which it applies.
Why = tuple[str, str]


def item(collection: str, what: str, *, policy: str, count: int, ids: list[Any]) -> dict[str, Any]:
    """Return what stands in the evidence of documents that are alike.

    Args:
        collection: by the document's name.
        what: why they were left.
        policy: that decided so, with its choice.
        count: how many they are.
        ids: of some of them, or of all.
    """
    return {
        "collection": collection,
        "what": what,
        "policy": policy,
        "count": count,
        "ids": ids[:MOST_NAMED],
    }


def by_set_field(
    rules: Rules,
    target: Target,
    referents: Referents,
    row: Mapping[str, Any],
    *,
    comment: str | None,
) -> Iterator[dict[str, Any]]:
    """Yield the documents of *target* that a ``set_field`` left, by why.

    Args:
        rules: of the step.
        target: one of its collections.
        referents: what values may name.
        row: the plan of what is left to be done in it.
        comment: what the server's operations carry.
    """
    left = [one for one in row["unresolved"] if one["choice"] != "fail"]
    named = _named(rules, target, referents, left, comment) if left else {}
    for one in left:
        yield item(
            target.name,
            one["what"],
            policy=f"when_{one['policy']}: {one['choice']}",
            count=one["count"],
            ids=named[_why(one)] or one["samples"],
        )
    if rules.when_invalid == "keep":
        yield from _kept(rules, target, referents, comment)


def _named(
    rules: Rules,
    target: Target,
    referents: Referents,
    left: Sequence[Mapping[str, Any]],
    comment: str | None,
) -> dict[Why, list[Any]]:
    """Return the first documents of each kind in *left*, by the policy and why it applies."""
    found: dict[Why, list[Any]] = {_why(one): [] for one in left}
    most = {_why(one): min(one["count"], MOST_NAMED) for one in left}
    wrong = contradictions.held(rules, target, referents, comment=comment)
    rows = target.collection.find(
        rules.candidates(referents, wrong),
        {"key": target.source.inputs or [], "held": f"${rules.field}"},
        sort=[("_id", 1)],
        comment=comment,
    )
    known = set(map(compare.hashable, wrong))
    with closing(rows):
        for some in chunks(rows, _READ):
            for row, why in _judged(rules, target, referents, some, known):
                if why in found and len(found[why]) < most[why]:
                    found[why].append(row["_id"])
            if all(len(found[why]) == most[why] for why in found):
                break
    return found


def _judged(
    rules: Rules,
    target: Target,
    referents: Referents,
    rows: Sequence[Mapping[str, Any]],
    wrong: Container[bytes],
) -> Iterator[tuple[Mapping[str, Any], Why | None]]:
    """Yield *rows* with why they are left, as the plan judges them; None of those that are fine.

    Args:
        rules: of the step.
        target: one of its collections.
        referents: what values may name.
        rows: each with its ``key``, and with what the field holds.
        wrong: values that belong to another one than some document that holds them.
    """
    source = target.source
    source.prepare([row["key"] for row in rows])
    good = [row for row in rows if compare.hashable(row.get("held")) in wrong]
    judged = source.judge([(row["key"], row["held"]) for row in good])
    agreements = {id(row): found for row, found in zip(good, judged, strict=True)}
    for row in rows:
        agreement = agreements.get(id(row))
        contradicts = agreement is not None and not agreement.agrees
        answer = rules.answer(source, row["key"], referents)
        if id(row) in agreements and not contradicts:
            yield row, None
        elif agreement is not None and rules.when_contradicted != "replace":
            yield row, ("contradicted", rules.contradicts(agreement.source))
        elif not isinstance(answer, Found):
            yield row, (rules.policy(answer), answer.reason)
        elif not contradicts and referents.names_another(row.get("held"), answer.value):
            yield row, ("contradicted", rules.contradicts_as_text(answer.source))
        else:
            yield row, None


def _why(one: Mapping[str, Any]) -> Why:
    return one["policy"], one["what"]


def _kept(
    rules: Rules, target: Target, referents: Referents, comment: str | None
) -> Iterator[dict[str, Any]]:
    """Yield the documents whose value isn't a right one, and was kept."""
    lacking = compare.candidate(rules.field, rules.kind, referents.ids, keep_invalid=False)
    mine = {"$and": [lacking, {"$nor": [rules.candidates(referents)]}, rules.where or {}]}
    if count := target.collection.count_documents(mine, comment=comment):
        rows = target.collection.find(mine, {"_id": 1}, comment=comment).sort("_id", 1)
        yield item(
            target.name,
            f"{rules.field} is of another type, or names something that doesn't exist",
            policy="when_invalid: keep",
            count=count,
            ids=[row["_id"] for row in rows.limit(MOST_NAMED)],
        )
