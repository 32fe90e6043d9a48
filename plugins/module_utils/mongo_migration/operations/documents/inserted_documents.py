"""Entries of inserted documents: each is whole in the journal, and goes if it is as we made it."""

from __future__ import annotations

from typing import Any, ClassVar

from pymongo import DeleteMany
from pymongo.client_session import ClientSession
from pymongo.database import Database

from ...document.definition import Step
from ...ledger import shapes
from ...ledger.batches import Writer
from ...ledger.fence import Statement
from ...ledger.journal import Entry
from ...ledger.shapes import Shape
from ...values import compare
from ...values.compare import hashable
from ..base import Touched
from ..entries import Effect, EntryKind, Remaining, Revert, revert_in_parts


class InsertedDocuments(EntryKind):
    """Documents were inserted into one collection."""

    holds_documents = True
    shape: ClassVar[Shape] = {
        "documents": shapes.documents,
        "referenced_by": shapes.each({"collection": str, "field": shapes.field}),
        "created_collection": bool,
    }

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def touched(self, entry: Entry) -> Touched:
        """Return the collection that they are in."""
        return Touched(collection=entry["collection"], inserts=True)

    def ids(self, entry: Entry) -> list[Any]:
        """Return those that were inserted."""
        return [document["_id"] for document in entry["documents"]]

    def preview(self, entry: Entry) -> dict[str, Any]:
        """They are removed."""
        return {"remove": self.size(entry) - int(entry.get("undone", 0))}

    def reconcile(self, writer: Writer, entry: Entry) -> dict[str, int]:
        """Keep those that are there."""
        found = self._found(writer.database, entry, writer.comment)
        there = [d for d in entry["documents"] if hashable(d["_id"]) in found]
        writer.journal.amend(entry["seq"], documents=there)
        return {"inserted": len(there)}

    def remaining(self, database: Database[dict[str, Any]], entry: Entry) -> Remaining:
        """Return those that are there."""
        found = self._found(database, entry, "migration-playbooks verify")
        return Remaining(
            what=f"{entry['collection']}: nothing is left of {self.kind}",
            examined=self.size(entry),
            left=[identity for identity in self.ids(entry) if hashable(identity) in found],
        )

    def changed_since(self, database: Database[dict[str, Any]], entry: Entry) -> list[Any]:
        """Return those that hold something else by now."""
        inserted = {hashable(document["_id"]): document for document in entry["documents"]}
        return [
            there["_id"]
            for there in database[entry["collection"]].find({"_id": {"$in": self.ids(entry)}})
            if not compare.same(there, inserted[hashable(there["_id"])])
        ]

    def effect(self, entry: Entry) -> Effect:
        """Return the documents as they were inserted."""
        return Effect(collection=entry["collection"], inserted=entry["documents"])

    def revert(self, writer: Writer, entry: Entry, on_conflict: str, step: Step | None) -> None:
        """Delete those that are as we inserted them and that nothing refers to."""
        del step

        def revert(whole: Entry, start: int, end: int, undone: int | None) -> dict[str, Any]:
            part = {**whole, "documents": whole["documents"][start:end]}
            return self._revert(writer, part, on_conflict, undone)

        revert_in_parts(writer, entry, self.size(entry), revert)

    def _revert(
        self, writer: Writer, entry: Entry, on_conflict: str, undone_then: int | None
    ) -> dict[str, Any]:
        collection = writer.database[entry["collection"]]
        inserted = {hashable(document["_id"]): document for document in entry["documents"]}
        undone = Revert(writer, entry, "removed")

        def write(session: ClientSession | None) -> None:
            undone.reset()
            ids = self.ids(entry)
            referred = _referred(writer, entry, ids, session)
            remove = []
            for there in collection.find({"_id": {"$in": ids}}, session=session):
                was = inserted[hashable(there["_id"])]
                if hashable(there["_id"]) in referred:
                    why = "referred to by documents written since"
                    undone.conflict(there["_id"], was, there, why)
                elif not compare.same(there, was) and on_conflict != "restore":
                    undone.conflict(there["_id"], was, there, "changed since the migration")
                else:
                    remove.append(there["_id"])
            undone.refuse_if(on_conflict == "fail")
            if remove:
                gone: list[Statement] = [DeleteMany({"_id": {"$in": remove}})]
                undone.count = writer.write(collection, gone, session)

        undone.commit(write, documents=self.size(entry), undone=undone_then)
        return undone.facts()

    def _found(self, database: Database[dict[str, Any]], entry: Entry, comment: str) -> set[bytes]:
        rows = database[entry["collection"]].find(
            {"_id": {"$in": self.ids(entry)}}, {"_id": 1}, comment=comment
        )
        return {hashable(row["_id"]) for row in rows}


def _referred(
    writer: Writer, entry: dict[str, Any], ids: list[Any], session: ClientSession | None
) -> set[bytes]:
    found: set[bytes] = set()
    for item in entry["referenced_by"]:
        rows = writer.database[item["collection"]].aggregate(
            [
                {"$match": {item["field"]: {"$in": ids}}},
                {"$group": {"_id": f"${item['field']}"}},
            ],
            session=session,
            comment=writer.comment,
        )
        found |= {hashable(row["_id"]) for row in rows}
    return found
