"""``delete``: documents go, each whole in the journal, and come back by a rollback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pymongo import DeleteMany, DeleteOne
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from ...document import reads
from ...document.collections import Collections
from ...document.definition import Step
from ...document.value_sources import Scope
from ...errors import MigrationError
from ...ledger.batches import StaleBatchError, Write, Writer
from ...ledger.fence import Statement
from ...ledger.journal import LARGEST_ENTRY
from ...support import commands
from ...support.tables import aligned, number, place
from ...values import compare, ejson
from ...values.compare import hashable
from .. import left_alone, own_lookups
from ..base import Check, Need, Operation, Plan, Row, Touched, amounts, problem
from ..futures import Rewrite
from ..refusals import journal_room
from ..transfer.reading import reader_of
from ..update.reader import Reader
from ..update.reader import Row as Document
from . import whole_documents

KIND = "delete"
_CLEAR = "what goes must be clear"
_SAMPLES = 5
_PAGE = 1000
# What a filter can't say.
CHOOSING = {"let", "only_if"}
# Writers may go on making documents that match; this often is enough.
_MOST_PASSES = 20

Batch = list[dict[str, Any]]


class Delete(Operation):
    """See the module. Options are those of the schema's ``delete``."""

    KIND = KIND
    VARIABLES = ()
    TELLS_LEAVING = True

    def __init__(self, step: Step, scope: Scope) -> None:
        super().__init__(step, scope)
        names = scope.collections
        self._chosen = CHOOSING & step.options.keys()
        self._where: dict[str, Any] = compare.bind_now(step.options["where"], scope.now)
        self._targets = [
            (name, names.get(name, write=True))
            for name in step.options["collections"]
            if not names.absent(name)
        ]

    @staticmethod
    def names(options: Mapping[str, Any]) -> set[str]:
        """Return the collections that lose documents."""
        return set(options["collections"])

    @staticmethod
    def reach(step: Step, names: Collections) -> list[Touched]:
        """Return the collections that lose documents."""
        return [
            Touched(collection=names.real_name(name), removes=True)
            for name in step.options["collections"]
            if not names.absent(name)
        ]

    @staticmethod
    def lines(rows: Sequence[Row]) -> list[str]:
        """Return how many documents would go, and some of them."""
        heads = ["deletes from", "documents", "to delete", "journal bytes"]
        body = [
            [place(row), *(number(row[key]) for key in ("documents", "to_remove", "bytes"))]
            for row in rows
        ]
        shown = [f"  {ejson.short(one, 200)}" for row in rows for one in row["samples"]]
        return [*aligned([heads, *body], numeric_from=1), *(["Such as", *shown] if shown else [])]

    @staticmethod
    def diff(row: Row) -> tuple[list[str], list[str]]:
        """Return how many documents the collection has, and some of those that go."""
        label, total = f"{row['real_name']}: {{:,}} documents", row["documents"]
        gone = [f"{row['real_name']}: {ejson.short(one, 400)}" for one in row["samples"]]
        return [label.format(total), *gone], [label.format(total - row["to_remove"])]

    def needs(self) -> Iterator[Need]:
        """Yield what decides which documents go."""
        options = self._step.options
        read = reads.fields(
            filters=[self._where],
            expressions=[options.get("only_if")],
            sources=options.get("let", {}).values(),
        )
        for _name, collection in self._targets:
            yield Need(collection=collection.name, fields=read)
        yield from self.needs_of_sources(options.get("let", {}))

    def plan(self) -> Plan:
        """Count what would go, and show some of it."""
        plan = Plan()
        for name, collection in self._targets:
            count = size = 0
            samples: Batch = []
            lossy: list[Any] = []
            large: list[Any] = []
            if self._chosen and (found := self._unfit(collection)):
                plan.problems += [self._unclear(name, *item) for item in found.items()]
                continue
            for document, length, exact in self._read(collection):
                count, size = count + 1, size + length
                if len(samples) < _SAMPLES:
                    samples.append(document)
                if not exact:
                    lossy.append(document["_id"])
                if length > LARGEST_ENTRY:
                    large.append(document["_id"])
            journal_room.tell(plan, large, step=self._step.index, name=name)
            if lossy:
                plan.problems.append(inexact(self._step.index, name, lossy))
            own_lookups.tell(
                plan,
                {f"let.{key}": spec for key, spec in self._step.options.get("let", {}).items()},
                collection=collection,
                where=self._where,
                changed=(),
                does="takes away",
                step=self._step.index,
                scope=self._scope,
            )
            plan.change(collection.name, self._where)
            known = self._scope.rewrites.setdefault(collection.name, [])
            if self._chosen:
                known.append(Rewrite.untold(None))
            else:
                self._scope.leave(collection.name, self._where)
                known.append(Rewrite.going(self._where))
            plan.rows.append(
                self.row(
                    name,
                    collection.name,
                    documents=collection.count_documents({}, comment=self._scope.comment),
                    candidates=count,
                    to_remove=count,
                    bytes=size,
                    samples=samples,
                    amounts=amounts(removes=count),
                )
            )
        return plan

    def apply(self, writer: Writer, position: dict[str, Any]) -> None:
        """Delete batch by batch, until nothing matches."""
        here = {"step": self._step.index}
        for name, collection in self._targets:
            for _pass in range(_MOST_PASSES):
                if not self._pass(writer, name, collection, here):
                    break
            else:
                raise MigrationError(
                    f"{name}: writers make documents faster than they can be deleted. Stop the "
                    f"writers ({commands.STOP_WRITERS}), then run the same command again."
                )

    def check(self) -> Iterator[Check]:
        """Look for what should be gone."""
        for name, collection in self._targets:
            left, samples = self._left(collection)
            unclear = self._unfit(collection) if self._chosen else {}
            yield Check(
                name=f"{name}: nothing is left of what was to be deleted",
                passed=not left,
                expected=0,
                observed=left,
                examined=collection.estimated_document_count(comment=self._scope.comment),
                samples=samples,
                # The plan refuses them: these came, or changed, after it.
                left_alone=[
                    left_alone.item(
                        name,
                        f"came after the plan, and nobody can tell whether it goes: {what}",
                        policy=_CLEAR,
                        count=len(ids),
                        ids=ids,
                    )
                    for what, ids in unclear.items()
                ],
            )

    def _left(self, collection: Collection[dict[str, Any]]) -> tuple[int, list[Any]]:
        """Return how many there are that should go, and some of them."""
        if self._chosen:
            ids = [document["_id"] for document, _length, _exact in self._read(collection)]
            return len(ids), ids[:_SAMPLES]
        left = collection.count_documents(self._where, comment=self._scope.comment)
        rows = collection.find(self._where, {"_id": 1}).limit(_SAMPLES) if left else ()
        return left, [row["_id"] for row in rows]

    def _unfit(self, collection: Collection[dict[str, Any]]) -> dict[str, list[Any]]:
        """Return, by the reason, the documents of which nobody can tell whether they go."""
        found: dict[str, list[Any]] = {}
        for row in rows_of(reader_of(collection, self._step, self._scope)):
            for trouble in row.troubles:
                found.setdefault(f"{trouble.path}: {trouble.why}", []).append(row.identity)
        return found

    def _unclear(self, name: str, what: str, ids: list[Any]) -> dict[str, Any]:
        return problem(
            step=self._step.index,
            collection=name,
            what=what,
            count=len(ids),
            samples=ids[:_SAMPLES],
            policy=_CLEAR,
            fix="say `otherwise` in the source, or leave these documents out with `where`",
        )

    def _read(
        self, collection: Collection[dict[str, Any]]
    ) -> Iterator[tuple[dict[str, Any], int, bool]]:
        if self._chosen:
            rows = rows_of(reader_of(collection, self._step, self._scope))
            raws = (row.document for row in rows if not row.skipped and not row.troubles)
            return whole_documents.judged(raws, collection.codec_options)
        where = self._scope.staying(collection.name, self._where)
        return whole_documents.read(collection, where=where, comment=self._scope.comment)

    def _pass(
        self,
        writer: Writer,
        name: str,
        collection: Collection[dict[str, Any]],
        here: Mapping[str, Any],
    ) -> bool:
        """Delete what matches now; return whether there was anything."""
        some: Batch = []
        size, found = 0, False
        for document, length, exact in self._read(collection):
            found = True
            if not exact:
                raise MigrationError(
                    f"{name} {ejson.short(document['_id'])} came or changed after the plan: it "
                    "holds a value that could not be put back. Correct it, then run the same "
                    "command again."
                )
            if some and (
                size + length > whole_documents.MOST_BYTES
                or len(some) >= writer.settings.batch_size
            ):
                self._delete_all(writer, name, collection, some, here)
                some, size = [], 0
            some.append(document)
            size += length
        if some:
            self._delete_all(writer, name, collection, some, here)
        return found

    def _delete_all(
        self,
        writer: Writer,
        name: str,
        collection: Collection[dict[str, Any]],
        documents: Batch,
        here: Mapping[str, Any],
    ) -> None:
        writer.capacity.in_parts(
            documents, lambda part: self._delete(writer, name, collection, list(part), here)
        )

    def _delete(
        self,
        writer: Writer,
        name: str,
        collection: Collection[dict[str, Any]],
        documents: Batch,
        here: Mapping[str, Any],
    ) -> None:
        entry = {
            "kind": KIND,
            "step": self._step.index,
            "collection": collection.name,
            "removed": documents,
        }
        try:
            writer.commit(
                entry,
                _write(writer, collection, documents),
                position=here,
                documents=len(documents),
            )
        except StaleBatchError:
            return  # changed in between: the next pass reads it again
        writer.meter.advance(
            len(documents),
            step=self._step.index,
            kind=KIND,
            collection=name,
            batch=len(documents),
        )


def rows_of(reader: Reader) -> Iterator[Document]:
    """Yield what *reader* reads, page by page."""
    position: dict[str, Any] = {}
    while rows := reader.page(position, _PAGE):
        position = {"last": rows[-1].identity}
        yield from rows


def _write(writer: Writer, collection: Collection[dict[str, Any]], documents: Batch) -> Write:
    """Return the write of one batch: each document as it was journalled, or not at all."""
    ids = [document["_id"] for document in documents]
    alone = writer.settings.writers_stopped and "baseline" in writer.run.document

    def exactly() -> list[Statement]:
        return [
            DeleteOne({"_id": one["_id"], "$expr": {"$eq": ["$$ROOT", {"$literal": one}]}})
            for one in documents
        ]

    def write(session: ClientSession | None) -> dict[str, int]:
        nobody_else_writes = alone and session is not None
        statements = [DeleteMany({"_id": {"$in": ids}})] if nobody_else_writes else exactly()
        count = writer.write(collection, statements, session)
        if count != len(documents):
            if session is not None:
                raise StaleBatchError
            rows = collection.find({"_id": {"$in": ids}}, {"_id": 1}, comment=writer.comment)
            left = {hashable(row["_id"]) for row in rows}
            gone = [one for one in documents if hashable(one["_id"]) not in left]
            writer.journal.amend(writer.seq + 1, removed=gone)
        return {"deleted": count}

    return write


def inexact(step: int, name: str, ids: list[Any]) -> dict[str, Any]:
    """Return the problem of documents that could not be put back."""
    return problem(
        step=step,
        collection=name,
        what="holds a value of a type that BSON no longer has, a field twice, or a timestamp of "
        "zero: it can't be put back as it is",
        count=len(ids),
        samples=ids[:_SAMPLES],
        policy="a rollback is exact",
        fix="correct these documents",
    )
