"""Taking a batch back: each item as a whole, exactly, unless it was changed since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateOne
from pymongo.client_session import ClientSession
from xxhash import xxh3_64_digest

from ...ledger.batches import Writer
from ...ledger.journal import Entry
from ...values.compare import hashable
from ..entries import Revert
from ..update.images import holding, now_of, pairs, put
from .items import OPTIONS, Item, id_of, pairs_of, token_of
from .references import Reference, Renaming
from .settle import exactly
from .state import Now, Owner

_TOLD = "what the migration wrote"


def undo(writer: Writer, entry: Entry, on_conflict: str) -> None:
    """Undo *entry* and mark it, together."""
    undone = Revert(writer, entry, "restored")
    done = _Undoing(writer, entry, on_conflict, undone)
    undone.commit(done.write)


class _Undoing:
    def __init__(self, writer: Writer, entry: Entry, on_conflict: str, undone: Revert) -> None:
        self._writer = writer
        self._entry = entry
        self._restore = on_conflict == "restore"
        self._fails = on_conflict == "fail"
        self._undone = undone
        # Killed in the midst of it, without a transaction: what is gone was taken away by us.
        self._again = bool(entry.get("undoing"))
        self._whole = True

    def write(self, session: ClientSession | None) -> None:
        """Put everything back that holds what was written."""
        undone, writer = self._undone, self._writer
        undone.reset()
        now = Now(writer.database, self._entry, comment=writer.comment, session=session)
        owners: Sequence[Owner | None] = now.owners or [None] * len(now.items)
        back = [
            (item, owner)
            for item, owner in zip(now.items, owners, strict=True)
            if self._goes_back(now, item, owner)
        ]
        backwards = self._backwards(now, {token_of(item.source) for item, _owner in back}, session)
        referring = [
            (told, self._images(told, backwards, session)) for told in self._entry["references"]
        ]
        undone.refuse_if(self._fails)
        if session is None:
            writer.journal.amend(self._entry["seq"], undoing=True)
        self._documents(now, back, session)
        self._owners([owner for _item, owner in back if owner is not None], session)
        undone.count += len(back)
        for told, statements in referring:
            self._update(told["collection"], statements, session)
            undone.count += len(statements)
            # What was changed or written since, and refers to what is back, follows.
            undone.count += len(self._reference(told).repoint(writer, backwards, session))

    # -- whole documents ---------------------------------------------------------------------

    def _goes_back(self, now: Now, item: Item, owner: Owner | None) -> bool:
        """Return whether *item* can be taken back; a conflict is noted."""
        identity = id_of(item.source)
        for raw in item.documents:
            there = now.at_target(raw)
            if there == raw or self._restore or (there is None and self._again):
                continue
            why = "deleted" if there is None else "changed"
            self._conflict(identity, raw, there, f"{why} since the migration")
            return False
        if item.removed is not None:
            there = now.at_source(item)
            if there not in (None, item.removed) and not self._restore:
                why = "another one was made in its place since"
                self._conflict(identity, item.removed, there, why)
                return False
        return owner is None or self._owner_goes_back(owner)

    def _owner_goes_back(self, owner: Owner) -> bool:
        if owner.now is None:
            why = "deleted since the migration"
        elif owner.is_written or owner.is_untouched or self._restore:
            return True
        else:
            why = "changed since the migration"
        observed = None if owner.now is None else bson.decode(owner.now.before, OPTIONS)
        self._undone.conflict(owner.identity, _TOLD, observed, why)
        return False

    def _conflict(self, identity: Any, expected: bytes, observed: bytes | None, why: str) -> None:
        seen = None if observed is None else bson.decode(observed, OPTIONS)
        self._undone.conflict(identity, bson.decode(expected, OPTIONS), seen, why)

    def _documents(
        self, now: Now, back: Sequence[tuple[Item, Owner | None]], session: ClientSession | None
    ) -> None:
        going: list[DeleteOne] = []
        coming: list[InsertOne[Any] | ReplaceOne[Any]] = []
        for item, _owner in back:
            for raw in item.documents:
                there = now.at_target(raw)
                if there is not None:
                    by_id = session is not None or self._restore
                    going.append(DeleteOne({"_id": id_of(raw)} if by_id else exactly(raw)))
            if item.removed is not None and now.at_source(item) != item.removed:
                whole = RawBSONDocument(item.removed)
                coming.append(
                    InsertOne(whole)
                    if now.at_source(item) is None
                    else ReplaceOne({"_id": id_of(item.removed)}, whole)
                )
        source, target = self._entry["collection"], self._entry["target"]
        steps: list[tuple[str, Sequence[Any]]] = [(target, going), (source, coming)]
        if source != target:
            steps.reverse()  # at no moment is a document nowhere
        for name, statements in steps:
            if statements:
                self._writer.write(self._writer.database[name], statements, session, back=True)

    def _owners(self, owners: Sequence[Owner], session: ClientSession | None) -> None:
        fields, statements = (self._entry["owners"] or {}).get("fields", ()), []
        for owner in owners:
            now = owner.now
            if now is None or owner.is_untouched:
                continue
            guarded = session is None and not self._restore
            statements.append(
                UpdateOne(
                    holding(owner.identity, fields, now.before)
                    if guarded
                    else {"_id": owner.identity},
                    put(now.before, owner.before, owner.order, now.names),
                )
            )
        self._update(self._entry["collection"], statements, session)

    # -- references --------------------------------------------------------------------------

    def _backwards(self, now: Now, back: set[bytes], session: ClientSession | None) -> Renaming:
        """Return the way back for what refers to documents that are back."""
        known = pairs_of(self._entry)
        if now.items:
            known = [pair for pair in known if token_of(pair[0]) in back]
        else:  # references alone: the documents were undone before, or stay as they are
            known = [pair for pair in known if not self._stays(pair, session)]
        self._whole = len(known) == len(pairs_of(self._entry))
        return Renaming((new, old) for old, new in known)

    def _stays(self, pair: tuple[bytes, bytes], session: ClientSession | None) -> bool:
        """Return whether a document keeps its new ``_id``, being a conflict."""
        target = self._writer.database[self._entry["target"]]
        return target.find_one({"_id": id_of(pair[1])}, {"_id": 1}, session=session) is not None

    def _reference(self, told: Mapping[str, Any]) -> Reference:
        return Reference(
            name=told["collection"],
            collection=self._writer.database[told["collection"]],
            path=told["path"],
            comment=self._writer.comment,
        )

    def _images(
        self, told: Mapping[str, Any], backwards: Renaming, session: ClientSession | None
    ) -> list[UpdateOne]:
        """Return what gives documents the references back that they held."""
        collection = self._writer.database[told["collection"]]
        now = now_of(collection, told, comment=self._writer.comment, session=session)
        statements = []
        for (identity, _key, before), written in pairs(told):
            row = now.get(hashable(identity))
            if row is None or row.before == before:
                continue
            is_ours = xxh3_64_digest(row.before) == written
            if (is_ours and self._whole) or (not is_ours and self._restore):
                selector = {"_id": identity}
                if session is None:
                    selector = holding(identity, told["fields"], row.before)
                statements.append(UpdateOne(selector, put(row.before, before)))
            elif not is_ours and backwards.applied(row.before, told["path"]) == row.before:
                why = "changed since the migration"
                observed = bson.decode(row.before, OPTIONS)
                self._undone.conflict(identity, _TOLD, observed, why, collection=collection.name)
        return statements

    def _update(
        self, name: str, statements: Sequence[UpdateOne], session: ClientSession | None
    ) -> None:
        if statements:
            collection = self._writer.database[name]
            self._writer.write(collection, statements, session, back=True, ordered=False)
