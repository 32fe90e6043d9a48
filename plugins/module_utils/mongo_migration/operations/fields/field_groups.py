"""Entries of one field set in groups of documents: what ``set_field`` and re-pointing write.

A group is documents that held the same (``before``; none at all: the field was absent) and got the
same ``value``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pymongo import UpdateMany
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database

from ...document.definition import Step
from ...ledger import shapes
from ...ledger.batches import Writer
from ...ledger.journal import Entry
from ...ledger.shapes import Shape
from ...support.chunks import chunks
from ...values import compare
from ...values.compare import ABSENT, hashable
from .. import statements
from ..base import Touched
from ..entries import Effect, EntryKind, Remaining, Revert, digest_of, revert_in_parts
from .current_values import differing, held, holding

_GONE = object()
_COMMENT = "migration-playbooks verify"


def _groups(value: Any) -> bool:
    rule = shapes.each({"ids": shapes.each_is(shapes.identity)})
    return rule(value) and all("value" in group for group in value)


class FieldGroups(EntryKind):
    """Documents of one collection got values for one field."""

    shape: ClassVar[Shape] = {
        "field": shapes.field,
        "groups": _groups,
    }

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def touched(self, entry: Entry) -> Touched:
        """Return the field."""
        return Touched(collection=entry["collection"], field=entry["field"])

    def ids(self, entry: Entry) -> list[Any]:
        """Return the documents that got a value."""
        return [identity for group in entry["groups"] for identity in group["ids"]]

    def preview(self, entry: Entry) -> dict[str, Any]:
        """Each of them gets back what it held."""
        return {"restore": self.size(entry) - int(entry.get("undone", 0))}

    def reconcile(self, writer: Writer, entry: Entry) -> dict[str, int]:
        """Keep those that hold what was to be written."""
        collection = writer.database[entry["collection"]]
        found = holding(collection, entry["field"], entry["groups"], comment=writer.comment)
        groups = [group for group in found if group["ids"]]
        writer.journal.amend(entry["seq"], groups=groups)
        return {"modified": sum(len(group["ids"]) for group in groups)}

    def remaining(self, database: Database[dict[str, Any]], entry: Entry) -> Remaining:
        """Return those that hold what was written, where they held something else before."""
        changed = [
            group
            for group in entry["groups"]
            if not compare.same(group["value"], group.get("before", ABSENT))
        ]
        collection = database[entry["collection"]]
        kept = holding(collection, entry["field"], changed, comment=_COMMENT)
        return Remaining(
            what=f"{entry['collection']}: nothing is left of {entry['kind']}",
            examined=self.size(entry),
            left=[identity for group in kept for identity in group["ids"]],
        )

    def changed_since(self, database: Database[dict[str, Any]], entry: Entry) -> list[Any]:
        """Return those that hold another value by now, or none."""
        collection = database[entry["collection"]]
        return differing(collection, entry["field"], entry["groups"], comment=_COMMENT)

    def undone_through(
        self,
        database: Database[dict[str, Any]],
        entry: Entry,
        stages: Sequence[Mapping[str, Any]],
        *,
        force: bool,
    ) -> Iterator[Mapping[str, Any]]:
        """Yield what *stages* make of the documents with their values from before."""
        field = entry["field"]
        for group in entry["groups"]:
            held = {} if force else compare.holds(field, group["value"])
            back: dict[str, Any] = {"$unset": field}
            if "before" in group:
                back = {"$set": {field: {"$literal": group["before"]}}}
            for ids in chunks(group["ids"], 1000):
                match = {"$match": {"_id": {"$in": ids}, **held}}
                yield from database[entry["collection"]].aggregate(
                    [match, back, *stages], comment=_COMMENT
                )

    def effect(self, entry: Entry) -> Effect:
        """Return the values before and after."""
        groups, name = entry["groups"], entry["field"]
        before = [(group["ids"], group["before"]) for group in groups if "before" in group]
        after = [(group["ids"], group["value"]) for group in groups]
        return Effect(
            collection=entry["collection"],
            fields={name: (digest_of(before, name), digest_of(after, name))},
        )

    def revert(self, writer: Writer, entry: Entry, on_conflict: str, step: Step | None) -> None:
        """Give each document its value from before, if it holds what we wrote.

        In one command and one transaction, or in several where the server can't take so much.
        """
        del step

        def revert(whole: Entry, start: int, end: int, undone: int | None) -> dict[str, Any]:
            part = {**whole, "groups": _slice(whole["groups"], start, end)}
            return self._revert(writer, part, on_conflict, undone)

        revert_in_parts(writer, entry, self.size(entry), revert)

    def _revert(
        self, writer: Writer, entry: Entry, on_conflict: str, undone_then: int | None
    ) -> dict[str, Any]:
        collection = writer.database[entry["collection"]]
        field, groups, total = entry["field"], entry["groups"], self.size(entry)
        undone = Revert(writer, entry, "restored")

        def write(session: ClientSession | None) -> None:
            undone.reset()
            if on_conflict == "fail" and session is None:
                # Nothing would take the write back: look first.
                _differing(undone, collection, entry, on_conflict, session, ours=True)
                undone.refuse_if(True)
            undone.count = writer.write(
                collection, statements.undo(field, groups), session, back=True
            )
            if undone.count == total:
                return
            changed = _differing(undone, collection, entry, on_conflict, session)
            undone.refuse_if(on_conflict == "fail")
            if changed:
                undone.count += writer.write(collection, changed, session, back=True)

        # No documents: all of the batch changed before it could write them.
        undone.commit(
            write if total else lambda _session: None, documents=total, undone=undone_then
        )
        return undone.facts()


def _slice(groups: list[dict[str, Any]], start: int, end: int) -> list[dict[str, Any]]:
    """Return the groups of the documents from *start* to *end*, counted over all groups."""
    found, passed = [], 0
    for group in groups:
        ids = group["ids"][max(0, start - passed) : max(0, end - passed)]
        passed += len(group["ids"])
        if ids:
            found.append({**group, "ids": ids})
    return found


def _differing(
    undone: Revert,
    collection: Collection[dict[str, Any]],
    entry: Entry,
    on_conflict: str,
    session: ClientSession | None,
    *,
    ours: bool = False,
) -> list[UpdateMany]:
    """Note documents that don't hold the value from before; return what to force.

    Args:
        undone: where to note them.
        collection: of the documents.
        entry: of the journal.
        on_conflict: ``restore`` forces instead of noting.
        session: of the transaction.
        ours: documents that still hold what we wrote are right, too.
    """
    field, force = entry["field"], []
    now = held(collection, field, entry["groups"], session=session, comment=undone.comment)
    for group in entry["groups"]:
        before = group.get("before", ABSENT)
        changed = []
        for identity in group["ids"]:
            value = now.get(hashable(identity), _GONE)
            if value is _GONE:
                undone.conflict(identity, group["value"], None, "deleted since the migration")
            elif not compare.same(value, before) and not (
                ours and compare.same(value, group["value"])
            ):
                changed.append(identity)
                if on_conflict != "restore":
                    observed = None if value is ABSENT else value
                    undone.conflict(
                        identity, group["value"], observed, "changed since the migration"
                    )
        if changed and on_conflict == "restore":
            force.append(UpdateMany({"_id": {"$in": changed}}, statements.back(field, group)))
    return force
