"""The walk of a ``set_field`` step along one collection: read ahead, write, prove, go on."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import bson
from bson.objectid import ObjectId
from pymongo import UpdateMany
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from ...errors import MigrationError
from ...ledger.batches import StaleBatchError, Write, Writer
from ...ledger.capacity import SmallerBatchError
from ...ledger.journal import MOST_BYTES
from ...support import commands
from ...values import ejson
from ...values.digest import Digest
from .. import contradictions, statements
from ..field_rules import Rules, Target
from ..read_ahead import Ahead, Position
from ..referents import Referents
from ..statements import Group
from . import candidates
from .batch_proof import BatchProof, refuse_if_found_otherwise
from .candidates import Page
from .current_values import holding
from .grouping import Grouped, Grouping

KIND = "set_field"

# Documents that writers add behind the walk are picked up by another one; this many in all.
_MOST_PASSES = 20
# From so many on it is asked whether what was written is only taken away again.
_SUSPICIOUS = 5
# What a batch rewrites is in the server's cache until it is committed.
_BATCH_BYTES = 64 << 20
# What is proved batch by batch is written in small ones, but read so many documents at a time: a
# command costs the server as much as the reading of some hundred.
_PAGE = 1000
# A batch that changes under our eyes is read again; this often in a row.
_MOST_STALE = 50


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Candidates that were read, by the value that they get and the one that they had."""

    page: Page | None  # as they were read; kept for the proof alone
    groups: list[Group]
    writes: list[UpdateMany]
    skipped: int
    after: dict[str, Any]  # the position behind them
    rest: Digest | None  # of all else in these documents, where it was read

    @property
    def count(self) -> int:
        """Return how many documents are to be written."""
        return sum(len(group["ids"]) for group in self.groups)


class Walk:
    """Goes along one collection.

    Args:
        rules: what the step says of its field.
        step: its index.
        target: the collection.
        referents: what values may name.
        writer: writes the batches.
    """

    def __init__(
        self, rules: Rules, *, step: int, target: Target, referents: Referents, writer: Writer
    ) -> None:
        self._rules = rules
        self._step = step
        self._target = target
        self._referents = referents
        self._writer = writer
        self._grouping = Grouping(rules, target, referents)
        # Held where they don't belong, if those are to be replaced. Which ones, each page tells.
        self._wrong = contradictions.values(rules, target, referents, comment=writer.comment)
        self._began = writer.seq
        self._most = _most_documents(target.collection)
        # Each batch has to prove itself where the whole collections won't be compared.
        compared = writer.settings.writers_stopped and "baseline" in writer.run.document
        self._proves = writer.server.transactions and not compared

    def run(self, position: dict[str, Any]) -> None:
        """Go from *position* until no candidate is left."""
        writer = self._writer
        # A walk that is resumed has written before: it, too, looks behind itself at its end.
        written, stale = int("last" in position), 0
        last: list[Group] = []
        with closing(Ahead(self._read, position)) as batches:
            while True:
                batch = batches.next()
                if batch is None:
                    # Writers may have added candidates behind the walk: look again from the start.
                    if (
                        writer.settings.writers_stopped
                        or not written
                        or position["pass"] >= _MOST_PASSES
                    ):
                        return
                    if position["pass"] >= _SUSPICIOUS:
                        self._refuse_if_undone(last)
                    position = self._next_pass(position)
                    written = 0
                    batches.restart(position)
                    continue
                if batch.count > writer.settings.batch_size:  # the throttle has made them smaller
                    batches.restart(position)
                    continue
                try:
                    self._write(batch)
                except SmallerBatchError:
                    batches.restart(position, fresh=True)
                    continue
                except StaleBatchError:
                    # Someone changed a document of the batch in the meantime. Read it again.
                    stale += 1
                    if stale > _MOST_STALE:
                        raise MigrationError(
                            f"{self._target.name}: the documents around "
                            f"{ejson.short(batch.after['last'])} change faster than they can be "
                            f"written ({stale} attempts). Stop the writers "
                            f"({commands.STOP_WRITERS}), then run the same command again."
                        ) from None
                    self._grouping.forget()
                    batches.restart(position, fresh=True)
                    continue
                stale = 0
                written += batch.count
                position = batch.after
                last = batch.groups
                writer.meter.advance(
                    batch.count,
                    step=self._step,
                    kind=KIND,
                    collection=self._target.name,
                    batch=batch.count,
                )

    def _refuse_if_undone(self, groups: list[Group]) -> None:
        """Stop where a document was written for a second time.

        Raises:
            MigrationError: somebody takes away what was written.
        """
        ids = [identity for group in groups for identity in group["ids"]]
        if not ids or ids[0] is None:
            return
        told = {"step": self._step, "collection": self._target.collection.name}
        since = {"seq": {"$gt": self._began}}  # what was taken away before a stop is over
        entries = self._writer.journal.entries(**told, **since, **{"groups.ids": ids[0]})
        if sum(1 for _ in entries) > 1:
            raise MigrationError(
                f"{self._target.name}: {self._rules.field} is taken away again from documents that "
                f"got it, such as {ejson.short(ids[0])}: a tool or an application writes without "
                f"it, or removes it. Stop it ({commands.STOP_WRITERS}), then run the same command "
                "again."
            )

    def _next_pass(self, position: dict[str, Any]) -> dict[str, Any]:
        start = {
            "step": self._step,
            "target": position["target"],
            "pass": position["pass"] + 1,
        }
        # What this pass skipped, the next one meets again: it counts it anew.
        self._writer.move(start, {"skipped": -position.get("skipped", 0)})
        return start

    def _read(self, position: Position, fresh: bool) -> list[_Batch]:
        """Read the next candidates and find their values; none where there are no more."""
        size = min(self._most, self._writer.settings.batch_size)
        proving = self._proves and not fresh
        page = candidates.read(
            self._target,
            self._rules.field,
            where=self._rules.candidates(self._referents, self._wrong),
            position=position,
            limit=min(self._most, max(size, _PAGE)) if proving else size,
            rest=proving,
            settled=self._grouping.settled,
            comment=self._writer.comment,
        )
        self._grouping.prepare(page)
        batches, start = [], 0
        while start < len(page.ids):
            part, found = self._fitting(page.part(start, start + size))
            start += len(part.ids)
            position = {**position, "last": part.ids[-1]}
            if found.skipped:
                position["skipped"] = position.get("skipped", 0) + found.skipped
            batches.append(
                _Batch(
                    page=replace(part, rests=[]) if self._proves else None,
                    groups=found.groups,
                    writes=statements.of(self._rules.field, found.groups),
                    skipped=found.skipped,
                    after=position,
                    rest=Digest.of(part.rests) if proving else None,
                )
            )
        return batches

    def _fitting(self, page: Page) -> tuple[Page, Grouped]:
        """Return so many of the first documents of *page* that they fit one journal entry."""
        found = self._grouping.of(page)
        while found.bytes + _bytes_of(page.ids) > MOST_BYTES and len(page.ids) > 1:
            page = page.part(0, len(page.ids) // 2)
            found = self._grouping.of(page)
        return page, found

    def _write(self, batch: _Batch) -> None:
        if not batch.groups:
            self._writer.move(batch.after, {"skipped": batch.skipped})
            return
        entry = {
            "kind": KIND,
            "step": self._step,
            "collection": self._target.collection.name,
            "field": self._rules.field,
            "groups": batch.groups,
        }
        write = self._update(batch)
        if self._proves:
            write = self._proved(batch, write)
        self._writer.commit(entry, write, position=batch.after, documents=batch.count)

    def _update(self, batch: _Batch) -> Write:
        def write(session: ClientSession | None) -> dict[str, int]:
            matched = self._writer.write(self._target.collection, batch.writes, session)
            if matched != batch.count:
                if session is not None:
                    raise StaleBatchError
                self._amend(batch.groups)
            return {"modified": matched, "skipped": batch.skipped}

        return write

    def _proved(self, batch: _Batch, write: Write) -> Write:
        """Return *write* with the proof that it left the rest of each document as it was.

        With writers about, whole collections can't be compared; one batch can, in the snapshot
        of its own transaction. What the documents were is known from when they were read ahead:
        if that is true no more, the batch is read again, and once more in the transaction itself.
        """
        target, page = self._target, batch.page
        if page is None:
            raise AssertionError("every batch is of a page")
        ahead = batch.rest if batch.count == len(page.ids) else None
        proof = BatchProof(
            collection=target.collection,
            field=self._rules.field,
            ids=[identity for group in batch.groups for identity in group["ids"]],
            comment=self._writer.comment,
        )

        def proved(session: ClientSession | None) -> dict[str, int]:
            if session is None:
                raise AssertionError("only what is in a transaction is proved")
            refuse_if_found_otherwise(page, batch.groups, target.anew(session))
            if (before := ahead) is None:
                proof.refuse_if_moved(page, target.source.inputs, session)
                before = proof.rest(session)
            counts = write(session)
            proof.refuse_other(before, session, read_ahead=ahead is not None)
            return {**counts, "proved": len(proof.ids)}

        return proved

    def _amend(self, groups: list[Group]) -> None:
        """Without a transaction the journal already says more than was done: correct it."""
        groups[:] = holding(
            self._target.collection, self._rules.field, groups, comment=self._writer.comment
        )
        self._writer.journal.amend(self._writer.seq + 1, groups=groups)


def _bytes_of(ids: list[Any]) -> int:
    """Return about how many bytes *ids* take; most are of twelve, and then it is no work."""
    return sum(20 if isinstance(i, (ObjectId, int)) else len(bson.encode({"i": i})) for i in ids)


def _most_documents(collection: Collection[dict[str, Any]]) -> int:
    """Return how many documents of average size a batch may have."""
    stats = next(collection.aggregate([{"$collStats": {"storageStats": {}}}]))["storageStats"]
    return max(1, _BATCH_BYTES // max(1, int(stats.get("avgObjSize", 1))))
