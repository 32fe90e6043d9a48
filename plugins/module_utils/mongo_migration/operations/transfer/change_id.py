"""``change_id``: documents get another ``_id``; what refers to them follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pymongo.client_session import ClientSession

from ...document import reads
from ...document.collections import Collections
from ...document.definition import Step
from ...document.value_sources import Scope
from ...ledger.batches import Writer
from ...support.chunks import chunks
from ...support.tables import aligned, number, place
from ...values import edits, ejson
from ...values.compare import hashable
from ..base import Check, Need, Operation, Plan, Row, Touched, amounts
from ..update.reader import Row as Document
from . import planning
from .contract import Transfer
from .items import Item, Load, id_of, key_of, pairs_of
from .reading import changes_of, reader_of
from .references import Reference, Renaming, build, declared
from .walk import Walk

KIND = "change_id"
_AT_ONCE = 1000
_SAMPLES = 5
# What refers to one document and is more than this is let follow in batches of its own.
_MANY = 5000


class ChangeId(Operation):
    """See the module. Options are those of the schema's ``change_id``."""

    KIND = KIND
    VARIABLES = ()

    def __init__(self, step: Step, scope: Scope) -> None:
        super().__init__(step, scope)
        name = step.options["in"]
        self._transfer = None if scope.collections.absent(name) else _ChangeId(step, scope, name)

    @staticmethod
    def names(options: Mapping[str, Any]) -> set[str]:
        """Return the collection, and those that refer to it."""
        return {options["in"], *options["referenced_by"]}

    @staticmethod
    def reach(step: Step, names: Collections) -> list[Touched]:
        """Return the collection, and the fields that refer to it."""
        real = names.real_name(step.options["in"])
        return [
            Touched(collection=real, inserts=True, removes=True, other_ids=True),
            *(
                Touched(collection=names.real_name(name), field=path.split(".")[0], places=True)
                for name, path in declared(step.options)
                if not names.absent(name)
            ),
        ]

    @staticmethod
    def lines(rows: Sequence[Row]) -> list[str]:
        """Return how many documents get another ``_id``, and how many follow."""
        heads = ["new _id", "field", "documents", "to change", "left"]
        body = [
            [
                place(row),
                row["field"],
                *(number(row[k]) for k in ("documents", "to_change", "left")),
            ]
            for row in rows
        ]
        return aligned([heads, *body], numeric_from=2)

    @staticmethod
    def diff(row: Row) -> tuple[list[str], list[str]]:
        """Return some documents as they are and as they would be."""
        before, after = [], []
        if row["to_change"]:
            before.append(f"{row['real_name']}: 0 documents with another {row['field']}")
            after.append(f"{row['real_name']}: {row['to_change']:,} with another {row['field']}")
        for shown in row["preview"]:
            before.append(f"{row['real_name']} {ejson.short(shown['before'], 400)}")
            after += [f"{row['real_name']} {ejson.short(one, 400)}" for one in shown["comes"]]
        return before, after

    def needs(self) -> Iterator[Need]:
        """Yield what goes, which is whole documents, and what refers to it."""
        if self._transfer is None:
            return
        yield Need(collection=self._transfer.target.name, fields=None)
        for reference in self._transfer.references:
            name = reference.collection.name
            yield Need(collection=name, fields=reads.fields(paths=[reference.path]))
        yield from self.needs_of_sources(changes_of(self._step.options))

    def plan(self) -> Plan:
        """Compute each new ``_id``, and look for what is in its way and what refers to the old."""
        plan, transfer = Plan(), self._transfer
        if transfer is None:
            plan.warnings.append(f"{self._step.options['in']}: the inventory maps it to null")
            return plan
        found = planning.survey(transfer, seen=set())
        planning.tell(plan, transfer, found)
        planning.tell_own_lookups(plan, transfer.target, self._step, self._scope, "changes")
        settles = transfer.settles and transfer.keeps(found.previews)
        if not settles:
            plan.warnings.append(
                f"{transfer.name}: documents that the application brings in while this runs keep "
                "their _id, since nothing in them says whether it is a new one: stop the writers"
            )
        for field in {"_id", *transfer.reader.compiled.fields}:
            plan.change(transfer.target.name, {}, field)
        row = self._row(transfer.name, transfer.target.name, "_id", found.carried, found)
        plan.rows.append({**row, "settles": settles})
        for reference in transfer.references:
            within = reference.collection.name == transfer.target.name
            self._plan_reference(plan, reference, found, within=within)
        return plan

    def _plan_reference(
        self, plan: Plan, reference: Reference, found: planning.Survey, *, within: bool
    ) -> None:
        count, most = 0, 0
        samples: list[dict[str, Any]] = []
        # Of the documents that get another _id themselves, that is what is counted.
        carried = {hashable(id_of(old)) for old, _new in found.pairs} if within else set()
        for pairs in chunks(found.pairs, _AT_ONCE):
            renaming = Renaming(pairs)
            here = reference.count(renaming)
            both = reference.ids(renaming) if carried and here else []
            count += here - sum(hashable(one) in carried for one in both)
            most = max(most, here)
            if here and not samples:
                rows = reference.rows(renaming, limit=2)
                samples = [planning.changed(row) for row in rows]
        plan.change(reference.collection.name, {reference.path: {"$exists": True}}, reference.field)
        row = self._row(reference.name, reference.collection.name, reference.path, count, None)
        plan.rows.append({**row, "preview": samples})
        if found.carried > _AT_ONCE and not reference.has_index():
            plan.warnings.append(
                f"{reference.name}: no index leads to {reference.path}, so that each batch of new "
                "_ids reads the whole collection: build one first"
            )
        if most > _MANY:
            plan.warnings.append(
                f"{reference.name}: where more than {_MANY:,} documents refer to one, some refer "
                "for a while to an _id that doesn't exist yet: stop the writers"
            )

    def _row(
        self, name: str, real: str, field: str, count: int, found: planning.Survey | None
    ) -> dict[str, Any]:
        collection = self._scope.collections.database[real]
        return {
            "step": self._step.index,
            "kind": KIND,
            "collection": name,
            "real_name": real,
            "field": field,
            "documents": collection.count_documents({}, comment=self._scope.comment),
            "candidates": found.matched if found else count,
            "to_change": count,
            "left": found.left if found else 0,
            "preview": found.previews if found else [],
            "amounts": amounts(changes=count),
        }

    def apply(self, writer: Writer, position: dict[str, Any]) -> None:
        """Go along the collection, in the order of the old ``_id``s."""
        if self._transfer is not None:
            start = {**position, "step": self._step.index}
            self._transfer.settles = any(
                row.get("settles", False)
                for row in writer.run.document["plan"]["steps"]
                if row["step"] == self._step.index
            )
            Walk(self._transfer, writer=writer, created=False).run(start)

    def left_behind(self, entry: Mapping[str, Any]) -> list[Any]:
        """Return the ids of documents that refer to an ``_id`` from before."""
        if self._transfer is None:
            return []
        renaming = Renaming(pairs_of(entry))
        return [
            row.identity
            for reference in self._transfer.references
            for row in reference.rows(renaming, limit=_SAMPLES)
        ]

    def check(self) -> Iterator[Check]:
        """Look for documents that would get another ``_id`` once more."""
        transfer = self._transfer
        if transfer is None or not transfer.settles:
            return
        found = planning.survey(transfer, seen=None)
        left = found.carried
        if left and not transfer.keeps(found.previews):
            return  # what would be another one each time doesn't tell whether it was given
        yield Check(
            name=f"{transfer.name}: every document has the _id that the migration gives it",
            passed=not left,
            expected=0,
            observed=left,
            examined=transfer.target.estimated_document_count(comment=self._scope.comment),
        )


class _ChangeId(Transfer):
    """What gets another ``_id``."""

    kind = KIND
    removes = True

    def __init__(self, step: Step, scope: Scope, name: str) -> None:
        self.step = step.index
        self.name = name
        self.target = scope.collections.get(name, write=True)
        self.reader = reader_of(self.target, step, scope)
        comment = scope.comment or "migration-playbooks"
        self._touched = set(self.reader.compiled.fields)
        self.references = build(step.options, scope.collections, comment)
        ((source, _body),) = step.options["id"].items()
        # What is generated is another one each time.
        self.settles = source != "generate" and not self.reader.compiled.varies

    def wanted(self, row: Document) -> bool:
        """All whose ``_id`` would be another one."""
        return row.key != key_of(row.after)

    def item(self, row: Document) -> tuple[Item, Document | None]:
        """Return the document with its new ``_id``."""
        made = edits.merged(row.document, self._touched, row.after)
        return Item(source=row.key, removed=row.document, documents=(made,)), None

    def new_ids(self, row: Document) -> list[Any]:
        """Return the new ``_id``."""
        return [id_of(row.after)]

    def leaves(self, row: Document) -> bool:
        """Never: two documents can't have one ``_id``."""
        del row
        return False

    def keeps(self, previews: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether documents that have their new ``_id`` keep it, by some of them."""
        return all(self._keeps(one) for shown in previews for one in shown["comes"])

    def _keeps(self, document: Mapping[str, Any]) -> bool:
        if self.reader.sources:
            return True  # what is looked up by an _id that is new isn't found
        stages: list[dict[str, Any]] = [
            {"$documents": [{"$literal": document}]},
            {"$match": self.reader.where},
            {"$match": {"$expr": {"$ne": ["$_id", self.reader.compiled.fields["_id"]]}}},
        ]
        return not list(self.target.database.aggregate(stages, comment=self.reader.comment))

    def load(self, rows: Sequence[Document], session: ClientSession | None) -> Load:
        """Return the documents, with the references within them and those of others."""
        renaming = Renaming((row.key, key_of(row.after)) for row in rows)
        mine = [one for one in self.references if one.collection.name == self.target.name]
        ids = [row.identity for row in rows]
        items = []
        for row in rows:
            item, _owner = self.item(row)
            (made,) = item.documents
            for reference in mine:
                made = renaming.applied(made, reference.path)
            items.append(Item(source=item.source, removed=item.removed, documents=(made,)))
        return Load(
            items=items,
            references=[
                self.repointed(
                    one, one.rows(renaming, without=ids if one in mine else (), session=session)
                )
                for one in self.references
            ],
            pairs=[(row.key, key_of(row.after)) for row in rows] if self.references else (),
        )
