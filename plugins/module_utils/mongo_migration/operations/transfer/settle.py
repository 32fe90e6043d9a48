"""Without transactions: each item of a batch is done as a whole, or not at all.

What was begun is finished, so that a generated id stays what it is; what can't be is taken back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo import DeleteOne, InsertOne, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from ...ledger.batches import Writer
from ...ledger.fence import Statement
from ...ledger.journal import Entry
from ...values.compare import hashable
from ..update.images import holding, now_of, pairs, put
from ..update.reader import Row
from .items import Item, Load, Repointed, facts_of, id_of, pairs_of, token_of
from .references import Reference, Renaming
from .state import Now, Owner

_DUPLICATE_KEY = 11000


def exactly(raw: bytes) -> dict[str, Any]:
    """Return a filter for the one document that is *raw*."""
    literal = {"$literal": RawBSONDocument(raw)}
    return {"_id": id_of(raw), "$expr": {"$eq": ["$$ROOT", literal]}}


def settle(writer: Writer, entry: Entry) -> tuple[Load, str]:
    """Finish or take back each item of *entry*, and let the entry say what was done.

    Returns:
        What was done, and what the server said where it refused an item.
    """
    settled = _Settling(writer, entry)
    load = settled.load()
    writer.journal.amend(entry["seq"], **facts_of(load))
    return load, settled.refused


class _Settling:
    def __init__(self, writer: Writer, entry: Entry) -> None:
        database = writer.database
        self.refused = ""
        self._writer = writer
        self._entry = entry
        self._source: Collection[dict[str, Any]] = database[entry["collection"]]
        self._target: Collection[dict[str, Any]] = database[entry["target"]]
        self._now = Now(database, entry, comment=writer.comment)

    def load(self) -> Load:
        owners: Sequence[Owner | None] = self._now.owners or [None] * len(self._now.items)
        done = [
            (item, owner)
            for item, owner in zip(self._now.items, owners, strict=True)
            if self._done(item, owner)
        ]
        images = self._entry["owners"]
        kept = {token_of(item.source) for item, _owner in done}
        known = pairs_of(self._entry)
        # Of a batch of references alone, all of them count.
        alone = not self._now.items
        followed = [pair for pair in known if alone or token_of(pair[0]) in kept]
        return Load(
            items=[item for item, _owner in done],
            owners=[
                Row(
                    identity=owner.identity,
                    key=owner.key,
                    before=owner.before,
                    after=owner.after,
                    names=owner.order,
                )
                for _item, owner in done
                if owner is not None
            ],
            fields=images["fields"] if images else (),
            references=[
                self._followed(one, Renaming(followed)) for one in self._entry["references"]
            ],
            pairs=followed,
        )

    def _done(self, item: Item, owner: Owner | None) -> bool:
        """Finish or take back one item; return whether it is done."""
        there = [raw for raw in item.documents if self._now.at_target(raw) == raw]
        missing = [raw for raw in item.documents if self._now.at_target(raw) is None]
        if item.removed is not None:
            at_source = self._now.at_source(item)
            gone, is_mine = at_source is None, at_source == item.removed
        else:
            gone = owner is not None and owner.is_written
            is_mine = owner is None or owner.is_untouched
        if gone and not missing:
            return True
        if not gone and (not is_mine or len(there) + len(missing) < len(item.documents)):
            # Changed by somebody else since it was read, or another one has its place.
            self._take_back(item, there, gone=False)
            return False
        inserted: list[bytes] = []
        try:
            for raw in missing:
                self._write(self._target, InsertOne[Any](RawBSONDocument(raw)))
                inserted.append(raw)
        except OperationFailure as error:
            if error.code != _DUPLICATE_KEY:
                raise
            self.refused = str(error).split(", full error:")[0]
            self._take_back(item, [*there, *inserted], gone=gone)
            return False
        if not gone:
            self._leave(item, owner)
        return True

    def _leave(self, item: Item, owner: Owner | None) -> None:
        """Let the source go, or what its owner holds of it."""
        if item.removed is not None:
            self._write(self._source, DeleteOne(exactly(item.removed)))
        elif owner is not None:
            fields = self._entry["owners"]["fields"]
            selector = holding(owner.identity, fields, owner.before)
            self._write(self._source, UpdateOne(selector, put(owner.before, owner.after)))

    def _take_back(self, item: Item, there: Sequence[bytes], *, gone: bool) -> None:
        for raw in there:
            self._write(self._target, DeleteOne(exactly(raw)))
        if gone and item.removed is not None:
            self._write(self._source, InsertOne[Any](RawBSONDocument(item.removed)))

    def _write(self, collection: Collection[dict[str, Any]], statement: Statement) -> None:
        self._writer.write(collection, [statement], None)

    def _followed(self, told: Mapping[str, Any], renaming: Renaming) -> Repointed:
        """Let the references follow what was done, and return those that do."""
        collection = self._writer.database[told["collection"]]
        comment = self._writer.comment
        reference = Reference(
            name=collection.name, collection=collection, path=told["path"], comment=comment
        )
        now = now_of(collection, told, comment=comment)
        rows: dict[bytes, Row] = {}
        waiting = []
        for (identity, key, before), _written in pairs(told):
            row = Row(
                identity=identity,
                key=key,
                before=before,
                after=renaming.applied(before, told["path"]),
            )
            held = now.get(hashable(identity))
            if held is None or row.after == before or held.before not in (before, row.after):
                continue
            rows[hashable(identity)] = row
            if held.before == before:
                waiting.append(row)
        reference.write(self._writer, waiting, None)
        for row in reference.repoint(self._writer, renaming, None):
            earlier = rows.get(hashable(row.identity), row)
            rows[hashable(row.identity)] = replace(row, before=earlier.before)
        return Repointed(
            collection=collection.name,
            path=told["path"],
            rows=list(rows.values()),
            counted=min(int(told.get("counted", 0)), len(rows)),
        )
