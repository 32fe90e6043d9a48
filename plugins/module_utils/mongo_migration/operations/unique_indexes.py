"""Which documents a unique index would refuse: the server is asked to compare, as it would itself.

What documents will hold is described by stages: those that a step sets, with their new value, and
those that it inserts, beside the ones that stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo.collection import Collection

from ..support import listing
from .base import problem
from .validators import Refusal

_SAMPLES = 5
# Documents that a step inserts and that are compared: a command has room for so many.
MOST_INSERTED = 2000
# Stands for an empty array, of which a unique index allows one.
_EMPTY = {"$literal": {"empty": "array"}}
# Comparisons of a document with the keys whose value is known, beyond which it takes too long.
_MOST_COMPARISONS = 50_000_000


@dataclass(frozen=True, kw_only=True)
class Rewrite:
    """What a step sets: a field of the documents of *selector* to an expression's value."""

    selector: Mapping[str, Any]
    field: str
    value: Any

    @classmethod
    def by_key(
        cls, selector: Mapping[str, Any], field: str, inputs: Any, pairs: Sequence[tuple[Any, Any]]
    ) -> Rewrite:
        """Return what sets each document to the value that belongs to its *inputs*."""
        keys = [list(key) for key, _ in pairs]
        at = {"$indexOfArray": [{"$literal": keys}, list(inputs)]}
        known = {"$arrayElemAt": [{"$literal": [value for _, value in pairs]}, "$$at"]}
        chosen = {"$cond": [{"$lt": ["$$at", 0]}, f"${field}", known]}
        return cls(
            selector=selector, field=field, value={"$let": {"vars": {"at": at}, "in": chosen}}
        )


def too_many(documents: int, pairs: int) -> bool:
    """Return whether it would take too long to tell by *pairs* what *documents* will hold."""
    return documents * pairs > _MOST_COMPARISONS


def of(collection: Collection[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the specifications of the unique indexes of *collection*, without that of ``_id``."""
    for spec in listing.indexes(collection.database, collection.name):
        if spec.get("unique"):
            yield spec


def concerns(spec: Mapping[str, Any], field: str) -> bool:
    """Return whether what *field* holds matters to the index *spec*."""
    named = [*spec["key"], *_fields_in(spec.get("partialFilterExpression", {}))]
    return any(name == field or name.startswith(f"{field}.") for name in named)


def refuses(
    collection: Collection[dict[str, Any]],
    spec: Mapping[str, Any],
    *,
    rewrites: Sequence[Rewrite] = (),
    inserted: Sequence[dict[str, Any]] = (),
    comment: str | None,
) -> Refusal:
    """Return how many documents too many there would be, with the ``_id`` of some."""
    source = _future(collection.name, rewrites, inserted)
    paths = list(spec["key"])
    stages = [
        *source,
        *([{"$match": spec["partialFilterExpression"]}] if _partial(spec) else []),
        *(
            [{"$match": {"$or": [{path: {"$exists": True}} for path in paths]}}]
            if spec.get("sparse")
            else []
        ),
        {"$project": {f"k{number}": _keys_of(path) for number, path in enumerate(paths)}},
        *({"$unwind": f"$k{number}"} for number in range(len(paths))),
        {
            "$group": {
                "_id": {f"k{n}": f"$k{n}" for n in range(len(paths))},
                "count": {"$sum": 1},
                "ids": {"$firstN": {"input": "$_id", "n": _SAMPLES}},
            }
        },
        {"$match": {"count": {"$gt": 1}}},
        {
            "$group": {
                "_id": None,
                "count": {"$sum": {"$subtract": ["$count", 1]}},
                "samples": {"$firstN": {"input": "$ids", "n": _SAMPLES}},
            }
        },
    ]
    options: dict[str, Any] = {"allowDiskUse": True, "comment": comment}
    if spec.get("collation"):
        options["collation"] = {k: v for k, v in spec["collation"].items() if k != "version"}
    else:
        options["collation"] = {"locale": "simple"}
    found = list(collection.aggregate(stages, **options))
    if not found:
        return Refusal(count=0, samples=[])
    return Refusal(count=found[0]["count"], samples=found[0]["samples"])


def problem_of(step: int, collection: str, index: str, refusal: Refusal) -> dict[str, Any]:
    """Return what a plan says of documents that *index* would refuse."""
    return problem(
        step=step,
        collection=collection,
        what=f"documents would be the same to the unique index '{index}'",
        count=refusal.count,
        samples=refusal.samples,
        policy="unique index",
        fix="make these documents differ, or change the index",
    )


def _partial(spec: Mapping[str, Any]) -> bool:
    return bool(spec.get("partialFilterExpression"))


def _future(
    name: str, rewrites: Sequence[Rewrite], inserted: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return stages that give the documents as they will be."""
    stages: list[dict[str, Any]] = []
    if rewrites:
        # Each document is set by the first of the rewrites that it is of.
        others: list[Mapping[str, Any]] = []
        parts = []
        for one in rewrites:
            mine = {"$and": [one.selector, {"$nor": others}]} if others else one.selector
            parts.append([{"$match": mine}, {"$set": {one.field: one.value}}])
            others.append(one.selector)
        stages.append({"$match": {"$nor": others}})
        stages += [{"$unionWith": {"coll": name, "pipeline": part}} for part in parts]
    if inserted:
        documents = [{"$literal": document} for document in inserted]
        stages.append({"$unionWith": {"pipeline": [{"$documents": documents}]}})
    return stages


def _keys_of(path: str) -> dict[str, Any]:
    """Return an expression for the keys that an index makes of the value at *path*."""
    value = {"$ifNull": [f"${path}", None]}
    some = {"$cond": [{"$eq": ["$$value", []]}, [_EMPTY], "$$value"]}
    return {
        "$let": {
            "vars": {"value": value},
            # An array may hold a value twice: that is one document all the same.
            "in": {"$cond": [{"$isArray": ["$$value"]}, {"$setUnion": [some]}, ["$$value"]]},
        }
    }


def _fields_in(tree: Any) -> set[str]:
    """Return the fields that a filter names."""
    if isinstance(tree, list):
        return {name for item in tree for name in _fields_in(item)}
    if not isinstance(tree, Mapping):
        return set()
    return {
        name
        for key, value in tree.items()
        for name in ({key} if not key.startswith("$") else _fields_in(value))
    }
