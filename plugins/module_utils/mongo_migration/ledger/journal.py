"""The journal: what a run did, batch by batch, with what is needed to undo it exactly.

An entry is written in the same transaction as the batch it describes; on a standalone server,
which has none, before it. Undoing compares with what the entry says was written, so an entry
whose batch never happened undoes nothing.

Entries are numbered without a hole: a run whose ``seq`` is 7 has exactly the entries 1 to 7, and
more only where a process died without transactions. Each is checked as it is read.

A ``set_field`` entry holds ``groups``: documents that had the same value before (none at all: the
group has no ``before``) and got the same value. That is one ``_id`` for a document, in each way
one statement for a group.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import Any

import bson
from pymongo import ASCENDING, DESCENDING, DeleteOne, ReplaceOne, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.write_concern import WriteConcern

from ..document.collections import JOURNAL
from ..errors import MigrationError
from . import own_collections
from .fence import Fence, Statement
from .runs import MAJORITY
from .state_format import FORMAT, StateError

# What an entry may hold of documents, ids and values, in bytes. It is one document, of which
# MongoDB allows 16 MB, and a rollback may add the ids of all of them as conflicts.
MOST_BYTES = 7 << 20
#: Of one document alone, what may be kept: the server takes 16 MiB, and undoing is noted beside it.
LARGEST_ENTRY = 15 << 20
_HEAD = 64 << 10  # of an entry, beside that
# What became of an entry whose step wasn't begun; nothing is to be undone.
VOID = "void"

Entry = dict[str, Any]


class Journal:
    """The journal of one run.

    Args:
        database: the migrated database.
        run: the run's id.
        read: returns an entry that may be relied on, or raises an error; see
            :func:`..operations.registry.open_journal`.
        fence: for whoever also writes to it.
    """

    def __init__(
        self,
        database: Database[dict[str, Any]],
        run: str,
        *,
        read: Callable[[Entry], Entry],
        fence: Fence | None = None,
    ) -> None:
        self._collection = database[JOURNAL].with_options(write_concern=MAJORITY)
        self._run = run
        self._read = read
        self._fence = fence

    def prepare(self) -> None:
        """Make the collection and its index, which a transaction must not have to."""
        self._collection.create_indexes([own_collections.ENTRY])

    def missing(self, seq: int) -> int:
        """Return how many of the entries 1 to *seq* aren't there.

        Raises:
            StateError: several entries have one number, which the index of ours refuses.
        """
        rows = self._collection.find({"run": self._run}, {"_id": 0, "seq": 1})
        # What is no number isn't an entry of ours, and is refused as it is read.
        numbers = [row["seq"] for row in rows if isinstance(row.get("seq"), int | float)]
        there = set(numbers)
        if doubled := len(numbers) - len(there):
            collection = self._collection
            raise StateError(
                f"{doubled:,} journal entries of run {self._run} have the number of another one, "
                f"which {collection.database.name}.{collection.name} takes only without its index "
                f"'{own_collections.ENTRY.document['name']}'. Nothing was done by them. Someone "
                "else has written there: look who may (docs/privileges.md), keep a copy, and "
                "remove what we didn't write."
            )
        return seq - sum(1 for number in there if 1 <= number <= seq)

    def write(
        self, entry: dict[str, Any], session: ClientSession | None, *, alone: bool = False
    ) -> None:
        """Write one entry; of a single document, if it is *alone* there.

        Raises:
            MigrationError: it has no room for the note that it is undone.
        """
        if alone and len(bson.encode(entry)) > LARGEST_ENTRY + _HEAD:
            raise MigrationError(
                f"{entry['collection']}: a document came or grew after the plan, and is too large "
                "to be kept in the journal, without which no rollback is exact. Nothing of this "
                "batch was written. Make it smaller, or leave it out with `where`; the plan "
                "(--check) names it."
            )
        # `at` is for people: the evidence shows from it how fast the batches followed each other.
        now = datetime.datetime.now(datetime.UTC)
        whole = {"run": self._run, "format": FORMAT, "at": now, **entry}
        if session is None:
            self._fenced.insert(self._collection, whole)
            return
        # The collection's write concern must not be given inside a transaction.
        self._collection.with_options(write_concern=WriteConcern()).insert_one(
            whole, session=session
        )

    def amend(self, seq: int, **changes: Any) -> None:
        """Correct an entry whose batch, without a transaction, did less than was intended."""
        self._change(UpdateOne({"run": self._run, "seq": seq}, {"$set": changes}))

    def discard(self, seq: int) -> None:
        """Remove an entry that no checkpoint covers, of something that was never begun."""
        self._change(DeleteOne({"run": self._run, "seq": seq}))

    def void(self, entry: Entry) -> None:
        """Keep the number of an entry of something that was never begun, and nothing else of it."""
        names = ("run", "seq", "step", "collection", "at")
        kept = {key: entry[key] for key in names if key in entry}
        self._change(
            ReplaceOne(
                {"run": self._run, "seq": entry["seq"]}, {**kept, "format": FORMAT, "kind": VOID}
            )
        )

    def mark_reverted(
        self, seq: int, session: ClientSession | None, *, whole: bool = True, **facts: Any
    ) -> None:
        """Note that an entry was undone, or a part of it."""
        selector = {"run": self._run, "seq": seq}
        change = {"$set": {**({"reverted": True} if whole else {}), **facts}}
        if session is None:
            self._change(UpdateOne(selector, change))
            return
        self._collection.with_options(write_concern=WriteConcern()).update_one(
            selector, change, session=session
        )

    def _change(self, statement: Statement) -> None:
        self._fenced.write(self._collection, [statement])

    @property
    def _fenced(self) -> Fence:
        if self._fence is None:
            raise AssertionError("the journal was opened for reading")
        return self._fence

    def backwards(self) -> Iterator[dict[str, Any]]:
        """Yield the entries that weren't undone yet, the newest first."""
        selector: dict[str, Any] = {"run": self._run, "reverted": {"$exists": False}}
        while True:
            # One at a time: an entry can be large, and each is undone before the next is read.
            entry = self._collection.find_one(selector, sort=[("seq", DESCENDING)])
            if entry is None:
                return
            # Without this bound, each search would pass by all that is undone already.
            selector["seq"] = {"$lt": entry["seq"]}
            yield self._read(entry)

    def entries(self, **selector: Any) -> Iterator[dict[str, Any]]:
        """Yield the entries that match *selector*, in their order."""
        # One a reply: the driver decodes whole replies, and an entry may be large.
        rows = self._collection.find(
            {"run": self._run, **selector}, sort=[("seq", ASCENDING)], batch_size=1
        )
        yield from map(self._read, rows)

    def pending(self) -> int:
        """Return how many entries weren't undone yet."""
        return self._collection.count_documents({"run": self._run, "reverted": {"$exists": False}})
