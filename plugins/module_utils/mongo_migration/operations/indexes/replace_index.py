"""``replace_index``: an index gets other options under its name: dropped, and rebuilt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pymongo.database import Database

from ...document.collections import Collections
from ...document.definition import Step
from ...document.value_sources import Scope
from ...ledger.batches import Writer
from ...ledger.journal import Entry
from ...ledger.shapes import Shape
from ...support.tables import place
from ...values import ejson
from .. import ddl
from ..base import Check, Plan, Row, Touched, amounts
from ..ddl import ReshapeEntry
from ..entries import Remaining, Revert
from ..refusals import geometry, parallel_arrays, unique_indexes
from . import index_specs
from .create_index import default_name, spec_of, unique_fields
from .drop_index import NamedIndexStep, find, rebuild, same

KIND = "replace_index"


class ReplaceIndex(NamedIndexStep):
    """See the module. Options are those of the schema's ``replace_index``."""

    KIND = KIND

    def __init__(self, step: Step, scope: Scope) -> None:
        named = {**step.options, "name": default_name(step.options)}
        super().__init__(
            Step(index=step.index, kind=step.kind, name=step.name, when=step.when, options=named),
            scope,
        )
        self._spec = spec_of(named)

    @staticmethod
    def reach(step: Step, names: Collections) -> list[Touched]:
        """Return the index of each collection."""
        index, unique = default_name(step.options), unique_fields(step.options)
        return [
            Touched(collection=names.real_name(name), index=index, unique=unique, unusable=True)
            for name in step.options["collections"]
            if not names.absent(name)
        ]

    @staticmethod
    def indexes(options: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the new index."""
        yield "", spec_of(options)

    @staticmethod
    def lines(rows: Sequence[Row]) -> list[str]:
        """Return each index with what it is now and what it becomes."""
        lines = ["Indexes to replace"]
        for row in rows:
            lines += [
                f"  {place(row)}.{row['index']}",
                f"    from  {ejson.short(row['was'], 200)}",
                f"    to    {ejson.short(row['becomes'], 200)}",
            ]
        return lines

    @staticmethod
    def diff(row: Row) -> tuple[list[str], list[str]]:
        """Return the specifications."""
        label = f"{row['real_name']}: index {row['index']} {{}}"
        return [label.format(ejson.short(row["was"], 300))], [
            label.format(ejson.short(row["becomes"], 300))
        ]

    def plan(self) -> Plan:
        """Say what is there, and that queries are without the index while it is built."""
        plan = Plan()
        for name, real in self._targets:
            there, collection = self.there(real), self._scope.collections.database[real]
            done = there is not None and same(there, self._whole(real))
            row = self.row_of(name, real, was=there, becomes=self._spec)
            if there is None:
                plan.problems.append(self.missing(name, real))
            elif not done:
                plan.warnings.append(
                    f"{name}: queries are without the index {self._name} while it is built over "
                    f"about {row['documents']:,} documents"
                )
            told: dict[str, Any] = {
                "step": self._step.index,
                "name": name,
                "collection": collection,
            }
            if not done and self._spec.get("unique"):
                unique_indexes.tell(plan, self._scope, self._whole(real), **told)
            if not done:
                geometry.tell(plan, self._scope, self._whole(real), **told)
                parallel_arrays.tell(plan, self._scope, self._whole(real), **told)
            plan.rows.append({**row, "amounts": amounts(builds=int(not done))})
        return plan

    def entry(self, real: str, writer: Writer) -> dict[str, Any] | None:
        """Return both specifications."""
        there = self.there(real)
        if there is not None and same(there, self._whole(real)):
            return None
        return {"spec": self._whole(real), "was": there}

    def change(self, writer: Writer, real: str, entry: Entry) -> None:
        """Drop what is there and build the other one."""
        there = self.there(real)
        if there is not None and not same(there, self._whole(real)):
            ddl.run(writer, {"dropIndexes": real, "index": self._name})
        ddl.build(writer, self._scope.collections.database[real], self._spec)

    def check(self) -> Iterator[Check]:
        """Compare the whole specification."""
        for name, real in self._targets:
            there = self.there(real)
            yield Check(
                name=f"{name}: index {self._name} is the new one",
                passed=there is not None and same(there, self._whole(real)),
                expected=self._whole(real),
                observed=there,
                examined=1,
            )

    def _whole(self, real: str) -> dict[str, Any]:
        options = (ddl.listed(self._scope.collections.database, real) or {}).get("options", {})
        if "collation" not in self._spec and options.get("collation"):
            return {**self._spec, "collation": options["collation"]}
        return self._spec


class ReplacedIndex(ReshapeEntry):
    """An index was replaced by another one of its name."""

    kind = KIND
    shape: ClassVar[Shape] = {
        "spec": index_specs.is_spec,
        "was": lambda value: value is None or index_specs.is_spec(value),
    }

    def touched(self, entry: Entry) -> Touched:
        """Return the index."""
        return Touched(collection=entry["collection"], index=entry["spec"]["name"])

    def touches(self, entry: Entry) -> list[Touched]:
        """Return the index that was built, and that from before: one name."""
        was = entry["was"] or entry["spec"]
        return [
            self.touched(entry),
            Touched(collection=entry["collection"], index=was["name"]),
        ]

    def label(self, entry: Entry) -> str:
        """Return the index."""
        return f"{entry['collection']}.{entry['spec']['name']}"

    def remaining(self, database: Database[dict[str, Any]], entry: Entry) -> Remaining:
        """Return the index, if it isn't the old one."""
        name, was = entry["spec"]["name"], entry["was"]
        there = find(database, entry["collection"], name)
        back = there is None if was is None else there is not None and same(there, was)
        return Remaining(
            what=f"{entry['collection']}: index {name} is as it was",
            examined=1,
            left=[] if back else [name],
        )

    def revert(self, writer: Writer, entry: Entry, on_conflict: str, step: Step | None) -> None:
        """Give the old one back, unless it is neither of the two by now."""
        del step
        name, spec, was = entry["collection"], entry["spec"], entry["was"]
        undone = Revert(writer, entry, "rebuilt")
        there = find(writer.database, name, spec["name"])
        if there is not None and same(there, spec):
            ddl.run(writer, {"dropIndexes": name, "index": spec["name"]})
        if was is not None:
            rebuild(writer, undone, name, was, on_conflict)
        undone.count = int(not undone.conflicts)
        undone.commit(lambda _session: None)
