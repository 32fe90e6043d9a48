"""The walk of an ``update`` along one collection: read, journal, write, prove, go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

from pymongo import UpdateMany, UpdateOne
from pymongo.client_session import ClientSession

from ...errors import MigrationError, PlanBlockedError
from ...ledger.batches import StaleBatchError, Writer
from ...ledger.capacity import SmallerBatchError
from ...ledger.fence import Statement
from ...ledger.journal import MOST_BYTES, Entry
from ...support import commands
from ...values import ejson
from ...values.compare import hashable
from ...values.digest import Digest
from ...values.raw import raw_documents
from ..read_ahead import Ahead
from .images import KIND, Images, entry_of, holding, put, still_written
from .reader import Reader, Row

_MOST_STALE = 50
_MOST_PASSES = 20


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Documents that are written together, and the position behind them."""

    rows: list[Row]
    after: dict[str, Any]


class Writing(Protocol):
    """How documents are journalled and written."""

    @property
    def kind(self) -> str:
        """The kind of its journal entries."""

    def entry(self, rows: Sequence[Row]) -> Entry:
        """Return the journal entry of *rows*, which are about to be written."""

    def update(self, rows: Sequence[Row], session: ClientSession | None) -> int:
        """Write *rows* as long as they are as they were read; return how many were."""

    def expected(self, rows: Sequence[Row], session: ClientSession | None) -> Digest:
        """Return, before they are written, what must be observed afterwards."""

    def observed(self, rows: Sequence[Row], session: ClientSession | None) -> Digest:
        """Return what proves that nothing else was changed."""

    def still_written(self, entry: Entry) -> dict[str, Any]:
        """Return what *entry* says of those alone that hold what was written."""


class Walk:
    """Goes along one collection.

    Args:
        reader: of the collection.
        writing: how its documents are written.
        step: its index.
        writer: writes the batches.
        again: whether it may look anew for what writers brought in meanwhile.
    """

    def __init__(
        self, reader: Reader, writing: Writing, *, step: int, writer: Writer, again: bool
    ) -> None:
        self._reader = reader
        self._writing = writing
        self._step = step
        self._writer = writer
        self._again = again and not writer.settings.writers_stopped
        compared = writer.settings.writers_stopped and "baseline" in writer.run.document
        self._proves = writer.server.transactions and not compared
        # Where nobody else writes, what was read is what is written.
        self._trusts = writer.settings.writers_stopped
        self._skip: set[bytes] = set()

    def run(self, position: dict[str, Any]) -> None:
        """Go from *position* to the end of the collection."""
        name = self._reader.collection.name
        # Written, and never told by a checkpoint: a process died between the two.
        first = position["pass"] == 1
        self._skip = self._journalled(seq={"$gt": position.get("seq", 0) if first else 0})
        stale, written = 0, int("last" in position)
        with closing(Ahead(self._read, position)) as batches:
            while True:
                batch = batches.next()
                if batch is None:
                    if not self._again or not written or position["pass"] >= _MOST_PASSES:
                        return
                    position, written = self._next_pass(position), 0
                    batches.restart(position)
                    continue
                if len(batch.rows) > self._writer.settings.batch_size:  # they are smaller now
                    batches.restart(position)
                    continue
                try:
                    count = self._write(batch)
                except SmallerBatchError:
                    batches.restart(position, fresh=True)
                    continue
                except StaleBatchError:
                    stale += 1
                    self._refuse_endless(stale, batch)
                    batches.restart(position, fresh=True)
                    continue
                stale, written, position = 0, written + count, batch.after
                self._writer.meter.advance(
                    count, step=self._step, kind=KIND, collection=name, batch=count
                )

    def _next_pass(self, position: Mapping[str, Any]) -> dict[str, Any]:
        kept = {key: position[key] for key in ("step", "target") if key in position}
        start = {**kept, "pass": position["pass"] + 1, "seq": self._writer.seq}
        # What was updated once isn't again, whatever became of it since.
        self._skip = self._journalled()
        self._writer.move(start)
        return start

    def _journalled(self, **more: Any) -> set[bytes]:
        """Return the documents that the journal says this step wrote."""
        told = {"step": self._step, "collection": self._reader.collection.name}
        told["kind"] = self._writing.kind
        return {
            hashable(identity)
            for entry in self._writer.journal.entries(**told, **more)
            for identity in Images().ids(entry)
        }

    def _refuse_endless(self, stale: int, batch: Batch) -> None:
        if stale > _MOST_STALE:
            raise MigrationError(
                f"{self._reader.collection.name}: the documents around "
                f"{ejson.short(batch.after['last'])} change faster than they can be written "
                f"({stale} attempts). Stop the writers ({commands.STOP_WRITERS}), then run the "
                "same command again."
            )

    def _read(self, position: Mapping[str, Any], fresh: bool) -> list[Batch]:
        del fresh
        rows = self._reader.page(position, self._writer.settings.batch_size)
        batches: list[Batch] = []
        while rows:
            part = _fitting(rows)
            rows = rows[len(part) :]
            position = {**position, "last": part[-1].identity}
            batches.append(Batch(rows=self._wanted(part), after=position))
        return batches

    def _wanted(self, rows: Sequence[Row]) -> list[Row]:
        wanted = []
        for row in rows:
            if self._skip and hashable(row.identity) in self._skip:
                continue  # what we wrote ourselves need not be fit once more
            for trouble in row.troubles:
                if trouble.policy == "fail":
                    raise PlanBlockedError(
                        f"{self._reader.collection.name} {ejson.short(row.identity)} came or "
                        f"changed after the plan: {trouble.path}: {trouble.why}. Correct it, then "
                        "run the same command again."
                    )
            if row.changes:
                wanted.append(row)
        return wanted

    def _write(self, batch: Batch) -> int:
        writer = self._writer
        if not batch.rows:
            writer.move({**batch.after, "seq": writer.seq})
            return 0
        rows, writing = batch.rows, self._writing
        ids = [row.identity for row in rows]
        position = {**batch.after, "seq": writer.seq + 1}

        def entry(session: ClientSession | None) -> Entry:
            nonlocal rows
            if session is not None and not self._trusts:
                # In the snapshot of the transaction: nobody can come between this and the write.
                rows = [row for row in self._reader.of(ids, session) if row.changes]
                self._wanted(rows)
            return writing.entry(rows)

        def write(session: ClientSession | None) -> dict[str, int]:
            expected = writing.expected(rows, session) if self._proves else None
            count = writing.update(rows, session)
            if count != len(rows):
                if session is not None:
                    raise StaleBatchError
                seq = writer.seq + 1
                (told,) = writer.journal.entries(seq=seq)
                kept = writing.still_written(told)
                writer.journal.amend(seq, **kept)
                count = kept["count"]
            if expected is None:
                return {"modified": count}
            if writing.observed(rows, session) != expected:
                raise MigrationError(
                    f"{self._reader.collection.name}: a batch changed more than it says. It was "
                    "not committed. This should be impossible; keep the evidence and tell the "
                    "database admin."
                )
            return {"modified": count, "proved": count}

        writer.commit(entry, write, position=position, documents=len(ids))
        return len(rows)


@dataclass(frozen=True, kw_only=True)
class FieldWriting:
    """Writes the touched fields of documents, where it can by one statement of the server."""

    reader: Reader
    writer: Writer
    step: int
    kind: str = KIND

    def entry(self, rows: Sequence[Row]) -> Entry:
        """Return an entry with what the fields held."""
        fields = list(self.reader.compiled.fields)
        return entry_of(self.step, self.reader.collection.name, fields, rows)

    def still_written(self, entry: Entry) -> dict[str, Any]:
        """Return what *entry* says of those alone that hold what was written."""
        return still_written(self.writer, entry)

    def update(self, rows: Sequence[Row], session: ClientSession | None) -> int:
        """Write *rows*; return how many documents were as they were read."""
        if not rows:
            return 0
        compiled = self.reader.compiled
        by_server = not self.reader.sources and not compiled.varies
        statements: list[Statement]
        if self.writer.server.transactions and by_server:
            ids = [row.identity for row in rows]
            statements = [UpdateMany({"_id": {"$in": ids}}, [{"$set": compiled.fields}])]
        else:
            names = list(compiled.fields)
            statements = [
                UpdateOne(
                    {"_id": row.identity}
                    if session is not None
                    else holding(row.identity, names, row.before),
                    put(row.before, row.after),
                )
                for row in rows
            ]
        return self.writer.write(self.reader.collection, statements, session, ordered=False)

    def expected(self, rows: Sequence[Row], session: ClientSession | None) -> Digest:
        """Return the digest of all but the touched fields."""
        collection = self.reader.collection
        return Digest.of(
            raw_documents(
                collection.database,
                collection.name,
                filter={"_id": {"$in": [row.identity for row in rows]}},
                projection=dict.fromkeys(self.reader.compiled.fields, 0),
                batch_size=len(rows) + 1,
                session=session,
                comment=self.writer.comment,
            )
        )

    observed = expected


def _fitting(rows: Sequence[Row]) -> list[Row]:
    """Return so many of the first rows that they fit one journal entry."""
    size = 0
    for number, row in enumerate(rows):
        size += len(row.key) + len(row.before) + 8
        if size > MOST_BYTES and number:
            return list(rows[:number])
    return list(rows)
