"""What a collection's validator would refuse, found before anything is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pymongo.collection import Collection

from ..chunks import chunks

_SAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """How many documents the validator refuses, with the keys of some."""

    count: int
    samples: list[Any]


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
        group = {
            "_id": None,
            "count": {"$sum": 1},
            "samples": {"$firstN": {"input": key, "n": _SAMPLES}},
        }
        found = list(
            source.aggregate(
                [*pipeline, {"$match": {"$nor": [self._rule]}}, {"$group": group}],
                comment=self._comment,
            )
        )
        if not found:
            return Refusal(count=0, samples=[])
        return Refusal(count=found[0]["count"], samples=found[0]["samples"])
