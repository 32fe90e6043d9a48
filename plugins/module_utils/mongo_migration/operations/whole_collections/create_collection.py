"""``create_collection``: with options, validator and indexes, where there is none of that name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pymongo.database import Database
from pymongo.errors import OperationFailure

from ...document.collections import Collections, aside
from ...document.definition import Step
from ...document.value_sources import Scope
from ...ledger.batches import Writer
from ...ledger.journal import Entry
from ...ledger.shapes import Shape
from ...support.tables import place
from ...values import compare, ejson
from .. import ddl
from ..base import Check, Plan, Row, Touched, amounts, problem
from ..ddl import Reshape, ReshapeEntry
from ..entries import Remaining, Revert
from ..indexes import index_specs
from ..indexes.create_index import spec_of
from ..indexes.drop_index import same

KIND = "create_collection"
_EXISTS = 48
_MADE = "made"
# Up to 6.0, the server makes the size of a capped collection a multiple of this, in bytes.
_CAPPED = 256


class CreateCollection(Reshape):
    """See the module. Options are those of the schema's ``create_collection``."""

    KIND = KIND

    def __init__(self, step: Step, scope: Scope) -> None:
        super().__init__(step, scope)
        options, names = step.options, scope.collections
        self._options = dict(options.get("options", {}))
        self._indexes = [spec for _place, spec in self.indexes(options)]
        name = options["name"]
        self._targets = [] if names.absent(name) else [(name, names.real_name(name))]

    @staticmethod
    def names(options: Mapping[str, Any]) -> set[str]:
        """Return the collection."""
        return {options["name"]}

    @staticmethod
    def creates(options: Mapping[str, Any]) -> set[str]:
        """Return the collection."""
        return {options["name"]}

    @staticmethod
    def indexes(options: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield those that it gets."""
        for index, one in enumerate(options.get("indexes", ())):
            yield f".indexes[{index}]", spec_of(one)

    @staticmethod
    def reach(step: Step, names: Collections) -> list[Touched]:
        """Return the collection."""
        return [Touched(collection=names.real_name(step.options["name"]), whole=True)]

    @staticmethod
    def lines(rows: Sequence[Row]) -> list[str]:
        """Return each collection with its options."""
        lines = ["Collections to make"]
        for row in rows:
            state = "exists" if row["there"] else "new"
            lines.append(f"  {place(row)}: {state}, {ejson.short(row['options'], 200)}")
            lines += [f"    index {ejson.short(one, 200)}" for one in row["keys"]]
        return lines

    @staticmethod
    def diff(row: Row) -> tuple[list[str], list[str]]:
        """Return whether it is there."""
        label = f"{row['real_name']}: collection {{}}"
        return [label.format("present" if row["there"] else "missing")], [label.format("present")]

    def plan(self) -> Plan:
        """Say what is made; a collection of that name with other options is in the way."""
        plan, database = Plan(), self._scope.collections.database
        for name, real in self._targets:
            there = ddl.listed(database, real)
            if wrong := self._differences(real) if there else self._refused():
                plan.problems.append(
                    problem(
                        step=self._step.index,
                        collection=name,
                        what="; ".join(wrong),
                        count=len(wrong),
                        samples=[],
                        policy="a collection that someone made is never changed by this step",
                        fix="make the step's options the same, or change the collection by "
                        "`validate`, `create_index` or `rebuild_collection`"
                        if there
                        else f"correct steps[{self._step.index}].{KIND}.options",
                    )
                )
            plan.rows.append(
                self.row(
                    name,
                    real,
                    documents=database[real].estimated_document_count() if there else 0,
                    there=there is not None,
                    options=self._options,
                    keys=self._indexes,
                    amounts=amounts(builds=int(there is None)),
                )
            )
        return plan

    def entry(self, real: str, writer: Writer) -> dict[str, Any] | None:
        """Return that it is ours, if there is none."""
        return None if ddl.listed(writer.database, real) else {"options": self._options}

    def change(self, writer: Writer, real: str, entry: Entry) -> None:
        """Make it with its indexes, or what an earlier attempt left out."""
        try:
            ddl.run(writer, {"create": real, **self._options})
        except OperationFailure as error:
            if error.code != _EXISTS:
                raise
        for spec in self._indexes:
            ddl.build(writer, writer.database[real], spec)

    def check(self) -> Iterator[Check]:
        """Compare options and indexes."""
        for name, real in self._targets:
            there = ddl.listed(self._scope.collections.database, real)
            wrong = self._differences(real) if there else ["it isn't there"]
            yield Check(
                name=f"{name}: the collection is as the migration says",
                passed=not wrong,
                expected="as the migration says",
                observed="as the migration says" if not wrong else "; ".join(wrong),
                examined=1,
            )

    def _refused(self) -> list[str]:
        """Return why the server would refuse the validator, as far as can be told by reading."""
        if not (rule := self._options.get("validator")):
            return []
        try:
            self._scope.collections.database["_migrations"].find_one(rule)
        except OperationFailure as error:
            return [f"the server refuses the validator: {str(error).split(', full error:')[0]}"]
        return []

    def _differences(self, real: str) -> list[str]:
        database = self._scope.collections.database
        found = (ddl.listed(database, real) or {}).get("options", {})
        have, want = completed(found), completed(self._options)
        wrong = [
            f"its {key} is {ejson.short(have.get(key), 200)}, not {ejson.short(want.get(key), 200)}"
            for key in sorted({*have, *want})
            if not compare.same(have.get(key), want.get(key))
        ]
        there = {one["name"]: one for one in ddl.indexes(database, real)}
        for spec in self._indexes:
            whole = spec
            if "collation" not in spec and "collation" in found:
                whole = {**spec, "collation": found["collation"]}
            if spec["name"] not in there or not same(there[spec["name"]], whole):
                wrong.append(f"index {spec['name']} is missing or another one")
        return wrong


def completed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of a collection as the server completes them, to be compared."""
    found = {key: value for key, value in options.items() if key not in ddl.RULE}
    found |= ddl.rule_in(options)
    if "timeseries" in found:
        # The server adds how much it puts into a bucket.
        series = {"granularity": "seconds", **found["timeseries"]}
        series.pop("bucketMaxSpanSeconds", None)
        found["timeseries"] = dict(sorted(series.items()))
    if isinstance(found.get("clusteredIndex"), Mapping):
        found["clusteredIndex"] = {
            key: found["clusteredIndex"].get(key) for key in ("key", "unique")
        }
    if "expireAfterSeconds" in found:
        found["expireAfterSeconds"] = float(found["expireAfterSeconds"])
    if found.get("capped") and isinstance(found.get("size"), int | float):
        found["size"] = -(-int(found["size"]) // _CAPPED) * _CAPPED
    if (collation := index_specs.collation(found.pop("collation", None))) is not None:
        found["collation"] = dict(sorted(collation.items()))
    return found


class MadeCollection(ReshapeEntry):
    """A collection was made."""

    kind = KIND
    shape: ClassVar[Shape] = {"options": dict}

    def touched(self, entry: Entry) -> Touched:
        """Return the collection."""
        return Touched(collection=entry["collection"], whole=True)

    def preview(self, entry: Entry) -> dict[str, Any]:
        """It is dropped."""
        return {"drop": [entry["collection"]]}

    def outcome(self, entry: Entry) -> dict[str, Any]:
        """Return it, if it was dropped."""
        return {"dropped": [] if entry.get("conflicts") else [entry["collection"]]}

    def remaining(self, database: Database[dict[str, Any]], entry: Entry) -> Remaining:
        """Return the collection, if it is there."""
        name = entry["collection"]
        return Remaining(
            what=f"{name}: the collection is gone",
            examined=1,
            left=[name] if ddl.listed(database, name) else [],
        )

    def revert(self, writer: Writer, entry: Entry, on_conflict: str, step: Step | None) -> None:
        """Drop it, if nothing was written there; else what was written is a conflict."""
        del step
        database, name = writer.database, entry["collection"]
        away = aside(writer.run.id, name, _MADE)
        undone = Revert(writer, entry, "rebuilt")
        there = ddl.listed(database, name)
        if there is not None:
            if there["type"] != "collection":
                self._drop_fixed(writer, there, undone, on_conflict)
            elif on_conflict == "restore":
                ddl.rename(writer, name, away)
            elif ddl.bring_aside_empty(writer, name, away):
                ddl.drop(writer, away)
            else:
                _keep(database, name, undone, on_conflict)
        elif ddl.listed(database, away) and database[away].find_one({}, {"_id": 1}) is None:
            ddl.drop(writer, away)  # a killed rollback left it
        undone.count = int(not undone.conflicts)
        undone.commit(lambda _session: None)

    @staticmethod
    def _drop_fixed(
        writer: Writer, there: Mapping[str, Any], undone: Revert, on_conflict: str
    ) -> None:
        """Drop what the server can't rename: a view, which holds nothing, or a time series."""
        name = there["name"]
        if there["type"] == "view" or writer.database[name].find_one() is None:
            ddl.drop(writer, name)
        else:
            _keep(writer.database, name, undone, on_conflict)


def _keep(database: Database[dict[str, Any]], name: str, undone: Revert, on_conflict: str) -> None:
    count = database[name].count_documents({})
    why = f"it holds {count:,} documents written since"
    undone.conflict(name, "an empty collection", f"{count:,} documents", why)
    undone.refuse_if(on_conflict == "fail")
