"""Documents for which the journal has no room: what is kept of one is one document of the server.

It also needs room for the mark of its being undone, and for what was found then: without that, the
way there would be open, and the way back closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import bson
from pymongo.collection import Collection

from ...ledger.journal import LARGEST_ENTRY
from ..base import Plan, problem

_SAMPLES = 5
# What may be large without looking large.
_NESTS = (list, Mapping)
_LONG = 1 << 16


def tell(plan: Plan, ids: Sequence[Any], *, step: int, name: str) -> None:
    """Add to *plan* the documents *ids* of the collection *name*, which are too large."""
    if ids:
        plan.problems.append(
            problem(
                step=step,
                collection=name,
                what="is too large to be kept in the journal, without which no rollback is exact",
                count=len(ids),
                samples=list(ids[:_SAMPLES]),
                policy="a rollback is exact",
                fix="make these documents smaller, or leave them out with `where`",
            )
        )


def larger(
    collection: Collection[dict[str, Any]],
    selector: Mapping[str, Any],
    kept: Any,
    *,
    comment: str | None,
) -> list[Any]:
    """Return the ids of documents of which an object, an expression, is too large.

    Args:
        collection: of the documents.
        selector: which of them.
        kept: the object.
        comment: for the server's operations.
    """
    large = {"$expr": {"$gt": [{"$bsonSize": kept}, LARGEST_ENTRY]}}
    found = collection.find({"$and": [selector, large]}, {"_id": 1}, comment=comment)
    return [row["_id"] for row in found]


def coming(documents: Iterable[Mapping[str, Any]], key: Sequence[str]) -> list[Any]:
    """Return the keys of new *documents* that are too large."""
    return [
        [document.get(name) for name in key]
        for document in documents
        if any(map(_may_be_large, document.values())) and len(bson.encode(document)) > LARGEST_ENTRY
    ]


def _may_be_large(value: Any) -> bool:
    return isinstance(value, _NESTS) or (isinstance(value, str | bytes) and len(value) > _LONG)
