"""What refers to documents that get another ``_id``: found along a path, through arrays too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import bson
from pymongo import UpdateOne
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from ...document.collections import Collections
from ...ledger.batches import Writer
from ...support import listing
from ...values import edits
from ...values.as_value import as_value
from ...values.compare import equal_token, hashable
from ...values.elements import elements
from ...values.raw import embedded, raw_documents
from ..update.images import holding, put
from ..update.reader import Row
from .items import OPTIONS

Pair = tuple[bytes, bytes]
_AT_ONCE = 1000
_MOST_ROUNDS = 1000


class Renaming:
    """From old ``_id``s to new ones.

    Args:
        pairs: old and new, each a raw document ``{_id: …}``.
    """

    def __init__(self, pairs: Iterable[Pair]) -> None:
        # Whatever the server calls equal names a document: 1.0 also names 1.
        self._new: dict[bytes, tuple[int, bytes]] = {}
        self.old: list[Any] = []
        for old, new in pairs:
            identity = bson.decode(old, OPTIONS)["_id"]
            (one,) = elements(new)
            self._new[equal_token(identity)] = one.kind, new[one.start : one.stop]
            self.old.append(identity)

    def change(self, kind: int, value: bytes) -> tuple[int, bytes]:
        """Return what a reference becomes."""
        alone = edits.document([edits.field(kind, b"v", value)])
        return self._new.get(equal_token(bson.decode(alone, OPTIONS)["v"]), (kind, value))

    def applied(self, raw: bytes, path: str) -> bytes:
        """Return *raw* with the references at *path* changed."""
        return edits.replaced(raw, path.encode().split(b"."), self.change)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A path in a collection that refers to documents of another one, or of the same."""

    name: str  # the document's
    collection: Collection[dict[str, Any]]
    path: str
    comment: str

    @property
    def field(self) -> str:
        """The top-level field."""
        return self.path.split(".")[0]

    def count(self, renaming: Renaming) -> int:
        """Return how many documents refer to the old ids."""
        return self.collection.count_documents(
            {self.path: {"$in": renaming.old}}, comment=self.comment
        )

    def ids(self, renaming: Renaming) -> list[Any]:
        """Return the ``_id``s of the documents that refer to the old ids."""
        found = self.collection.find(
            {self.path: {"$in": renaming.old}}, {"_id": 1}, comment=self.comment
        )
        return [row["_id"] for row in found]

    def rows(
        self,
        renaming: Renaming,
        *,
        limit: int = 0,
        without: Sequence[Any] = (),
        session: ClientSession | None = None,
    ) -> list[Row]:
        """Return the documents that refer to the old ids, as they are and as they would be.

        Args:
            renaming: from old to new.
            limit: at most so many; 0: all.
            without: ``_id``s of documents that are left out.
            session: of a transaction.
        """
        if not renaming.old:
            return []
        selector: dict[str, Any] = {self.path: {"$in": renaming.old}}
        if without:
            selector["_id"] = {"$nin": list(without)}
        found = []
        for raw in raw_documents(
            self.collection.database,
            self.collection.name,
            filter=selector,
            projection={
                "_id": 0,
                "i": as_value({"_id": "$_id"}),
                "b": as_value({self.field: f"${self.field}"}),
            },
            limit=limit or None,
            session=session,
            comment=self.comment,
        ):
            parts = embedded(raw)
            after = renaming.applied(parts["b"], self.path)
            if after != parts["b"]:
                identity = bson.decode(parts["i"], OPTIONS)["_id"]
                found.append(Row(identity=identity, key=parts["i"], before=parts["b"], after=after))
        return found

    def write(self, writer: Writer, rows: Sequence[Row], session: ClientSession | None) -> int:
        """Write *rows*; return how many still held what was read."""
        if not rows:
            return 0
        statements = [
            UpdateOne(
                {"_id": row.identity}
                if session is not None
                else holding(row.identity, [self.field], row.before),
                put(row.before, row.after),
            )
            for row in rows
        ]
        return writer.write(self.collection, statements, session, ordered=False)

    def repoint(
        self, writer: Writer, renaming: Renaming, session: ClientSession | None
    ) -> list[Row]:
        """Let all that refers to the old ids refer to the new ones; return what was written."""
        done: list[Row] = []
        for _round in range(_MOST_ROUNDS):
            rows = self.rows(renaming, limit=_AT_ONCE, session=session)
            if not rows:
                break
            self.write(writer, rows, session)
            done += rows
        return done

    def has_index(self) -> bool:
        """Return whether an index leads to the references."""
        there = listing.indexes(self.collection.database, self.collection.name)
        return any(next(iter(spec["key"])) == self.path for spec in there)


def declared(options: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the pairs of collection and path of ``referenced_by``."""
    return [
        (name, path)
        for name, paths in options.get("referenced_by", {}).items()
        for path in ([paths] if isinstance(paths, str) else paths)
    ]


def build(options: dict[str, Any], names: Collections, comment: str) -> list[Reference]:
    """Return the references of a step, by its options.

    Raises:
        DefinitionError: a collection doesn't exist.
    """
    return [
        Reference(name=name, collection=names.get(name, write=True), path=path, comment=comment)
        for name, path in declared(options)
        if not names.absent(name)
    ]


def tokens(rows: Iterable[Row]) -> set[bytes]:
    """Return the ids of *rows* as a set can hold them."""
    return {hashable(row.identity) for row in rows}
