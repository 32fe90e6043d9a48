"""The walk of a transfer along one collection: read, journal, write, prove, go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bson.binary import Binary
from pymongo.client_session import ClientSession

from ...errors import MigrationError, PlanBlockedError
from ...ledger.batches import StaleBatchError, Writer
from ...ledger.capacity import SmallerBatchError
from ...ledger.journal import MOST_BYTES
from ...ledger.state_format import StateError
from ...support import commands
from ...values import ejson
from ...values.compare import hashable
from ..update.reader import Row
from .batch import Batch
from .contract import Transfer, carried
from .items import Item, Load, are_pairs, items_of, pairs_of, raw_items, token_of
from .references import Renaming

_MOST_STALE = 50
# Writers may go on bringing in what is to be carried; this often is enough.
_MOST_PASSES = 20
# Documents that follow in one batch; what refers to one document may be more than a batch holds.
_MOST_FOLLOWERS = 5000


class Walk:
    """Goes along one collection.

    Args:
        transfer: what is carried from it.
        writer: writes the batches.
        created: whether the first document makes the collection that it comes to.
    """

    def __init__(self, transfer: Transfer, *, writer: Writer, created: bool) -> None:
        self._transfer = transfer
        self._writer = writer
        self._created = created
        self._source = transfer.reader.collection
        self._same = self._source.name == transfer.target.name
        # Where nobody else writes, what was read is what is written.
        self._trusts = writer.settings.writers_stopped
        self._done: set[bytes] = set()
        # By the old _id, a new one to which something refers already: it stays what it is.
        self._fixed: dict[bytes, bytes] = {}

    def run(self, position: dict[str, Any]) -> None:
        """Go from *position* to the end, and again while writers bring in more."""
        self._done = self._journalled()
        self._transfer.done = self._done if self._same else frozenset()
        if not are_pairs(position.get("pairs", b"")):
            raise StateError(
                f"Run {self._writer.run.id} stands at ids that no release of ours wrote. Someone "
                "else has written there: look who may (docs/privileges.md), then roll back."
            )
        self._fixed = dict(pairs_of({"pairs": position.get("pairs", b"")}))
        first = int(position.get("pass", 1))
        for number in range(first, _MOST_PASSES + 1):
            count = self._pass({**position, "pass": number})
            resumed = number == first and "last" in position
            if self._trusts or not self._transfer.settles or not (count or resumed):
                return
            position = {key: position[key] for key in ("step", "target") if key in position}
        raise self._too_fast()

    def _pass(self, position: dict[str, Any]) -> int:
        count = stale = 0
        while rows := self._transfer.reader.page(position, self._writer.settings.batch_size):
            after = {**position, "last": rows[-1].identity}
            after.pop("pairs", None)
            try:
                some = self._wanted(rows)
                parts = self._fitting(some)
                for number, part in enumerate(parts, 1):
                    self._carry(part, position, after if number == len(parts) else position)
            except SmallerBatchError:
                continue  # fewer documents are read from now on
            except StaleBatchError:
                stale += 1
                if stale > _MOST_STALE:
                    raise self._too_fast() from None
                continue  # what is done is told by the journal
            if not parts:
                self._writer.move(after)
            count, stale, position = count + len(some), 0, after
        return count

    def _too_fast(self) -> MigrationError:
        return MigrationError(
            f"{self._source.name}: documents change or come faster than they can be carried. Stop "
            f"the writers ({commands.STOP_WRITERS}), then run the same command again."
        )

    def _journalled(self) -> set[bytes]:
        """Return the documents that this step has carried, by the journal."""
        told = {
            "step": self._transfer.step,
            "kind": self._transfer.kind,
            "collection": self._source.name,
        }
        return {
            token
            for entry in self._writer.journal.entries(**told)
            for token in self._tokens(items_of(entry))
        }

    def _tokens(self, items: Sequence[Item]) -> set[bytes]:
        """Return the ids under which the carried documents could be met again."""
        if self._same:
            return set(map(token_of, raw_items(items)))
        return {token_of(item.source) for item in items}

    def _wanted(self, rows: Sequence[Row], session: ClientSession | None = None) -> list[Row]:
        """Return those of *rows* that are to be carried.

        Raises:
            PlanBlockedError: one of them can't be, and came or changed after the plan.
        """
        wanted = []
        for read in rows:
            fixed = self._fixed.get(read.key)
            row = read if fixed is None else replace(read, after=fixed)
            if hashable(row.identity) in self._done:
                continue
            for trouble in row.troubles:
                if trouble.policy == "fail":
                    raise self._blocked(row, f"{trouble.path}: {trouble.why}")
            if carried(row) and self._transfer.wanted(row):
                wanted.append(row)
        taken = self._transfer.taken(wanted, session)
        for row in wanted:
            if hashable(row.identity) in taken and not self._transfer.leaves(row):
                raise self._blocked(row, "its new _id is another document's already")
        return [row for row in wanted if hashable(row.identity) not in taken]

    def _blocked(self, row: Row, why: str) -> PlanBlockedError:
        return PlanBlockedError(
            f"{self._transfer.name} {ejson.short(row.identity)} came or changed after the plan: "
            f"{why}. Correct it, then run the same command again."
        )

    def _fitting(self, rows: Sequence[Row]) -> list[list[Row]]:
        """Return *rows* in parts that fit one journal entry, and what follows them one batch."""
        parts: list[list[Row]] = []
        size = 0
        for row in rows:
            length = 2 * (len(row.document) + len(row.before) + len(row.extra))
            if not parts or size + length > MOST_BYTES:
                parts.append([])
                size = 0
            parts[-1].append(row)
            size += length
        return [fit for part in parts for fit in self._divided(part)]

    def _divided(self, rows: list[Row]) -> list[list[Row]]:
        if len(rows) < 2 or not self._transfer.references:
            return [rows]
        if self._followers(rows) <= _MOST_FOLLOWERS:
            return [rows]
        half = len(rows) // 2
        return [*self._divided(rows[:half]), *self._divided(rows[half:])]

    # -- one batch ---------------------------------------------------------------------------

    def _carry(self, rows: list[Row], position: dict[str, Any], after: dict[str, Any]) -> None:
        if len(rows) == 1 and self._followers(rows) > _MOST_FOLLOWERS:
            self._ahead(rows[0], position)
        batch = Batch(self._transfer, self._writer, rows, again=self._again)
        load = batch.commit(after, created=self._created)
        self._created = False
        self._done |= self._tokens(load.items)
        self._advance(load)

    def _again(self, rows: Sequence[Row], session: ClientSession) -> list[Row]:
        """Return *rows* as they are in the transaction's own snapshot."""
        if self._trusts:
            return list(rows)
        found = self._transfer.reader.of([row.identity for row in rows], session)
        return self._wanted(found, session)

    def _followers(self, rows: Sequence[Row]) -> int:
        old = Renaming((row.key, row.key) for row in rows)
        return sum(one.count(old) for one in self._transfer.references)

    def _ahead(self, row: Row, position: dict[str, Any]) -> None:
        """Let so much of what refers to one document follow that the rest fits its batch."""
        pair = (row.key, row.after)
        self._fixed[row.key] = row.after
        renaming = Renaming([pair])
        here = {**position, "pairs": Binary(b"".join(pair))}
        while self._followers([row]) > _MOST_FOLLOWERS:
            for one in self._transfer.references:
                rows = one.rows(renaming, limit=_MOST_FOLLOWERS)
                told = self._transfer.repointed(one, rows)
                if rows:
                    load = Load(items=[], references=[told], pairs=[pair])
                    Batch(self._transfer, self._writer, [], load=load).commit(here, created=False)
                    self._advance(load)

    def _advance(self, load: Load) -> None:
        count = len(load.items) + load.followers
        self._writer.meter.advance(
            count,
            step=self._transfer.step,
            kind=self._transfer.kind,
            collection=self._transfer.name,
            batch=count,
        )
