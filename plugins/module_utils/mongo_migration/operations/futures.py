"""What a collection will hold once earlier steps of a plan are done, without doing them.

Most of it the server can compute: the documents of a filter go, or pass some stages. What is looked
up, made by the team's own Python, or refused by the server for some document, is read in parts, and
given back to the server as the documents that they will be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection
from pymongo.database import Database

from ..support.chunks import bounded

Stage = dict[str, Any]
# Of a command that holds documents, their bytes; those that are larger aren't looked at.
_MOST_BYTES = 4 << 20
_LARGEST = 12 << 20
# Each of so many rewrites concerns a document, or doesn't: the ways double with each.
_MOST_REWRITES = 4


@dataclass(frozen=True, kw_only=True)
class Rewrite:
    """What a step does to the documents of *selector*.

    Args:
        selector: a filter.
        fields: the top-level fields that change; None: any.
        stages: what makes the documents that they will be; None where the server can't say it.
        read: yields the documents as they will be, as raw BSON; with True only those that change.
        gone: whether they go.
    """

    selector: Mapping[str, Any]
    fields: frozenset[str] | None
    stages: Sequence[Stage] | None = None
    read: Callable[[bool], Iterator[bytes]] | None = None
    gone: bool = False

    @classmethod
    def of_field(cls, selector: Mapping[str, Any], field: str, value: Any) -> Rewrite:
        """Return what sets *field* to the value of an expression."""
        return cls(selector=selector, fields=frozenset([field]), stages=[{"$set": {field: value}}])

    @classmethod
    def by_key(
        cls, selector: Mapping[str, Any], field: str, inputs: Any, pairs: Sequence[tuple[Any, Any]]
    ) -> Rewrite:
        """Return what sets each document to the value that belongs to its *inputs*."""
        keys = [list(key) for key, _ in pairs]
        at = {"$indexOfArray": [{"$literal": keys}, list(inputs)]}
        known = {"$arrayElemAt": [{"$literal": [value for _, value in pairs]}, "$$at"]}
        chosen = {"$cond": [{"$lt": ["$$at", 0]}, f"${field}", known]}
        return cls.of_field(selector, field, {"$let": {"vars": {"at": at}, "in": chosen}})

    @classmethod
    def going(cls, selector: Mapping[str, Any]) -> Rewrite:
        """Return that documents go."""
        return cls(selector=selector, fields=None, gone=True)

    @classmethod
    def untold(cls, field: str | None) -> Rewrite:
        """Return that *field* (None: any) of any document may become anything."""
        return cls(selector={}, fields=None if field is None else frozenset([field]))

    def concerns(self, fields: frozenset[str] | None) -> bool:
        """Return whether it matters to who looks at *fields* (None: at all of them)."""
        return self.gone or self.fields is None or fields is None or bool(self.fields & fields)

    @property
    def told(self) -> bool:
        """Whether anything can be told of it."""
        return self.gone or self.stages is not None or self.read is not None


def of_server(
    collection: Collection[dict[str, Any]], rewrites: Sequence[Rewrite]
) -> list[Stage] | None:
    """Return stages that give the documents as they will be; None where the server can't say it.

    Every filter is of the documents as they are: no step rests on what an earlier one writes. Of
    two rewrites of one field, the first one wins: behind it, the other finds nothing to do.
    """
    changing = [one for one in rewrites if not one.gone]
    if len(changing) > _MOST_REWRITES or any(one.stages is None for one in changing):
        return None
    gone = [one.selector for one in rewrites if one.gone]
    if not changing:
        return [{"$match": {"$nor": gone}}] if gone else []
    ways = []
    for chosen in product((False, True), repeat=len(changing)):
        pairs = list(zip(changing, chosen, strict=True))
        mine = [one.selector for one, is_of in pairs if is_of]
        others = [*gone, *(one.selector for one, is_of in pairs if not is_of)]
        parts = [*mine, *([{"$nor": others}] if others else [])]
        match = {"$and": parts} if len(parts) > 1 else parts[0]
        ways.append([{"$match": match}, *_stages([one for one, is_of in pairs if is_of])])
    first, *more = ways
    return [
        *first,
        *({"$unionWith": {"coll": collection.name, "pipeline": way}} for way in more),
    ]


def in_parts(
    collection: Collection[dict[str, Any]],
    rewrites: Sequence[Rewrite],
    stages: Sequence[Stage],
    *,
    comment: str | None,
) -> Iterator[dict[str, Any]] | None:
    """Return what *stages* make of the documents as they will be, or None where nobody can tell."""
    changing = [one for one in rewrites if not one.gone]
    read = changing[0].read if len(changing) == 1 else None
    if read is None:
        return None
    return _in_parts(collection, read, [one.selector for one in rewrites], stages, comment)


def _in_parts(
    collection: Collection[dict[str, Any]],
    read: Callable[[bool], Iterator[bytes]],
    others: Sequence[Mapping[str, Any]],
    stages: Sequence[Stage],
    comment: str | None,
) -> Iterator[dict[str, Any]]:
    unchanged = [{"$match": {"$nor": list(others)}}, *stages]
    yield from collection.aggregate(unchanged, allowDiskUse=True, comment=comment)
    yield from through(collection.database, read(False), stages, comment=comment)


def through(
    database: Database[dict[str, Any]],
    documents: Iterable[bytes],
    stages: Sequence[Stage],
    *,
    comment: str | None,
) -> Iterator[dict[str, Any]]:
    """Yield what *stages* make of *documents*, which need be in no collection."""
    small = (raw for raw in documents if len(raw) < _LARGEST)
    for some in bounded(small, len, _MOST_BYTES):
        given = [{"$literal": RawBSONDocument(raw)} for raw in some]
        yield from database.aggregate([{"$documents": given}, *stages], comment=comment)


def _stages(rewrites: Sequence[Rewrite]) -> list[Stage]:
    found: list[Stage] = []
    written: set[str] = set()
    for one in rewrites:
        if one.fields is None or not one.fields & written:
            found += one.stages or ()
            written |= one.fields or set()
    return found
