"""The journal: what a run did, batch by batch, with what is needed to undo it exactly.

An entry is written in the same transaction as the batch it describes; on a standalone server,
which has none, before it. Undoing compares with what the entry says was written, so an entry
whose batch never happened undoes nothing.

A ``set_field`` entry holds ``groups``: documents that had the same value before (none at all: the
group has no ``before``) and got the same value. That is one ``_id`` for a document, in each way
one statement for a group.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

from pymongo import ASCENDING, DESCENDING
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.write_concern import WriteConcern

from ..document.collections import JOURNAL
from .runs import MAJORITY


class Journal:
    """The journal of one run."""

    def __init__(self, database: Database[dict[str, Any]], run: str) -> None:
        self._collection = database[JOURNAL].with_options(write_concern=MAJORITY)
        self._run = run

    def prepare(self) -> None:
        """Make the collection and its index, which a transaction must not have to."""
        self._collection.create_index(
            [("run", ASCENDING), ("seq", ASCENDING)], unique=True, name="run_seq"
        )

    def newest_seq(self) -> int:
        """Return the number of the newest entry, 0 if there is none.

        It can be ahead of the checkpoint where a batch was written without a transaction.
        """
        newest = self._collection.find_one(
            {"run": self._run}, {"seq": 1}, sort=[("seq", DESCENDING)]
        )
        return int(newest["seq"]) if newest else 0

    def write(self, entry: dict[str, Any], session: ClientSession | None) -> None:
        """Write one entry."""
        collection = self._collection
        if session is not None:
            collection = collection.with_options(write_concern=WriteConcern())
        # `at` is for people: the evidence shows from it how fast the batches followed each other.
        now = datetime.datetime.now(datetime.UTC)
        collection.insert_one({"run": self._run, "at": now, **entry}, session=session)

    def amend(self, seq: int, **changes: Any) -> None:
        """Correct an entry whose batch, without a transaction, did less than was intended."""
        self._collection.update_one({"run": self._run, "seq": seq}, {"$set": changes})

    def discard(self, seq: int) -> None:
        """Remove an entry of something that was never begun."""
        self._collection.delete_one({"run": self._run, "seq": seq})

    def mark_reverted(self, seq: int, session: ClientSession | None, **facts: Any) -> None:
        """Note that an entry was undone."""
        collection = self._collection
        if session is not None:
            collection = collection.with_options(write_concern=WriteConcern())
        collection.update_one(
            {"run": self._run, "seq": seq},
            {"$set": {"reverted": True, **facts}},
            session=session,
        )

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
            yield entry

    def entries(self, **selector: Any) -> Iterator[dict[str, Any]]:
        """Yield the entries that match *selector*, in their order."""
        # One a reply: the driver decodes whole replies, and an entry may be large.
        yield from self._collection.find(
            {"run": self._run, **selector}, sort=[("seq", ASCENDING)], batch_size=1
        )
