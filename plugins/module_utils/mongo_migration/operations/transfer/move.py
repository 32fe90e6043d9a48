"""``move``: documents go to another collection, or are copied there, and may change on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pymongo.collection import Collection

from ...document import reads
from ...document.collections import Collections, fitting
from ...document.definition import Step
from ...document.value_sources import Scope
from ...errors import DefinitionError
from ...ledger.batches import Writer
from ...support.tables import aligned, number, place
from ...values import edits, ejson
from .. import ddl
from ..base import Check, Need, Operation, Plan, Row, Touched, amounts
from ..futures import Rewrite
from ..update.reader import Reader
from ..update.reader import Row as Document
from . import foresight, planning
from .contract import Transfer
from .items import Item, id_of
from .reading import changes_of, reader_of
from .walk import Walk

KIND = "move"


class Move(Operation):
    """See the module. Options are those of the schema's ``move``."""

    KIND = KIND
    VARIABLES = ("collection", "matched")
    TARGET = str
    TELLS_LEAVING = True

    def __init__(self, step: Step, scope: Scope) -> None:
        super().__init__(step, scope)
        options, names = step.options, scope.collections
        self._into_name: str = options["into"]
        self._into = names.target(self._into_name, write=True)
        if self._into_name in _named(options):
            raise DefinitionError(
                f"steps[{step.index}].{KIND}.into: '{self._into_name}' is among those that it "
                "moves from; to give documents another _id, use change_id"
            )
        _check_groups(options, f"steps[{step.index}].{KIND}")
        self._transfers = [
            _Move(step, scope, name=name, source=collection, target=self._into, groups=groups)
            for name, collection, groups in self._sources()
        ]

    def _sources(self) -> Iterator[tuple[str, Collection[dict[str, Any]], dict[str, str]]]:
        options, names = self._step.options, self._scope.collections
        for name in sorted(_named(options), key=names.real_name):
            if not names.absent(name):
                yield name, names.get(name, write=True), {}
        for real, groups in _matching(options, names):
            yield real, names.get(real, write=True), groups

    @staticmethod
    def names(options: Mapping[str, Any]) -> set[str]:
        """Return where documents come from and go to; those found by pattern are real ones."""
        return {*_named(options), options["into"]}

    @staticmethod
    def reach(step: Step, names: Collections) -> list[Touched]:
        """Return where documents come from and go to."""
        options = step.options
        reals = [names.real_name(name) for name in _named(options) if not names.absent(name)]
        reals += [real for real, _groups in _matching(options, names)]
        into = Touched(collection=names.real_name(options["into"]), inserts=True)
        if options.get("copy"):
            return [into]
        return [into, *(Touched(collection=real, removes=True) for real in reals)]

    @staticmethod
    def lines(rows: Sequence[Row]) -> list[str]:
        """Return how many documents would go where, and some of them."""
        rows = [row for row in rows if "to_move" in row]
        heads = ["moves from", "into", "documents", "to move", "left"]
        body = [
            [
                place(row),
                row["into"],
                *(number(row[key]) for key in ("documents", "to_move", "left")),
            ]
            for row in rows
        ]
        return aligned([heads, *body], numeric_from=2)

    @staticmethod
    def diff(row: Row) -> tuple[list[str], list[str]]:
        """Return some documents, where they are and where they would be."""
        label, total = f"{row['real_name']}: {{:,}} documents", row["documents"]
        if "to_move" not in row:
            return [label.format(total)], [label.format(total + row["to_insert"])]
        before, after = [label.format(total)], [label.format(total - row["to_remove"])]
        for shown in row["preview"]:
            before.append(f"{row['real_name']} {ejson.short(shown['before'], 400)}")
            if not row["to_remove"]:
                after.append(before[-1])
            after += [f"{row['into']} {ejson.short(one, 400)}" for one in shown["comes"]]
        return before, after

    def needs(self) -> Iterator[Need]:
        """Yield what goes, which is whole documents."""
        for transfer in self._transfers:
            yield Need(collection=transfer.reader.collection.name, fields=None)
        yield from self.needs_of_sources(changes_of(self._step.options))

    def plan(self) -> Plan:
        """Read what would go, count it, and show some of it."""
        plan = Plan()
        several = len(self._transfers) > 1 or "id" in self._step.options
        seen: set[bytes] | None = set() if several else None
        documents: list[dict[str, Any]] = []
        total = 0
        for transfer in self._transfers:
            found = planning.survey(transfer, seen=seen)
            planning.tell(plan, transfer, found)
            documents += found.documents
            total += found.coming
            if transfer.removes:
                source = transfer.reader.collection
                planning.tell_own_lookups(plan, source, self._step, self._scope, "takes away")
                plan.change(transfer.reader.collection.name, dict(transfer.reader.where))
                if not found.left and "only_if" not in self._step.options:
                    self._scope.leave(transfer.reader.collection.name, transfer.reader.where)
                    known = self._scope.rewrites.setdefault(transfer.reader.collection.name, [])
                    known.append(Rewrite.going(transfer.reader.where))
            plan.rows.append(self._row(transfer, found))
        planning.tell_own_lookups(plan, self._into, self._step, self._scope, "brings")
        foresight.tell_coming(plan, self._scope, self._step, documents=documents, total=total)
        if not self._transfers:
            plan.warnings.append(f"steps[{self._step.index}].{KIND}: no collection matches")
        return plan

    def _row(self, transfer: Transfer, found: planning.Survey) -> dict[str, Any]:
        collection = transfer.reader.collection
        gone = found.carried if transfer.removes else 0
        return {
            "step": self._step.index,
            "kind": KIND,
            "collection": transfer.name,
            "real_name": collection.name,
            "into": self._into_name,
            "documents": collection.count_documents({}, comment=self._scope.comment),
            "candidates": found.matched,
            "to_move": found.carried,
            "to_remove": gone,
            "left": found.left,
            "preview": found.previews,
            "amounts": amounts(removes=gone),
        }

    def apply(self, writer: Writer, position: dict[str, Any]) -> None:
        """Carry the documents over, collection by collection, in the order of their real names."""
        created = ddl.listed(writer.database, self._into.name) is None
        first = position.get("target", "")
        for transfer in self._transfers:
            real = transfer.reader.collection.name
            if real < first:
                continue
            start = {"step": self._step.index, "target": real}
            walk = Walk(transfer, writer=writer, created=created)
            walk.run({**position, **start} if real == first else start)
            created = False

    def check(self) -> Iterator[Check]:
        """Look for what should have gone, or should be there as well."""
        for transfer in self._transfers:
            if not transfer.removes and transfer.reader.sources:
                continue  # a copy with an _id that was made once can't be found by its original
            left = planning.survey(transfer, seen=None).carried
            yield Check(
                name=f"nothing is left in {transfer.name} of what goes to {self._into_name}",
                passed=not left,
                expected=0,
                observed=left,
                examined=self._into.estimated_document_count(comment=self._scope.comment),
            )


class _Move(Transfer):
    """What goes from one collection."""

    kind = KIND

    def __init__(
        self,
        step: Step,
        scope: Scope,
        *,
        name: str,
        source: Collection[dict[str, Any]],
        target: Collection[dict[str, Any]],
        groups: Mapping[str, str],
    ) -> None:
        options = step.options
        self.step = step.index
        self.name = name
        self.reader: Reader = reader_of(
            source, step, scope, constants={"collection": name, "matched": dict(groups)}
        )
        self.target = target
        self.removes = not options.get("copy", False)
        self.settles = self.removes
        self._touched = set(self.reader.compiled.fields)
        self._skips: bool = options.get("when_exists", "fail") == "skip"

    def wanted(self, row: Document) -> bool:
        """All that matches."""
        del row
        return True

    def item(self, row: Document) -> tuple[Item, Document | None]:
        """Return the document, changed."""
        made = edits.merged(row.document, self._touched, row.after)
        removed = row.document if self.removes else None
        return Item(source=row.key, removed=removed, documents=(made,)), None

    def new_ids(self, row: Document) -> list[Any]:
        """Return the ``_id`` that it gets."""
        return [id_of(row.after) if "_id" in self._touched else row.identity]

    def leaves(self, row: Document) -> bool:
        """By policy."""
        del row
        return self._skips


def _named(options: Mapping[str, Any]) -> list[str]:
    named = options["from"]
    return [] if isinstance(named, dict) else list(named)


def _check_groups(options: Mapping[str, Any], where: str) -> None:
    """Refuse `$$matched.<group>` of a group that the pattern doesn't have: it would be nothing.

    Raises:
        DefinitionError: there is one.
    """
    named = options["from"]
    pattern = named["matching"] if isinstance(named, dict) else ""
    groups = fitting(pattern, f"{where}.from.matching").groupindex
    wanted = {path.split(".")[1] for path in reads.paths(options) if path.startswith("matched.")}
    for group in sorted(wanted - groups.keys()):
        raise DefinitionError(
            f"{where}: $$matched.{group}: the pattern has no group of that name; name it by "
            f"(?P<{group}>…) in from.matching, which has {', '.join(groups) or 'none'}"
        )


def _matching(
    options: Mapping[str, Any], names: Collections
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the real collections whose name fits the pattern, with its named groups."""
    named = options["from"]
    if not isinstance(named, dict):
        return
    into = names.real_name(options["into"])
    pattern = fitting(named["matching"], "move.from.matching")
    for real in sorted(names.ordinary()):
        found = pattern.search(real)
        if found and real != into and not real.startswith("_migrations"):
            yield real, {key: value or "" for key, value in found.groupdict().items()}
