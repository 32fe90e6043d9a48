"""Documents that should be one: found by the server, told apart by what stays and what goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from ...document.value_sources import Scope
from ...support import retry
from ...support.chunks import chunks
from ...values import compare
from ...values.as_value import as_value
from ...values.compare import ABSENT, equal_token, hashable
from ..documents.spans import Spans
from .references import References

_TOGETHER = 500
_PAGE = 1000


@dataclass(frozen=True, kw_only=True)
class Group:
    """Documents that should be one."""

    key: dict[str, Any]
    keep: Any  # the _id of the one that stays
    remove: list[Any]
    counts: dict[bytes, int]  # references, by the _id that they name
    differing: list[str]  # fields in which they don't agree
    values: dict[bytes, dict[str, Any]]  # what a person tells them apart by, by the _id
    gets: dict[str, tuple[Any, Any]]  # by field: what the one that stays holds, and what it gets

    @property
    def references(self) -> int:
        """Return how many references name one that goes."""
        return sum(self.counts.get(equal_token(identity), 0) for identity in self.remove)

    def removals(self) -> list[dict[str, Any]]:
        """Return the documents that go, one by one, with what they are and where they go."""
        return [
            {
                "remove": identity,
                "keep": self.keep,
                "references": self.counts.get(equal_token(identity), 0),
                **self.values[hashable(identity)],
            }
            for identity in self.remove
        ]


class Groups:
    """Finds them, by the options of the schema's ``merge_duplicates``."""

    def __init__(
        self,
        options: Mapping[str, Any],
        collection: Collection[dict[str, Any]],
        references: References,
        scope: Scope,
    ) -> None:
        by = options["by"]
        self._key: dict[str, Any] = by if isinstance(by, dict) else {n: f"${n}" for n in by}
        self._fields: list[str] = [] if isinstance(by, dict) else list(by)
        self._key = compare.bind_now(self._key, scope.now)
        # The server makes "" of null where it makes capitals small.
        self._none: list[Any] = [None, ""] if isinstance(by, dict) else [None]
        self._collection = collection
        self._references = references
        self._comment = scope.comment
        self._where: dict[str, Any] = compare.bind_now(options.get("where", {}), scope.now)
        self._keep: Any = options["keep"]
        self._same: list[str] = options.get("same", [])
        self._merged: dict[str, str] = options.get("fields", {})
        span = options.get("overlapping")
        self._spans = Spans(first=span["from"], last=span["to"]) if span else None
        self._otherwise: list[str] = span.get("otherwise", []) if span else []

    @property
    def words(self) -> str:
        """What makes two documents duplicates, for people."""
        overlap = f" overlap in {self._spans.first} to {self._spans.last}" if self._spans else ""
        return f"of the same {', '.join(self._key)}{overlap}"

    @property
    def staying(self) -> str:
        """Which one stays, for people."""
        if isinstance(self._keep, str):
            return self._keep.replace("_", " ")
        return f"first by {', '.join(self._keep['first_by'])}"

    def find(self) -> Iterator[Group]:
        """Yield the groups, in the order of their keys.

        Raises:
            pymongo.errors.OperationFailure: the server can't compute a key; see :meth:`unfit`.
        """
        told = {*self._fields, *self._same, *self._merged}
        if self._spans:
            told |= {self._spans.first, self._spans.last, *self._otherwise}
        shown = {name: f"${name}" for name in ("_id", *sorted(told))}
        stages: list[dict[str, Any]] = [
            # What lacks a part of the key is not a duplicate of anything.
            {"$match": {"$and": [{field: {"$ne": None}} for field in self._fields] or [{}]}},
            {"$match": self._where},
            {"$sort": self._order()},
            {"$project": {"key": as_value(self._key), "told": as_value(shown)}},
            {"$match": {"$and": [{f"key.{name}": {"$nin": self._none}} for name in self._key]}},
            {"$group": {"_id": "$key", "documents": {"$push": "$told"}}},
            {"$match": {"documents.1": {"$exists": True}}},
            {"$sort": {"_id": 1}},
        ]
        rows = self._collection.aggregate(stages, allowDiskUse=True, comment=self._comment)
        for some in chunks(rows, _TOGETHER):
            counts = self._references.counts([d["_id"] for row in some for d in row["documents"]])
            for row in some:
                yield from self._split(row, counts)

    def unfit(self) -> Iterator[tuple[Any, str]]:
        """Yield documents for which the server can't compute the key, with what it said."""
        rows = self._collection.find(self._where, {"_id": 1}, comment=self._comment)
        for some in chunks((row["_id"] for row in rows), _PAGE):
            yield from self._halved(some)

    def _halved(self, ids: list[Any]) -> Iterator[tuple[Any, str]]:
        try:
            list(self._collection.find({"_id": {"$in": ids}}, {"key": as_value(self._key)}))
        except OperationFailure as error:
            if retry.is_retryable(error):
                raise
            if len(ids) == 1:
                yield ids[0], str(error).split(", full error:")[0]
                return
            half = len(ids) // 2
            yield from self._halved(ids[:half])
            yield from self._halved(ids[half:])

    def _order(self) -> dict[str, int]:
        if isinstance(self._keep, dict):
            return {**self._keep["first_by"], "_id": self._keep["first_by"].get("_id", 1)}
        return {"_id": 1}

    def _split(self, row: dict[str, Any], counts: dict[bytes, int]) -> Iterator[Group]:
        """Yield the documents of one key that should be one: all, or what overlaps one of them."""
        left = row["documents"]  # in the order in which one of them stays
        while len(left) > 1:
            keep = self._stays(left, counts)
            others = [d for d in left if d is not keep]
            if self._spans:
                others = [d for d in others if self._doubles(keep, d)]
            if others:
                yield self._group(row["_id"], keep, others, counts)
            left = [d for d in left if d is not keep and all(d is not other for other in others)]

    def _doubles(self, one: dict[str, Any], other: dict[str, Any]) -> bool:
        """Return whether two documents of one key should be one."""
        if self._spans is None:
            raise AssertionError("only duplicates in time are compared by their spans")
        if not self._otherwise or self._spans.length(one) or self._spans.length(other):
            return self._spans.overlap(one, other)
        # Neither says when it is.
        return all(
            one.get(field) is not None and not _differ(one[field], other.get(field, ABSENT))
            for field in self._otherwise
        )

    def _stays(self, documents: list[dict[str, Any]], counts: dict[bytes, int]) -> dict[str, Any]:
        if self._keep == "most_referenced":
            return max(documents, key=lambda found: counts.get(equal_token(found["_id"]), 0))
        return documents[-1 if self._keep == "newest" else 0]

    def _group(
        self,
        key: dict[str, Any],
        keep: dict[str, Any],
        others: list[dict[str, Any]],
        counts: dict[bytes, int],
    ) -> Group:
        return Group(
            key=key,
            keep=keep["_id"],
            remove=[other["_id"] for other in others],
            counts=counts,
            differing=[
                field
                for field in self._same
                if any(
                    _differ(other.get(field, ABSENT), keep.get(field, ABSENT)) for other in others
                )
            ],
            values={
                hashable(found["_id"]): {**key, **{k: v for k, v in found.items() if k != "_id"}}
                for found in others
            },
            gets=dict(self._gets(keep, others)),
        )

    def _gets(
        self, keep: dict[str, Any], others: list[dict[str, Any]]
    ) -> Iterator[tuple[str, tuple[Any, Any]]]:
        """Yield the fields of the one that stays that become others."""
        for field, how in self._merged.items():
            held = [found.get(field) for found in (keep, *others)]
            value = _MERGED[how]([one for one in held if one is not None])
            before = keep.get(field, ABSENT)
            if value is not None and not compare.same(before, value):
                yield field, (before, value)


def _differ(one: Any, other: Any) -> bool:
    if one is ABSENT or other is ABSENT:
        return one is not other
    return equal_token(one) != equal_token(other)


def _union(values: list[Any]) -> Any:
    if len(values) < 2:
        return values[0] if values else None
    found: dict[bytes, Any] = {}
    for value in values:
        for item in value if isinstance(value, list) else [value]:
            found.setdefault(equal_token(item), item)
    return list(found.values())


# None of them gives something else when asked again of what it has given: a killed run may ask.
_MERGED = {
    "first": lambda values: values[0] if values else None,
    "union": _union,
}
