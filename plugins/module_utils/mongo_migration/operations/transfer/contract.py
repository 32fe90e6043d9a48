"""What an operation says of the documents that it carries elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from ...support.chunks import chunks
from ...values.compare import equal_token, hashable
from ..update.reader import Reader, Row
from .items import Item, Load, Repointed
from .references import Reference


class Transfer(ABC):
    """What is carried from one collection: an operation says what becomes of each document."""

    kind: str
    step: int
    #: The document's name of where it comes from.
    name: str
    reader: Reader
    target: Collection[dict[str, Any]]
    removes: bool
    references: Sequence[Reference] = ()
    #: Whether a document that was carried isn't carried again.
    settles: bool = True
    #: The new ``_id``s of what was carried so far, where it stays in its collection.
    done: AbstractSet[bytes] = frozenset()

    @abstractmethod
    def wanted(self, row: Row) -> bool:
        """Return whether a document is to be carried; it has no trouble."""

    @abstractmethod
    def item(self, row: Row) -> tuple[Item, Row | None]:
        """Return what comes of a document, and what stays in it where it is an owner."""

    @abstractmethod
    def new_ids(self, row: Row) -> list[Any]:
        """Return the ``_id``s that what comes of a document will have, as far as they are known."""

    @abstractmethod
    def leaves(self, row: Row) -> bool:
        """Return whether a document is left where it is if its place is taken."""

    def load(self, rows: Sequence[Row], session: ClientSession | None) -> Load:
        """Return what a batch of *rows* carries."""
        made = [self.item(row) for row in rows]
        return Load(
            items=[item for item, _owner in made],
            owners=[owner for _item, owner in made if owner is not None],
            fields=list(self.reader.compiled.fields),
        )

    def repointed(self, reference: Reference, rows: Sequence[Row]) -> Repointed:
        """Return *rows*, which follow along *reference*, as a batch keeps them."""
        counted = 0
        if reference.collection.name == self.target.name:
            ids = [row.identity for row in rows]
            going = {
                hashable(row.identity)
                for row in self.reader.of(ids)
                if carried(row) and self.wanted(row)
            }
            counted = sum(hashable(one) in going or hashable(one) in self.done for one in ids)
        return Repointed(
            collection=reference.collection.name, path=reference.path, rows=rows, counted=counted
        )

    def taken(self, rows: Sequence[Row], session: ClientSession | None = None) -> set[bytes]:
        """Return those of *rows* for which another document has the place, by hashable id."""
        wanted = [(row, self.new_ids(row)) for row in rows]
        ids = [identity for _row, some in wanted for identity in some]
        there = {
            equal_token(row["_id"])
            for some in chunks(ids, 1000)
            for row in self.target.find({"_id": {"$in": some}}, {"_id": 1}, session=session)
        }
        found: set[bytes] = set()
        for row, some in wanted:
            tokens = list(map(equal_token, some))
            if there.intersection(tokens) or len(set(tokens)) < len(tokens):
                found.add(hashable(row.identity))
            else:
                there.update(tokens)
        return found


def carried(row: Row) -> bool:
    """Return whether nothing that is wrong with a document keeps it where it is."""
    return not row.skipped and all(one.policy == "null" for one in row.troubles)
