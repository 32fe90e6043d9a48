"""Taking a batch back: each item as a whole, exactly, unless it was changed since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateOne
from pymongo.client_session import ClientSession

from ...ledger.batches import Writer
from ...ledger.journal import Entry
from ...values.compare import hashable
from ..entries import Revert, revert_in_parts
from ..update.images import holding, now_of, pairs, put
from .items import OPTIONS, Item, id_of, items_of, pairs_of, token_of
from .references import Pair, Reference, Renaming
from .settle import exactly
from .state import Now, Owner
from .way_back import Way

_ALL = slice(None)
_TOLD = "what the migration wrote"


def undo(writer: Writer, entry: Entry, on_conflict: str) -> None:
    """Undo *entry* and mark it, together; in parts, where the server can't take all of it at once.

    A part is some of the documents that went, and what follows them; or, of an entry in which none
    went, some of those that followed.
    """
    total = len(items_of(entry)) or sum(int(told["count"]) for told in entry["references"])

    def revert(whole: Entry, start: int, end: int, then: int | None) -> Mapping[str, Any]:
        undone = Revert(writer, whole, "restored")
        part = _Undoing(writer, whole, on_conflict, undone, slice(start, end), last=then is None)
        undone.commit(part.write, documents=end - start, undone=then)
        return undone.facts()

    revert_in_parts(writer, entry, total, revert)


class _Undoing:
    def __init__(
        self,
        writer: Writer,
        entry: Entry,
        on_conflict: str,
        undone: Revert,
        part: slice,
        *,
        last: bool,
    ) -> None:
        self._writer = writer
        self._entry = entry
        self._restore = on_conflict == "restore"
        self._fails = on_conflict == "fail"
        self._undone = undone
        self._part = part
        self._last = last
        # Killed in the midst of it, without a transaction: what is gone was taken away by us.
        self._again = bool(entry.get("undoing"))
        # Of earlier parts, from the new id to the old one: what is still away refers to the latter.
        self._gone = Renaming(())

    def write(self, session: ClientSession | None) -> None:
        """Put everything back that holds what was written."""
        undone, writer = self._undone, self._writer
        undone.reset()
        comment, part = writer.comment, self._part
        now = Now(writer.database, self._entry, comment=comment, session=session, part=part)
        owners: Sequence[Owner | None] = now.owners or [None] * len(now.items)
        away = self._away(session)
        still = set(away)
        known = pairs_of(self._entry)
        self._gone = Renaming((new, old) for old, new in known if (old, new) not in still)
        back = [
            (item, owner)
            for item, owner in zip(now.items, owners, strict=True)
            if self._goes_back(now, item, owner)
        ]
        way = self._way(now, away, {token_of(item.source) for item, _owner in back}, session)
        parts = [_ALL] * len(self._entry["references"]) if now.items else self._parts()
        referring = [
            (told, self._images(told, rows, way, session))
            for told, rows in zip(self._entry["references"], parts, strict=True)
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
            if now.items or self._last:
                undone.count += len(self._reference(told).repoint(writer, way.back, session))

    def _parts(self) -> list[slice]:
        """Return this part's documents of each reference, counted over all of them."""
        found, passed = [], 0
        for told in self._entry["references"]:
            start, end = (max(0, at - passed) for at in (self._part.start, self._part.stop))
            found.append(slice(start, end))
            passed += int(told["count"])
        return found

    # -- whole documents ---------------------------------------------------------------------

    def _goes_back(self, now: Now, item: Item, owner: Owner | None) -> bool:
        """Return whether *item* can be taken back; a conflict is noted."""
        identity = id_of(item.source)
        for raw in item.documents:
            there = now.at_target(raw)
            ours = there == raw or there == self._followed(raw)
            if ours or self._restore or (there is None and self._again):
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

    def _followed(self, raw: bytes) -> bytes:
        """Return what a document that is still away is, since others that it refers to are back."""
        for told in self._entry["references"]:
            if told["collection"] == self._entry["target"]:
                raw = self._gone.applied(raw, told["path"])
        return raw

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
                    going.append(DeleteOne({"_id": id_of(raw)} if by_id else exactly(there)))
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

    def _away(self, session: ClientSession | None) -> list[Pair]:
        """Return the ids of documents that aren't back by earlier parts."""
        known = pairs_of(self._entry)
        earlier = {token_of(one.source) for one in items_of(self._entry)[: self._part.start]}
        before = [pair for pair in known if token_of(pair[0]) in earlier]
        staying = self._staying(before, session)
        return [
            pair
            for pair in known
            if token_of(pair[0]) not in earlier or token_of(pair[1]) in staying
        ]

    def _way(
        self, now: Now, away: Sequence[Pair], back: set[bytes], session: ClientSession | None
    ) -> Way:
        """Return the way back for what refers to documents that are back."""
        known = pairs_of(self._entry)
        if not now.items:  # references alone: the documents were undone before, or stay
            staying = self._staying(known, session)
            return Way(known, known, [pair for pair in known if token_of(pair[1]) in staying])
        return Way(known, away, [pair for pair in away if token_of(pair[0]) not in back])

    def _staying(self, pairs: Sequence[Pair], session: ClientSession | None) -> set[bytes]:
        """Return the new ``_id``s of documents that keep them, being conflicts."""
        if not pairs:
            return set()
        ids = [id_of(new) for _old, new in pairs]
        target = self._writer.database[self._entry["target"]]
        rows = target.find({"_id": {"$in": ids}}, {"_id": 1}, session=session)
        return {hashable(row["_id"]) for row in rows}

    def _reference(self, told: Mapping[str, Any]) -> Reference:
        return Reference(
            name=told["collection"],
            collection=self._writer.database[told["collection"]],
            path=told["path"],
            comment=self._writer.comment,
        )

    def _images(
        self, told: Mapping[str, Any], rows: slice, way: Way, session: ClientSession | None
    ) -> list[UpdateOne]:
        """Return what gives documents the references back that they held."""
        collection, path = self._writer.database[told["collection"]], told["path"]
        comment = self._writer.comment
        now = now_of(collection, told, comment=comment, session=session, part=rows)
        statements = []
        for (identity, _key, before), written in list(pairs(told))[rows]:
            row, step = now.get(hashable(identity)), way.step(before, written, path)
            if row is None or step is None or row.before == step.wanted:
                continue
            if step.is_from(row.before) or self._restore:
                selector = {"_id": identity}
                if session is None:
                    selector = holding(identity, told["fields"], row.before)
                statements.append(UpdateOne(selector, put(row.before, step.wanted)))
            elif step.is_first and way.back.applied(row.before, path) == row.before:
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
