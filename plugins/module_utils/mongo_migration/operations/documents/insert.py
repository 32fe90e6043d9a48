"""``insert``: fixed documents, found again by a key; one that exists is left as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import bson
from bson import ObjectId
from pymongo import InsertOne
from pymongo.client_session import ClientSession

from ...document import reads
from ...document.collections import Collections
from ...document.definition import Step
from ...document.value_sources import Scope
from ...errors import DefinitionError
from ...ledger.batches import Writer
from ...ledger.journal import MOST_BYTES
from ...support.chunks import bounded, chunks
from ...support.tables import aligned, number, place
from ...values import compare, ejson
from .. import ddl
from ..base import Check, Need, Operation, Plan, Row, Touched, amounts, problem
from ..refusals.validators import tell_new

KIND = "insert"
_SAMPLES = 5
_BATCH = 1000


class Insert(Operation):
    """See the module. Options are those of the schema's ``insert``."""

    KIND = KIND

    def __init__(self, step: Step, scope: Scope) -> None:
        super().__init__(step, scope)
        options: dict[str, Any] = compare.bind_now(step.options, scope.now)
        self._name: str = options["into"]
        self._into = scope.collections.target(self._name, write=True)
        self._key: list[str] = options["key"]
        self._documents: list[dict[str, Any]] = options["documents"]
        self._referenced: dict[str, str] = options.get("referenced_by", {})
        where = f"steps[{step.index}].{KIND}"
        keys: set[bytes] = set()
        for index, document in enumerate(self._documents):
            if not set(self._key) <= set(document):
                raise DefinitionError(
                    f"{where}.documents[{index}]: it lacks a field of its key "
                    f"({', '.join(self._key)})"
                )
            token = self._token(document)
            if token in keys:
                raise DefinitionError(f"{where}.documents[{index}]: another one has its key")
            keys.add(token)

    @staticmethod
    def names(options: Mapping[str, Any]) -> set[str]:
        """Return where documents go."""
        return {options["into"]}

    @staticmethod
    def reach(step: Step, names: Collections) -> list[Touched]:
        """Return where documents go."""
        return [Touched(collection=names.real_name(step.options["into"]), inserts=True)]

    @staticmethod
    def lines(rows: Sequence[Row]) -> list[str]:
        """Return how many documents would be inserted, and some of them."""
        heads = ["inserts fixed", "to insert", "kept as they are"]
        body = [[place(row), number(row["to_insert"]), number(row["existing"])] for row in rows]
        shown = [f"  {ejson.short(one, 200)}" for row in rows for one in row["samples"]]
        return [*aligned([heads, *body], numeric_from=1), *shown]

    @staticmethod
    def diff(row: Row) -> tuple[list[str], list[str]]:
        """Return how many documents the collection has, and some that come."""
        label, total = f"{row['real_name']}: {{:,}} documents", row["documents"]
        new = [f"{row['real_name']}: {ejson.short(one, 400)}" for one in row["samples"]]
        return [label.format(total)], [label.format(total + row["to_insert"]), *new]

    def needs(self) -> Iterator[Need]:
        """Yield what decides which exist."""
        read = reads.fields(paths=self._key)
        yield Need(collection=self._into.name, fields=read, documents=False)

    def plan(self) -> Plan:
        """Say which exist, and what would be inserted."""
        plan, new = Plan(), self._new()
        planned = self._scope.planned.setdefault(self._name, [])
        planned += [{"_id": ObjectId(), **document} for document in new]
        self._plan_taken(plan, new)
        self._plan_refused(plan, new)
        plan.rows.append(
            {
                "step": self._step.index,
                "kind": KIND,
                "collection": self._name,
                "real_name": self._into.name,
                "documents": self._into.count_documents({}, comment=self._scope.comment),
                "candidates": len(new),
                "to_insert": len(new),
                "existing": len(self._documents) - len(new),
                "samples": new[:_SAMPLES],
                "amounts": amounts(inserts=len(new)),
            }
        )
        return plan

    def apply(self, writer: Writer, position: dict[str, Any]) -> None:
        """Insert what isn't there."""
        del position
        for some in chunks(self._new(), min(_BATCH, writer.settings.batch_size)):
            # Fixed by the journal before it is written: a repetition makes no second one.
            documents = [{"_id": ObjectId(), **document} for document in some]
            for fitting in bounded(documents, lambda one: len(bson.encode(one)), MOST_BYTES):
                writer.capacity.in_parts(fitting, lambda part: self._insert(writer, list(part)))

    def _insert(self, writer: Writer, documents: list[dict[str, Any]]) -> None:
        entry = {
            "kind": KIND,
            "step": self._step.index,
            "collection": self._into.name,
            "documents": documents,
            "referenced_by": [
                {"collection": self._scope.collections.real_name(name), "field": field}
                for name, field in self._referenced.items()
                if not self._scope.collections.absent(name)
            ],
            "created_collection": ddl.listed(writer.database, self._into.name) is None,
        }

        def write(session: ClientSession | None) -> dict[str, int]:
            writer.write(self._into, [InsertOne(document) for document in documents], session)
            return {"inserted": len(documents)}

        here = {"step": self._step.index}
        writer.commit(entry, write, position=here, documents=len(documents))
        writer.meter.advance(
            len(documents), step=self._step.index, kind=KIND, collection=self._name
        )

    def check(self) -> Iterator[Check]:
        """Look for each of them."""
        new = self._new()
        yield Check(
            name=f"{self._name}: one for each {', '.join(self._key)}",
            passed=not new,
            expected=len(self._documents),
            observed=len(self._documents) - len(new),
            examined=len(self._documents),
            samples=[{key: one[key] for key in self._key} for one in new[:_SAMPLES]],
        )

    def _new(self) -> list[dict[str, Any]]:
        """Return the documents whose key doesn't exist."""
        new = []
        planned = {self._token(one) for one in self._scope.planned.get(self._name, ())}
        for document in self._documents:
            exact = [{field: {"$eq": document[field]}} for field in self._key]
            wanted = self._scope.staying(self._into.name, {"$and": exact})
            there = self._into.find_one(wanted, {"_id": 1}, comment=self._scope.comment)
            if there is None and self._token(document) not in planned:
                new.append(document)
        return new

    def _token(self, document: Mapping[str, Any]) -> bytes:
        return compare.equal_token([document.get(field) for field in self._key])

    def _plan_taken(self, plan: Plan, new: list[dict[str, Any]]) -> None:
        """Look for documents that have the _id of one to come, under another key."""
        ids = [one["_id"] for one in new if "_id" in one]
        wanted = self._scope.staying(self._into.name, {"_id": {"$in": ids}})
        taken = [row["_id"] for row in self._into.find(wanted, {"_id": 1})] if ids else []
        if taken:
            plan.problems.append(
                problem(
                    step=self._step.index,
                    collection=self._name,
                    what="another document has this _id there",
                    count=len(taken),
                    samples=taken[:_SAMPLES],
                    policy="no document is overwritten",
                    fix="give the step's documents other _ids, or none",
                )
            )

    def _plan_refused(self, plan: Plan, new: list[dict[str, Any]]) -> None:
        tell_new(
            plan,
            self._scope,
            new,
            self._key,
            step=self._step.index,
            name=self._name,
            collection=self._into,
        )
