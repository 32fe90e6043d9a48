"""What a policy left as it is: how many documents, why, and which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..document.value_sources import Found
from ..support.chunks import chunks
from ..values import compare
from .field_rules import Rules, Target
from .referents import Referents

# Of the documents of one collection.
MOST_NAMED = 1000
_READ = 200


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
    named = _named(rules, target, referents, comment) if left else {}
    for one in left:
        yield item(
            target.name,
            one["what"],
            policy=f"when_{one['policy']}: {one['choice']}",
            count=one["count"],
            ids=named.get(one["what"]) or one["samples"],
        )
    if rules.when_invalid == "keep":
        yield from _kept(rules, target, referents, comment)


def _named(
    rules: Rules, target: Target, referents: Referents, comment: str | None
) -> dict[str, list[Any]]:
    """Return the first documents that still are candidates, by why there is no value for them."""
    found: dict[str, list[Any]] = {}
    rows = target.collection.find(
        rules.candidates(referents),
        {"key": target.source.inputs or []},
        sort=[("_id", 1)],
        limit=MOST_NAMED,
        comment=comment,
    )
    for some in chunks(rows, _READ):
        target.source.prepare([row["key"] for row in some])
        for row in some:
            answer = rules.answer(target.source, row["key"], referents)
            if not isinstance(answer, Found):
                found.setdefault(answer.reason, []).append(row["_id"])
    return found


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
