"""What the server would refuse to store, found before anything is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import bson
from pymongo.collection import Collection

from ..support.chunks import chunks

_SAMPLES = 5
# https://www.mongodb.com/docs/manual/reference/limits/#mongodb-limit-BSON-Document-Size
_MOST_BYTES = 16 << 20
_EMPTY_DOCUMENT = 5


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """How many documents the validator refuses, with the keys of some."""

    count: int
    samples: list[Any]


def too_large(
    collection: Collection[dict[str, Any]],
    selector: dict[str, Any],
    field: str,
    value: Any,
    *,
    comment: str | None,
) -> Refusal:
    """Return which documents of *selector* have no room for *field* with *value*."""
    more = len(bson.encode({field: value})) - _EMPTY_DOCUMENT
    full = {"$expr": {"$gt": [{"$bsonSize": "$$ROOT"}, _MOST_BYTES - more]}}
    return _refused(collection, [{"$match": {"$and": [full, selector]}}], "$_id", comment)


class Validator:
    """The validator of one collection; falsy where it has none that refuses."""

    def __init__(self, collection: Collection[dict[str, Any]], comment: str | None) -> None:
        options = collection.options()
        self._collection = collection
        self._comment = comment
        self._level = options.get("validationLevel", "strict")
        refuses = options.get("validationAction", "error") == "error" and self._level != "off"
        self._rule: dict[str, Any] = options.get("validator", {}) if refuses else {}

    def __bool__(self) -> bool:
        return bool(self._rule)

    def refuses_change(self, selector: dict[str, Any], field: str, value: Any) -> Refusal:
        """Return which documents of *selector* it refuses once their *field* holds *value*.

        One value stands for all of its kind: rules speak of types, seldom of single values.
        """
        # `moderate` lets documents that are invalid already be as they are.
        exempt = [{"$match": self._rule}] if self._level == "moderate" else []
        return self._count(
            [{"$match": selector}, *exempt, {"$set": {field: {"$literal": value}}}], "$_id"
        )

    def refuses_new(self, documents: Iterable[dict[str, Any]], key: dict[str, Any]) -> Refusal:
        """Return which of *documents*, not yet inserted, it refuses; *key* tells them apart."""
        count, samples = 0, list[Any]()
        for some in chunks(documents, 1000):
            made = self._count([{"$documents": [{"$literal": one} for one in some]}], key)
            count += made.count
            samples += made.samples
        return Refusal(count=count, samples=samples[:_SAMPLES])

    def _count(self, pipeline: list[dict[str, Any]], key: Any) -> Refusal:
        source: Any = self._collection
        if "$documents" in pipeline[0]:
            source = self._collection.database
        return _refused(source, [*pipeline, {"$match": {"$nor": [self._rule]}}], key, self._comment)


def _refused(source: Any, pipeline: list[dict[str, Any]], key: Any, comment: str | None) -> Refusal:
    """Return how many documents come out of *pipeline*."""
    group = {
        "_id": None,
        "count": {"$sum": 1},
        "samples": {"$firstN": {"input": key, "n": _SAMPLES}},
    }
    found = list(source.aggregate([*pipeline, {"$group": group}], comment=comment))
    if not found:
        return Refusal(count=0, samples=[])
    return Refusal(count=found[0]["count"], samples=found[0]["samples"])
