"""``extract``: what is embedded in documents becomes documents of a collection of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bson.objectid import ObjectId

from ...document import reads
from ...document.collections import Collections
from ...document.definition import Step
from ...document.value_sources import Scope
from ...errors import DefinitionError
from ...ledger.batches import Writer
from ...support.tables import aligned, number, place
from ...values import edits, ejson
from ...values.compare import bind_now
from ...values.elements import ARRAY, DOCUMENT, elements, field
from .. import ddl
from ..base import Check, Need, Operation, Plan, Row, Touched, amounts
from ..bodies import Body, of_document
from ..update.expressions import Compiled, Fault, present
from ..update.reader import Reader
from ..update.reader import Row as Document
from . import foresight, planning
from .contract import Transfer
from .items import Item, id_of
from .walk import Walk

KIND = "extract"
_OBJECT_ID = 0x07
_NULL = 0x0A


class Extract(Operation):
    """See the module. Options are those of the schema's ``extract``."""

    KIND = KIND
    VARIABLES = ("this", "place")

    @classmethod
    def bodies(cls, step: Step) -> Iterator[Body]:
        """Yield what the server has to understand of *step*."""
        yield from super().bodies(step)
        yield from of_document(step, cls.VARIABLES, "document")

    def __init__(self, step: Step, scope: Scope) -> None:
        super().__init__(step, scope)
        options, names = step.options, scope.collections
        self._into_name: str = options["into"]
        self._into = names.target(self._into_name, write=True)
        if options["from"] == self._into_name:
            raise DefinitionError(
                f"steps[{step.index}].{KIND}.into: '{self._into_name}' is where they come from; "
                "name another collection"
            )
        self._transfer = (
            None if names.absent(options["from"]) else _Extract(step, scope, self._into)
        )

    @staticmethod
    def names(options: Mapping[str, Any]) -> set[str]:
        """Return the collection of the owners, and where documents go."""
        return {options["from"], options["into"]}

    @staticmethod
    def reach(step: Step, names: Collections) -> list[Touched]:
        """Return the touched fields of the owners, and where documents go."""
        owner = names.real_name(step.options["from"])
        return [
            Touched(collection=names.real_name(step.options["into"]), inserts=True),
            *(Touched(collection=owner, field=one, places=True) for one in _fields(step.options)),
        ]

    @staticmethod
    def lines(rows: Sequence[Row]) -> list[str]:
        """Return how many documents would come out of how many."""
        rows = [row for row in rows if "to_extract" in row]
        heads = ["extracts from", "field", "into", "documents", "to change", "to extract", "left"]
        keys = ("documents", "to_change", "to_extract", "left")
        body = [
            [place(row), row["field"], row["into"], *(number(row[key]) for key in keys)]
            for row in rows
        ]
        return aligned([heads, *body], numeric_from=3)

    @staticmethod
    def diff(row: Row) -> tuple[list[str], list[str]]:
        """Return some owners before and after, with what comes out of them."""
        if "to_extract" not in row:
            label, total = f"{row['real_name']}: {{:,}} documents", row["documents"]
            return [label.format(total)], [label.format(total + row["to_insert"])]
        before, after = [], []
        if row["to_change"]:
            before.append(f"{row['real_name']}: 0 documents without {row['field']}")
            after.append(f"{row['real_name']}: {row['to_change']:,} without {row['field']}")
        for shown in row["preview"]:
            head = f"{row['real_name']} {ejson.short(shown['_id'])}"
            before.append(f"{head} {ejson.short(shown['before'], 400)}")
            after.append(f"{head} {ejson.short(shown['after'], 400)}")
            after += [f"{row['into']} {ejson.short(one, 400)}" for one in shown["comes"]]
        return before, after

    def needs(self) -> Iterator[Need]:
        """Yield what decides what comes out of which documents."""
        if self._transfer is None:
            return
        options = self._step.options
        read = reads.fields(
            filters=[options.get("where", {})],
            expressions=[options["document"]],
            paths=_fields(options),
        )
        yield Need(collection=self._transfer.reader.collection.name, fields=read)

    def plan(self) -> Plan:
        """Read each owner, and count what would come out of it."""
        plan, transfer = Plan(), self._transfer
        if transfer is None:
            plan.warnings.append(f"{self._step.options['from']}: the inventory maps it to null")
            return plan
        found = planning.survey(transfer, seen=set())
        planning.tell(plan, transfer, found)
        collection = transfer.reader.collection
        for name in _fields(self._step.options):
            plan.change(collection.name, dict(transfer.reader.where), name)
        plan.rows.append(
            {
                "step": self._step.index,
                "kind": KIND,
                "collection": transfer.name,
                "real_name": collection.name,
                "field": self._step.options["field"],
                "into": self._into_name,
                "documents": collection.count_documents({}, comment=self._scope.comment),
                "candidates": found.matched,
                "to_change": found.carried,
                "to_extract": found.coming,
                "left": found.left,
                "preview": found.previews,
                "amounts": amounts(changes=found.carried),
            }
        )
        foresight.tell_coming(
            plan,
            self._scope,
            self._step,
            documents=found.documents,
            total=found.coming,
        )
        return plan

    def apply(self, writer: Writer, position: dict[str, Any]) -> None:
        """Go along the owners."""
        if self._transfer is not None:
            created = ddl.listed(writer.database, self._into.name) is None
            start = {**position, "step": self._step.index}
            Walk(self._transfer, writer=writer, created=created).run(start)

    def check(self) -> Iterator[Check]:
        """Look for owners that still hold what should have come out of them."""
        transfer = self._transfer
        if transfer is None or not transfer.settles:
            return
        left = planning.survey(transfer, seen=None).carried
        collection = transfer.reader.collection
        yield Check(
            name=f"{transfer.name}: nothing is left in {self._step.options['field']} of what goes "
            f"to {self._into_name}",
            passed=not left,
            expected=0,
            observed=left,
            examined=collection.estimated_document_count(comment=self._scope.comment),
        )


class _Extract(Transfer):
    """What comes out of the documents of one collection."""

    kind = KIND
    removes = False

    def __init__(self, step: Step, scope: Scope, target: Any) -> None:
        options = step.options
        self.step = step.index
        self.name = options["from"]
        self.target = target
        self._path: list[bytes] = options["field"].encode().split(b".")
        leave = options.get("leave")
        self._leave: list[bytes] | None = leave.encode().split(b".") if leave else None
        self.settles = leave != options["field"]
        made = _documents(options, scope)
        self.reader = Reader(
            collection=scope.collections.get(self.name, write=True),
            where={
                "$and": [
                    {options["field"]: {"$exists": True}},
                    scope.staying(
                        scope.collections.real_name(self.name),
                        bind_now(options.get("where", {}), scope.now),
                    ),
                ]
            },
            compiled=Compiled(
                fields={name: f"${name}" for name in _fields(options)},
                faults=list(_faults(options, made)),
                loses_fields=True,
                varies=False,
            ),
            sources={},
            labels={},
            comment=scope.comment or "migration-playbooks",
            on_error=options.get("when_unfit", "fail"),
            extra={"documents": made},
            computes=False,
        )

    def wanted(self, row: Document) -> bool:
        """All that would hold something else."""
        return self._after(row, []) != row.before

    def item(self, row: Document) -> tuple[Item, Document | None]:
        """Return what comes out of a document, and what it holds then."""
        documents = tuple(map(_with_id, _extracted(row)))
        after = self._after(row, [edits.field_of(raw, b"_id") for raw in documents])
        return (
            Item(source=row.key, removed=None, documents=documents),
            replace(row, after=after, extra=b""),
        )

    def new_ids(self, row: Document) -> list[Any]:
        """Return the ``_id``s that what comes out has already."""
        return [id_of(raw) for raw in _extracted(row) if field(raw, b"_id")]

    def leaves(self, row: Document) -> bool:
        """Never: nothing says which of two is meant."""
        del row
        return False

    def _after(self, row: Document, ids: Sequence[tuple[int, bytes]]) -> bytes:
        """Return the touched fields of a document from which *ids* were taken."""
        kind = edits.kind_at(row.before, self._path)
        if self._leave is None:
            return edits.dropped(row.before, self._path)
        left = row.before
        if self._leave != self._path:
            left = edits.dropped(left, self._path)
        if kind == ARRAY:
            named = [edits.field(k, str(n).encode(), value) for n, (k, value) in enumerate(ids)]
            return edits.put(left, self._leave, ARRAY, edits.document(named))
        if kind == DOCUMENT:
            return edits.put(left, self._leave, *(ids[0] if ids else (_NULL, b"")))
        return left


def _fields(options: Mapping[str, Any]) -> list[str]:
    """Return the top-level fields of an owner that are touched."""
    paths = [options["field"], *([options["leave"]] if "leave" in options else [])]
    return list(dict.fromkeys(path.split(".")[0] for path in paths))


def _extracted(row: Document) -> list[bytes]:
    """Return what the server made of each embedded document."""
    (found,) = elements(row.extra)
    whole = row.extra[found.start : found.stop]
    return [whole[one.start : one.stop] for one in elements(whole)]


def _with_id(raw: bytes) -> bytes:
    """Return a document with its ``_id`` in front, where the server puts it; or with a new one."""
    own = field(raw, b"_id")
    head = (
        edits.whole_field(raw, own) if own else edits.field(_OBJECT_ID, b"_id", ObjectId().binary)
    )
    others = (edits.whole_field(raw, one) for one in elements(raw) if one.name != b"_id")
    return edits.document([head, *others])


def _documents(options: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """Return the expression for what comes out of a document."""
    path = f"${options['field']}"
    single = {"$cond": [{"$eq": [{"$type": path}, "object"]}, [path], []]}
    this = {"$arrayElemAt": ["$$items", "$$place"]}
    made = {
        "$map": {
            "input": {"$range": [0, {"$size": "$$items"}]},
            "as": "place",
            "in": {
                "$let": {"vars": {"this": this}, "in": bind_now(options["document"], scope.now)}
            },
        }
    }
    items = {"$cond": [{"$isArray": [path]}, path, single]}
    return {"$let": {"vars": {"items": items}, "in": made}}


def _faults(options: Mapping[str, Any], made: Any) -> Iterator[Fault]:
    """Yield what can be wrong with an owner."""
    policy, path = options.get("when_unfit", "fail"), options["field"]
    fits = {
        "$and": [
            present("$", path),
            {"$in": [{"$type": f"${path}"}, ["array", "object", "null"]]},
        ]
    }
    why = "is neither an array nor a document, or lies within an array"
    yield Fault(path=path, policy=policy, why={"$cond": [fits, None, why]})
    types = {"$map": {"input": made, "as": "one", "in": {"$type": "$$one"}}}
    odd = {"$ne": [{"$setDifference": [types, ["object"]]}, []]}
    no_document = "what `document` makes of an element is not a document"
    yield Fault(path=path, policy=policy, why={"$cond": [odd, no_document, None]})
    leave = options.get("leave", path)
    if leave != path:
        there = {"$ne": [{"$type": f"${leave}"}, "missing"]}
        yield Fault(
            path=leave, policy=policy, why={"$cond": [there, "there is a value already", None]}
        )
