"""What a journal entry is to everybody who asks: its kind answers, and nobody else looks into it.

An entry comes from a database that others may write to. It is data about documents: what is undone
by it is bound by the migration document (:mod:`..procedures.authority`), and a kind whose undoing
takes more than data, such as a command, takes that from the document's step alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import bson
from pymongo.client_session import ClientSession
from pymongo.database import Database

from ..document.definition import Step
from ..errors import MigrationError
from ..ledger.batches import Writer
from ..ledger.capacity import SmallerBatchError
from ..ledger.journal import Entry
from ..ledger.shapes import Shape
from ..values import ejson
from ..values.digest import Digest
from ..values.raw import with_ids
from .base import Touched

# A document, or its bytes.
Document = Mapping[str, Any] | bytes


@dataclass(frozen=True, kw_only=True)
class Remaining:
    """What is still as the run made it, after an entry was undone.

    Args:
        what: what nothing should be left of, for the name of the check.
        examined: how many things were looked at.
        left: those that are as the run made them: ids, or names of indexes.
        unknown: why that can't be told; then it is said instead of a result.
    """

    what: str
    examined: int = 0
    left: list[Any] = field(default_factory=list)
    unknown: str = ""


@dataclass(kw_only=True)
class Effect:
    """What an entry did, for the proof that nothing else changed, by whole documents and by field.

    ``fields`` holds for each touched field the digest over ``{_id, field}`` of what the documents
    held before and of what was written; see :mod:`..procedures.baseline`.
    """

    collection: str
    inserted: Sequence[Document] = field(default_factory=list)
    removed: Sequence[Document] = field(default_factory=list)
    #: The name under which the whole collection is found from then on.
    becomes: str | None = None
    fields: dict[str, tuple[Digest, Digest]] = field(default_factory=dict)
    #: The same of documents without their touched fields, where these were written, too.
    rest: tuple[Digest, Digest] | None = None


class EntryKind(ABC):
    """One kind of entry: everything that is ever asked of it."""

    kind: str
    #: What an entry must look like beside what all have, before it is obeyed.
    shape: ClassVar[Shape]
    #: Whether undoing takes more than the entry holds, namely the document's step.
    needs_document: ClassVar[bool] = False
    #: Whether whole documents come or go by it.
    holds_documents: ClassVar[bool] = False

    def mistake(self, entry: Entry) -> str:
        """Return in what the parts of an entry of the right shape contradict one another."""
        del entry
        return ""

    def differs(self, entry: Entry, step: Step) -> str:
        """Return what an entry says otherwise than the step that is said to have written it."""
        del entry, step
        return ""

    @abstractmethod
    def touched(self, entry: Entry) -> Touched:
        """Return what the entry is about; it must be among what its step may touch."""

    def touches(self, entry: Entry) -> list[Touched]:
        """Return all that the entry is about, where that is more than one field."""
        return [self.touched(entry)]

    @abstractmethod
    def ids(self, entry: Entry) -> list[Any]:
        """Return the ids of the documents that the entry is about."""

    def size(self, entry: Entry) -> int:
        """Return how many documents the entry is about."""
        return len(self.ids(entry))

    def written(self, entry: Entry) -> dict[str, int]:
        """Return how many documents the entry wrote, by collection, as the server names it."""
        return {entry["collection"]: self.size(entry)}

    @abstractmethod
    def preview(self, entry: Entry) -> dict[str, Any]:
        """Return what undoing would do: counts and lists, which are added up over all entries."""

    def written_since(self, database: Database[dict[str, Any]], entry: Entry) -> int:
        """Return how many documents somebody wrote since to what undoing puts away."""
        del database, entry
        return 0

    @abstractmethod
    def reconcile(self, writer: Writer, entry: Entry) -> dict[str, int]:
        """Make the entry say what was really done, after a crash; return the counts of that."""

    @abstractmethod
    def revert(self, writer: Writer, entry: Entry, on_conflict: str, step: Step | None) -> None:
        """Undo the entry and mark it, together; what was changed since is a conflict."""

    @abstractmethod
    def remaining(self, database: Database[dict[str, Any]], entry: Entry) -> Remaining:
        """Return what an undone entry has left behind."""

    def changed_since(self, database: Database[dict[str, Any]], entry: Entry) -> list[Any]:
        """Return the ids of documents that are there and no longer hold what the entry wrote."""
        del database, entry
        return []

    def undone_through(
        self,
        database: Database[dict[str, Any]],
        entry: Entry,
        stages: Sequence[Mapping[str, Any]],
        *,
        force: bool,
    ) -> Iterable[Mapping[str, Any]] | None:
        """Return what *stages* make of the documents as undoing *entry* leaves them.

        Args:
            database: of the documents.
            entry: of the journal.
            stages: of an aggregation.
            force: whether documents are undone that hold something else by now.

        Returns:
            None where that can't be told.
        """
        del database, entry, stages, force
        return None

    def effect(self, entry: Entry) -> Effect:
        """Return what the entry did to documents."""
        return Effect(collection=entry["collection"])

    def effects(self, entry: Entry) -> list[Effect]:
        """Return what the entry did to documents, in each of the collections that it is about."""
        return [self.effect(entry)]

    def outcome(self, entry: Entry) -> dict[str, Any]:
        """Return lists for the result of a rollback, such as dropped indexes; they are joined."""
        del entry
        return {}


def digest_of(groups: Iterable[tuple[Sequence[Any], Any]], name: str) -> Digest:
    """Return the digest over ``{_id, name: value}`` of ids and the value that they share."""
    found = Digest()
    for ids, value in groups:
        found.add_many(with_ids(ids, {name: value}))
    return found


class Revert:
    """What the undoing of one journal entry did, and met."""

    _MOST_SAMPLES = 100
    # Samples are whole documents, which may be large.
    _MOST_BYTES = 1 << 20

    def __init__(self, writer: Writer, entry: Entry, verb: str) -> None:
        self._writer = writer
        self._entry = entry
        self._verb = verb
        # Of parts of the entry that were undone before.
        self._before: list[dict[str, Any]] = list(entry.get("conflicts", ()))
        self._kept: list[Any] = list(entry.get("kept", ()))
        self.count = 0
        self.conflicts: list[dict[str, Any]] = []
        self._bytes = 0

    @property
    def comment(self) -> str:
        """What server operations carry."""
        return self._writer.comment

    def reset(self) -> None:
        """Forget an attempt: a transaction may run its body more than once."""
        self.count = 0
        self.conflicts = []
        self._bytes = 0

    def conflict(
        self, identity: Any, expected: Any, observed: Any, reason: str, *, collection: str = ""
    ) -> None:
        """Note a document, of the entry's collection or another, that isn't as we wrote it."""
        told = {
            "collection": collection or self._entry["collection"],
            "_id": identity,
            "expected": expected,
            "observed": observed,
            "reason": reason,
        }
        size = len(bson.encode(told)) if len(self.conflicts) < self._MOST_SAMPLES else 0
        if self._bytes + size > self._MOST_BYTES:
            told |= {"expected": ejson.short(expected), "observed": ejson.short(observed)}
        else:
            self._bytes += size
        self.conflicts.append(told)

    def refuse_if(self, wanted: bool) -> None:
        """Stop before anything of the entry is written, if there is a conflict and it is *wanted*.

        Raises:
            MigrationError: there is a conflict.
        """
        if wanted and self.conflicts:
            first = self.conflicts[0]
            raise MigrationError(
                f"{first['collection']} {ejson.short(first['_id'])}: {first['reason']}. Nothing of "
                "this batch was undone. Choose on_conflict keep (leave such documents alone) or "
                "restore (overwrite them).",
                conflicts=self.conflicts[: self._MOST_SAMPLES],
            )

    def facts(self) -> dict[str, Any]:
        """Return what the entry keeps of its undoing."""
        return {
            "conflicts": [*self._before, *self.conflicts][: self._MOST_SAMPLES],
            "kept": [*self._kept, *(item["_id"] for item in self.conflicts)],
        }

    def commit(
        self,
        write: Callable[[ClientSession | None], None],
        *,
        documents: int = 1,
        undone: int | None = None,
    ) -> None:
        """Do *write* and mark the entry, together.

        Args:
            write: undoes the entry, or a part of it.
            documents: how many it writes, where it could as well be fewer.
            undone: how many of the entry's documents are undone then, where some are left.

        Raises:
            SmallerBatchError: the server can't take so many *documents* at once.
        """

        def counted(session: ClientSession | None) -> dict[str, int]:
            write(session)
            return {self._verb: self.count, "conflicts": len(self.conflicts)}

        self._writer.revert(
            self._entry,
            counted,
            facts=lambda: {
                **self.facts(),
                **({} if undone is None else {"undone": undone}),
            },
            documents=documents,
            whole=undone is None,
        )


def revert_in_parts(
    writer: Writer,
    entry: Entry,
    total: int,
    revert: Callable[[Entry, int, int, int | None], Mapping[str, Any]],
) -> None:
    """Undo an entry of *total* documents at once, or in as many parts as the server takes.

    How far it is stands in the entry, so that a resumed rollback goes on there.

    Args:
        writer: of the rollback.
        entry: of the journal.
        total: its documents.
        revert: undoes those from a place up to another one, and takes how many are undone then if
            some are left; returns what the entry keeps of that.
    """
    done = int(entry.get("undone", 0))
    while True:
        size = writer.capacity.at_once(total - done)
        left = done + size < total
        try:
            facts = revert(entry, done, done + size, done + size if left else None)
        except SmallerBatchError:
            continue
        if not left:
            return
        done, entry = done + size, {**entry, **facts}


class Void(EntryKind):
    """An entry of something that was never begun: only its number is left."""

    kind = "void"
    shape: ClassVar[Shape] = {}

    def touched(self, entry: Entry) -> Touched:
        """Nothing, in a collection that the step may have written to."""
        return Touched(collection=entry["collection"], nothing=True)

    def ids(self, entry: Entry) -> list[Any]:
        """No document."""
        del entry
        return []

    def preview(self, entry: Entry) -> dict[str, Any]:
        """Nothing would be undone."""
        del entry
        return {}

    def reconcile(self, writer: Writer, entry: Entry) -> dict[str, int]:
        """It is settled already."""
        del writer, entry
        return {}

    def revert(self, writer: Writer, entry: Entry, on_conflict: str, step: Step | None) -> None:
        """Mark it."""
        del on_conflict, step
        Revert(writer, entry, "restored").commit(lambda _session: None)

    def remaining(self, database: Database[dict[str, Any]], entry: Entry) -> Remaining:
        """Nothing can be left of it."""
        del database
        return Remaining(what=f"{entry['collection']}: nothing is left of what was never begun")
