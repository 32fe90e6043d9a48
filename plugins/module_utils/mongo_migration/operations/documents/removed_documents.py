"""Entries of removed documents: each is whole in the journal, and comes back as it was."""

from __future__ import annotations

from typing import Any, ClassVar

from pymongo import InsertOne, ReplaceOne
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


class RemovedDocuments(EntryKind):
    """Documents were removed from one collection."""

    holds_documents = True
    shape: ClassVar[Shape] = {"removed": shapes.documents}

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def touched(self, entry: Entry) -> Touched:
        """Return the collection that they were in."""
        return Touched(collection=entry["collection"], removes=True)

    def ids(self, entry: Entry) -> list[Any]:
        """Return those that were removed."""
        return [document["_id"] for document in entry["removed"]]

    def preview(self, entry: Entry) -> dict[str, Any]:
        """They are put back."""
        return {"restore": self.size(entry) - int(entry.get("undone", 0))}

    def reconcile(self, writer: Writer, entry: Entry) -> dict[str, int]:
        """Keep those that are gone."""
        left = self._found(writer.database, entry, writer.comment)
        gone = [d for d in entry["removed"] if hashable(d["_id"]) not in left]
        writer.journal.amend(entry["seq"], removed=gone)
        return {"deleted": len(gone)}

    def remaining(self, database: Database[dict[str, Any]], entry: Entry) -> Remaining:
        """Return those that are still missing: that is what is left of a removal."""
        back = self._found(database, entry, "migration-playbooks verify")
        return Remaining(
            what=f"{entry['collection']}: nothing is left of {self.kind}",
            examined=self.size(entry),
            left=[identity for identity in self.ids(entry) if hashable(identity) not in back],
        )

    def effect(self, entry: Entry) -> Effect:
        """Return the documents as they were."""
        return Effect(collection=entry["collection"], removed=entry["removed"])

    def revert(self, writer: Writer, entry: Entry, on_conflict: str, step: Step | None) -> None:
        """Put the documents back, where nothing else has taken their place."""
        del step

        def revert(whole: Entry, start: int, end: int, undone: int | None) -> dict[str, Any]:
            part = {**whole, "removed": whole["removed"][start:end]}
            return self._revert(writer, part, on_conflict, undone)

        revert_in_parts(writer, entry, self.size(entry), revert)

    def _revert(
        self, writer: Writer, entry: Entry, on_conflict: str, undone_then: int | None
    ) -> dict[str, Any]:
        collection = writer.database[entry["collection"]]
        undone = Revert(writer, entry, "restored")

        def write(session: ClientSession | None) -> None:
            undone.reset()
            there = {
                hashable(row["_id"]): row
                for row in collection.find({"_id": {"$in": self.ids(entry)}}, session=session)
            }
            statements: list[Statement] = []
            for document in entry["removed"]:
                other = there.get(hashable(document["_id"]))
                if other is None:
                    statements.append(InsertOne(document))
                elif not compare.same(other, document):
                    if on_conflict == "restore":
                        statements.append(ReplaceOne({"_id": document["_id"]}, document))
                    else:
                        why = "another one was made in its place since"
                        undone.conflict(document["_id"], document, other, why)
            undone.refuse_if(on_conflict == "fail")
            if statements:
                writer.write(collection, statements, session, back=True)
            undone.count = len(entry["removed"]) - len(undone.conflicts)

        undone.commit(write, documents=self.size(entry), undone=undone_then)
        return undone.facts()

    def _found(self, database: Database[dict[str, Any]], entry: Entry, comment: str) -> set[bytes]:
        rows = database[entry["collection"]].find(
            {"_id": {"$in": self.ids(entry)}}, {"_id": 1}, comment=comment
        )
        return {hashable(row["_id"]) for row in rows}
