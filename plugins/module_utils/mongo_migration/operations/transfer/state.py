"""What the documents of a journal entry are like at this moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database
from xxhash import xxh3_64_digest

from ...ledger.journal import Entry
from ...values.compare import hashable
from ...values.raw import raw_documents
from ..update.images import now_of, pairs
from ..update.reader import Row
from .items import Item, afters_of, id_of, items_of, token_of


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A document out of which others were taken: what it held, and what it holds."""

    identity: Any
    key: bytes
    before: bytes
    after: bytes
    written: bytes  # a digest
    order: tuple[str, ...]
    now: Row | None

    @property
    def is_untouched(self) -> bool:
        """Whether it holds what it held before."""
        now = self.now
        return now is not None and now.before == self.before and self.is_in_order

    @property
    def is_written(self) -> bool:
        """Whether it holds what was written."""
        return self.now is not None and xxh3_64_digest(self.now.before) == self.written

    @property
    def is_in_order(self) -> bool:
        """Whether each field is at its place from before."""
        return not self.order or self.now is None or self.now.names == self.order


_ALL = slice(None)


class Now:
    """The documents of an entry, or of a *part* of its items, read by one query a collection."""

    def __init__(
        self,
        database: Database[dict[str, Any]],
        entry: Entry,
        *,
        comment: str,
        session: ClientSession | None = None,
        part: slice = _ALL,
    ) -> None:
        self.items = items_of(entry)[part]
        self._read: dict[str, Any] = {"comment": comment, "session": session}
        source, target = database[entry["collection"]], database[entry["target"]]
        removed = [id_of(item.source) for item in self.items if item.removed is not None]
        self.source = self._raw(source, removed)
        self.target = self._raw(
            target, [id_of(raw) for item in self.items for raw in item.documents]
        )
        self.owners = self._owners(source, entry["owners"], part) if entry["owners"] else []

    def at_source(self, item: Item) -> bytes | None:
        """Return what has the ``_id`` of *item* where it came from."""
        return self.source.get(token_of(item.source))

    def at_target(self, document: bytes) -> bytes | None:
        """Return what has the ``_id`` of *document* where it went."""
        return self.target.get(token_of(document))

    def _raw(self, collection: Collection[dict[str, Any]], ids: list[Any]) -> dict[bytes, bytes]:
        if not ids:
            return {}
        rows = raw_documents(
            collection.database, collection.name, filter={"_id": {"$in": ids}}, **self._read
        )
        return {token_of(raw): raw for raw in rows}

    def _owners(
        self, collection: Collection[dict[str, Any]], images: Mapping[str, Any], part: slice
    ) -> list[Owner]:
        now = now_of(collection, images, part=part, **self._read)
        orders, order_of = images.get("orders"), images.get("order_of")
        after = afters_of(images)
        return [
            Owner(
                identity=identity,
                key=key,
                before=before,
                after=after[number],
                written=written,
                order=tuple(orders[order_of[number]]) if orders and order_of else (),
                now=now.get(hashable(identity)),
            )
            for number, ((identity, key, before), written) in list(enumerate(pairs(images)))[part]
        ]
