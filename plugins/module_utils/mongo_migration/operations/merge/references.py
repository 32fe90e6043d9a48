"""What refers to the documents that are merged: a field that holds an id, or an array of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import bson
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from ...document.value_sources import Scope
from ...errors import MigrationError
from ...ledger.batches import StaleBatchError, Write, Writer
from ...ledger.capacity import SmallerBatchError
from ...support import listing
from ...support.chunks import chunks
from ...values import ejson
from ...values.compare import equal_token, hashable
from ...values.raw import raw_documents
from .. import statements
from ..fields.batch_proof import BatchProof
from ..fields.current_values import holding

# Undone like a set_field: that is what such a batch is.
REPOINT_KIND = "merge_duplicates_references"
_TOGETHER = 500
_SIMPLE = {"locale": "simple"}
_OPTIONS: bson.CodecOptions[dict[str, Any]] = bson.CodecOptions(
    tz_aware=True, datetime_conversion=bson.DatetimeConversion.DATETIME_AUTO
)


def named(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each collection that refers, with each of its fields."""
    for name, fields in options["referenced_by"].items():
        for field in [fields] if isinstance(fields, str) else fields:
            yield name, field


class References:
    """All that refers to documents of one collection."""

    def __init__(self, options: Mapping[str, Any], scope: Scope) -> None:
        names = scope.collections
        self._comment = scope.comment
        self.places: list[tuple[Collection[dict[str, Any]], str]] = [
            (names.get(name, write=True), field)
            for name, field in named(options)
            if not names.absent(name)
        ]
        #: To another document's id, text that differs is another id, whatever the collation.
        self._exactly: dict[str, dict[str, Any]] = {
            collection.name: {"collation": _SIMPLE}
            for collection, _field in self.places
            if "collation" in listing.options_of(collection)
        }

    def counts(self, ids: Sequence[Any]) -> dict[bytes, int]:
        """Return how many references there are to each of *ids*, by what the server calls equal."""
        found: dict[bytes, int] = {}
        for some in chunks(ids, _TOGETHER):
            for collection, field in self.places:
                for token, count in self._in(collection, field, some):
                    found[token] = found.get(token, 0) + count
        return found

    def by_collection(self, ids: Iterable[Any]) -> dict[str, int]:
        """Return how many references to *ids* each collection has, by its real name."""
        found: dict[str, int] = {}
        for some in chunks(ids, _TOGETHER):
            for collection, field in self.places:
                count = sum(count for _token, count in self._in(collection, field, some))
                found[collection.name] = found.get(collection.name, 0) + count
        return found

    def _in(
        self, collection: Collection[dict[str, Any]], field: str, ids: Sequence[Any]
    ) -> Iterator[tuple[bytes, int]]:
        rows = collection.aggregate(
            [
                {"$match": {field: {"$in": ids}}},
                {"$project": {"_id": 0, "one": f"${field}"}},
                {"$unwind": "$one"},
                {"$match": {"one": {"$in": ids}}},
                {"$group": {"_id": "$one", "count": {"$sum": 1}}},
            ],
            comment=self._comment,
            **self._exactly.get(collection.name, {}),
        )
        for row in rows:
            yield equal_token(row["_id"]), row["count"]

    def inexact(self, ids: Sequence[Any]) -> Iterator[tuple[str, str, Any]]:
        """Yield documents whose array could not be put back: collection, field and ``_id``."""
        for collection, field in self.places:
            for some in chunks(ids, _TOGETHER):
                selector = {field: {"$in": some, "$type": "array"}}
                for document, exact in self._read(collection, field, selector, self._comment):
                    if not exact:
                        yield collection.name, field, document["_id"]

    def _read(
        self,
        collection: Collection[dict[str, Any]],
        field: str,
        selector: Mapping[str, Any],
        comment: str | None,
        limit: int | None = None,
    ) -> Iterator[tuple[dict[str, Any], bool]]:
        """Yield ``_id`` and *field* of documents, each with whether it can be put back exactly."""
        for raw in raw_documents(
            collection.database,
            collection.name,
            filter=selector,
            projection={field: 1},
            limit=limit,
            comment=comment,
            **self._exactly.get(collection.name, {}),
        ):
            document = bson.decode(raw, _OPTIONS)
            yield document, bson.encode(document) == raw

    def any_left(self, ids: Sequence[Any], session: ClientSession | None) -> bool:
        """Return whether anything refers to one of *ids*."""
        return any(
            collection.find_one(
                {field: {"$in": list(ids)}},
                {"_id": 1},
                session=session,
                **self._exactly.get(collection.name, {}),
            )
            for collection, field in self.places
        )

    def repoint(self, writer: Writer, old: Any, new: Any, *, step: int) -> Iterator[int]:
        """Point what names *old* at *new*, batch by batch; yield the documents of each."""
        for collection, field in self.places:
            # Whatever the server calls equal names it: 1.0 also names 1.
            selector = {field: {"$eq": old}}
            while rows := list(
                self._read(collection, field, selector, writer.comment, writer.settings.batch_size)
            ):
                groups = _groups(collection, field, rows, old, new)
                entry = {
                    "kind": REPOINT_KIND,
                    "step": step,
                    "collection": collection.name,
                    "field": field,
                    "groups": groups,
                }
                here = {"step": step}
                try:
                    writer.commit(
                        entry,
                        set_groups(writer, collection, entry),
                        position=here,
                        documents=len(rows),
                    )
                except (StaleBatchError, SmallerBatchError):
                    continue  # read again; fewer, where that was too much
                yield sum(len(group["ids"]) for group in groups)


def set_groups(
    writer: Writer, collection: Collection[dict[str, Any]], entry: Mapping[str, Any]
) -> Write:
    """Return the write of a batch that sets one field in groups of documents."""
    field, groups = entry["field"], entry["groups"]
    ids = [identity for group in groups for identity in group["ids"]]
    proof = BatchProof(collection=collection, field=field, ids=ids, comment=writer.comment)

    def write(session: ClientSession | None) -> dict[str, int]:
        # With writers about, a batch alone can prove that it changed nothing else.
        alone = session if "baseline" not in writer.run.document else None
        before = proof.rest(alone) if alone else None
        count = writer.write(collection, statements.of(field, groups), session)
        if count != len(ids):
            if session is not None:
                raise StaleBatchError
            kept = holding(collection, field, groups, comment=writer.comment)
            writer.journal.amend(writer.seq + 1, groups=kept)
        if alone and before is not None:
            proof.refuse_other(before, alone, read_ahead=False)
        return {"modified": count, **({"proved": count} if alone else {})}

    return write


def _groups(
    collection: Collection[dict[str, Any]],
    field: str,
    rows: Sequence[tuple[dict[str, Any], bool]],
    old: Any,
    new: Any,
) -> list[dict[str, Any]]:
    """Return what documents hold and get, those together that hold the same."""
    groups: dict[bytes, dict[str, Any]] = {}
    for document, exact in rows:
        before = document[field]
        if not exact:
            raise MigrationError(
                f"{collection.name} {ejson.short(document['_id'])} came or changed after the plan: "
                f"{field} holds a value that could not be put back. Correct it, then run the same "
                "command again."
            )
        value = new
        if isinstance(before, list):
            value = replaced(before, old, new)
        group = groups.setdefault(hashable(before), {"value": value, "before": before, "ids": []})
        group["ids"].append(document["_id"])
    return list(groups.values())


def replaced(array: Sequence[Any], old: Any, new: Any) -> list[Any]:
    """Return *array* with *new* for *old*, once, at the first place of either."""
    found, there = [], False
    one, other = equal_token(old), equal_token(new)
    for item in array:
        if equal_token(item) in (one, other):
            if not there:
                found.append(new)
            there = True
        else:
            found.append(item)
    return found
