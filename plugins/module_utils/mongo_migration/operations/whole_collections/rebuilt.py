"""Entries of rebuilt collections: the old one takes its name again, with what was written since."""

from __future__ import annotations

from typing import Any, ClassVar

from pymongo.database import Database

from ...document.collections import aside
from ...document.definition import Step
from ...errors import MigrationError
from ...ledger.batches import Writer
from ...ledger.journal import Entry
from ...ledger.shapes import Shape
from ...values import ejson
from ...values.compare import hashable
from .. import ddl
from ..base import Touched
from ..ddl import ReshapeEntry
from ..entries import Remaining, Revert
from ..refusals import unique_indexes
from . import copying
from .rebuild_collection import KIND, NEW

# What the new one becomes at a rollback; it stays where somebody has written to it.
_SINCE = "since"
_COMMENT = "migration-playbooks rollback"


class Rebuilt(ReshapeEntry):
    """A collection was rebuilt, and the old one set aside."""

    kind = KIND
    shape: ClassVar[Shape] = {"uuid": ddl.uuid, "into": lambda value: value == ""}

    def touched(self, entry: Entry) -> Touched:
        """Return the collection."""
        return Touched(collection=entry["collection"], whole=True)

    def written_since(self, database: Database[dict[str, Any]], entry: Entry) -> int:
        """Return in how many documents the new collection and the old one differ."""
        name, old = entry["collection"], aside(entry["run"], entry["collection"])
        if ddl.uuid_of(database, old) != entry["uuid"] or ddl.listed(database, name) is None:
            return 0
        return len(differing(database, name, old))

    def remaining(self, database: Database[dict[str, Any]], entry: Entry) -> Remaining:
        """Return the collection, if the old one isn't back."""
        name = entry["collection"]
        back = ddl.uuid_of(database, name) == entry["uuid"]
        return Remaining(
            what=f"{name}: the collection from before is back",
            examined=1,
            left=[] if back else [name],
        )

    def revert(self, writer: Writer, entry: Entry, on_conflict: str, step: Step | None) -> None:
        """Give the old one its name back; documents written since are conflicts.

        With ``keep``, they come along; with ``restore``, the new collection stays aside with them.
        """
        del step
        name = entry["collection"]
        undone = _Rebuilding(writer, entry, "rebuilt")
        if undone.uuid_of(name) != entry["uuid"]:
            if undone.uuid_of(undone.old) != entry["uuid"]:
                gone = f"{undone.old} is gone: it was dropped since"
                undone.conflict(name, "the collection", None, gone)
                undone.refuse_if(on_conflict == "fail")
            else:
                undone.swap(on_conflict)
        if undone.uuid_of(name) == entry["uuid"]:
            undone.tidy(on_conflict)
        undone.count = int(undone.uuid_of(name) == entry["uuid"])
        undone.commit(lambda _session: None)


class _Rebuilding(Revert):
    """The undoing of one entry, and what it met, also in an attempt that was killed."""

    def __init__(self, writer: Writer, entry: Entry, verb: str) -> None:
        super().__init__(writer, entry, verb)
        self._database, self._name = writer.database, entry["collection"]
        self.old = aside(entry["run"], self._name)
        self._new = aside(entry["run"], self._name, NEW)
        self._since = aside(entry["run"], self._name, _SINCE)
        self._told = {hashable(identity) for identity in entry.get("kept", ())}

    def uuid_of(self, name: str) -> Any:
        """Return the UUID of a collection; None if there is none."""
        return ddl.uuid_of(self._database, name)

    def swap(self, on_conflict: str) -> None:
        """Give the old collection its name back."""
        if self.uuid_of(self._name) is not None:
            found = differing(self._database, self._name, self.old)
            self._tell(found, on_conflict)
            self.refuse_if(on_conflict == "fail")
            if found and on_conflict == "keep":
                self._refuse_what_old_refuses()
            ddl.rename(self._writer, self._name, self._since)
        if self.uuid_of(self._since) is not None:
            # Looked at once more, now that nobody can write there.
            found = differing(self._database, self._since, self.old)
            self._tell(found, on_conflict)
            if self.conflicts and on_conflict == "fail":
                ddl.rename(self._writer, self._since, self._name)
                self.refuse_if(True)
            # Should we be killed, an attempt that finds them brought along still knows them.
            self._writer.journal.amend(self._entry["seq"], **self.facts())
            if found and on_conflict == "keep":
                copying.bring(self._writer, self._since, self.old)
        ddl.rename(self._writer, self.old, self._name)

    def tidy(self, on_conflict: str) -> None:
        """Drop what is left of the new collection, unless somebody's documents are only there."""
        there = self.uuid_of(self._since) is not None
        if there and (
            on_conflict == "keep" or not differing(self._database, self._since, self._name)
        ):
            ddl.drop(self._writer, self._since)
        if self.uuid_of(self._new) is not None:
            ddl.drop(self._writer, self._new)  # the run ended before it was swapped in

    def _tell(self, found: list[Any], on_conflict: str) -> None:
        for identity in found:
            token = hashable(identity)
            if on_conflict != "restore" and token not in self._told:
                self._told.add(token)
                self.conflict(identity, "as before", "another, or none", "written since")

    def _refuse_what_old_refuses(self) -> None:
        """Stop while nothing is done, if documents don't fit the old collection any more."""
        collation = (ddl.listed(self._database, self.old) or {})["options"].get("collation")
        ids = {"name": "_id_", "key": {"_id": 1}, **({"collation": collation} if collation else {})}
        for spec in [ids, *unique_indexes.of(self._database[self.old])]:
            refusal = unique_indexes.refuses(self._database[self._name], spec, comment=self.comment)
            if refusal.count:
                raise MigrationError(
                    f"{self._name}: of the documents written since, {refusal.count:,} don't fit "
                    f"the unique index '{spec['name']}' of the collection from before, such as "
                    f"{ejson.short(refusal.samples[0])}. Nothing of this step was undone. Correct "
                    "them, or choose on_conflict restore: then they stay aside.",
                    samples=refusal.samples,
                )


def differing(database: Database[dict[str, Any]], one: str, other: str) -> list[Any]:
    """Return the ids of documents that aren't, byte for byte, the same in two collections."""
    found: dict[bytes, Any] = {}
    for name, another in ((one, other), (other, one)):
        for raws in copying.other(database, name, another, comment=_COMMENT):
            for identity in map(copying.identity_of, raws):
                found.setdefault(hashable(identity), identity)
    return list(found.values())
