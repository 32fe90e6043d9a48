"""What the server would refuse to store, found before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bson
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from ...document.value_sources import Scope
from ...support import listing
from ...support.chunks import chunks
from ...support.retry import is_about_a_document
from ...values.compare import hashable
from .. import futures
from ..base import Plan, problem
from ..futures import Rewrite

_SAMPLES = 5
# https://www.mongodb.com/docs/manual/reference/limits/#mongodb-limit-BSON-Document-Size
MOST_BYTES = 16 << 20
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
    full = {"$expr": {"$gt": [{"$bsonSize": "$$ROOT"}, MOST_BYTES - more]}}
    return _refused(collection, [{"$match": {"$and": [full, selector]}}], "$_id", comment)


class Validator:
    """The validator of one collection; falsy where it has none that refuses.

    Args:
        collection: the collection.
        scope: of the plan, of which earlier steps may set another one.
    """

    def __init__(self, collection: Collection[dict[str, Any]], scope: Scope) -> None:
        options = listing.options_of(collection)
        if (rule := scope.rules.get(collection.name)) is not None:
            options = {**rule} if rule else {}
        comment = scope.comment
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

    @property
    def violated(self) -> dict[str, Any]:
        """A filter for the documents that don't fit."""
        return {"$nor": [self._rule]}

    def refuses_changes(
        self, selector: Mapping[str, Any], stages: Sequence[dict[str, Any]]
    ) -> Refusal:
        """Return which documents of *selector* it refuses once they are as *stages* make them.

        One that was invalid before is written only if it changes, which its fields tell.
        """
        concerned: dict[str, Any] = self._rule
        if self._level != "moderate":
            changes = {"$or": [{"$ne": list(pair)} for stage in stages for pair in _changed(stage)]}
            concerned = {"$or": [self._rule, {"$expr": changes}]}
        return self._count([{"$match": dict(selector)}, {"$match": concerned}, *stages], "$_id")

    def exempt(self, ids: Sequence[Any]) -> set[bytes]:
        """Return, hashable, those of *ids* that may stay invalid: `moderate` lets them be."""
        if self._level != "moderate":
            return set()
        found: set[bytes] = set()
        for some in chunks(ids, 1000):
            wanted = {"$and": [{"_id": {"$in": some}}, self.violated]}
            rows = self._collection.find(wanted, {"_id": 1}, comment=self._comment)
            found.update(hashable(row["_id"]) for row in rows)
        return found

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


def tell_new(
    plan: Plan,
    scope: Scope,
    documents: Sequence[dict[str, Any]],
    key: Sequence[str],
    *,
    step: int,
    name: str,
    collection: Collection[dict[str, Any]],
) -> None:
    """Add to *plan* those of *documents* that the collection's validator refuses.

    Args:
        plan: of the step.
        scope: of the plan.
        documents: those that the step will insert.
        key: fields that tell them apart.
        step: the index of the step.
        name: the document's name of the collection.
        collection: where they will be.
    """
    if not (validator := Validator(collection, scope)):
        return
    refusal = validator.refuses_new(documents, {field: f"${field}" for field in key})
    if refusal.count:
        plan.problems.append(
            problem(
                step=step,
                collection=name,
                what="the collection's validator refuses the documents to insert",
                count=refusal.count,
                samples=refusal.samples,
                policy="validator",
                fix="change the validator (collMod), or what the step inserts",
            )
        )


def _changed(stage: Mapping[str, Any]) -> Iterable[tuple[Any, Any]]:
    """Yield what a stage changes, as it was and as it becomes."""
    if "$replaceWith" in stage:
        yield "$$ROOT", stage["$replaceWith"]
    fields = stage.get("$set", {})
    yield {name: f"${name}" for name in fields}, fields


def violating(
    collection: Collection[dict[str, Any]],
    rule: Mapping[str, Any],
    *,
    rewrites: Sequence[Rewrite],
    inserted: Iterable[Mapping[str, Any]],
    comment: str | None,
) -> Refusal | None:
    """Return which documents don't fit *rule* once *rewrites* are done; None: nobody can tell."""
    if not all(one.told for one in rewrites):
        return None
    wrong = {"$match": {"$nor": [rule]}}
    coming = futures.through(
        collection.database,
        map(bson.encode, inserted),
        [wrong, {"$project": {"_id": 1}}],
        comment=comment,
    )
    more = [row["_id"] for row in coming]
    future = futures.of_server(collection, rewrites)
    if future is not None:
        try:
            there = _refused(collection, [*future, wrong], "$_id", comment)
        except OperationFailure as error:
            if not (rewrites and is_about_a_document(error)):
                raise
        else:
            samples = [*there.samples, *more][:_SAMPLES]
            return Refusal(count=there.count + len(more), samples=samples)
    rows = futures.in_parts(
        collection, rewrites, [wrong, {"$project": {"_id": 1}}], comment=comment
    )
    if rows is None:
        return None
    ids = [*(row["_id"] for row in rows), *more]
    return Refusal(count=len(ids), samples=ids[:_SAMPLES])


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
