"""Values that exist, but aren't what belongs to the documents that hold them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..document.value_sources import Key
from ..support.chunks import chunks
from ..values import compare
from .field_rules import Rules, Target
from .referents import Referents


def find(
    rules: Rules, target: Target, referents: Referents, *, comment: str | None
) -> Iterator[tuple[Key, Any, int, Any, str]]:
    """Yield the documents of *target* that are alike and hold another one's value.

    Yields:
        The key of their source, the value that they hold, how many they are, the ``_id`` of one,
        and what the value should come from.
    """
    if not target.source.judges:
        return
    groups = target.collection.aggregate(
        [
            {"$match": rules.others(referents)},
            {
                "$group": {
                    "_id": {"key": target.source.inputs, "value": f"${rules.field}"},
                    "count": {"$sum": 1},
                    "sample": {"$first": "$_id"},
                }
            },
        ],
        allowDiskUse=True,
        comment=comment,
    )
    for some in chunks(groups, 1000):
        pairs = [(row["_id"]["key"], row["_id"].get("value")) for row in some]
        judged = target.source.judge(pairs)
        wrong = [
            (row, pair, judgement)
            for row, pair, judgement in zip(some, pairs, judged, strict=True)
            if judgement is not None and not judgement.agrees
        ]
        target.source.prepare([key for _, (key, _), _ in wrong])
        for row, (key, value), judgement in wrong:
            yield key, value, row["count"], row["sample"], judgement.source


def values(rules: Rules, target: Target, referents: Referents, *, comment: str | None) -> list[Any]:
    """Return the values that are to be replaced in some of the documents that hold them."""
    if rules.when_contradicted != "replace":
        return []
    return held(rules, target, referents, comment=comment)


def held(rules: Rules, target: Target, referents: Referents, *, comment: str | None) -> list[Any]:
    """Return the values that belong to another one than some of the documents that hold them."""
    if referents.name is None:
        return []
    found = find(rules, target, referents, comment=comment)
    return list({compare.hashable(value): value for _, value, *_ in found}.values())
