"""``drop_index``: an index goes, and a rollback builds that very one again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pymongo.database import Database
from pymongo.errors import OperationFailure

from ...document.collections import Collections
from ...document.definition import Step
from ...document.value_sources import Scope
from ...errors import MigrationError
from ...ledger.batches import Writer
from ...ledger.journal import Entry
from ...ledger.shapes import Shape
from ...support.tables import place
from ...values import ejson
from .. import ddl
from ..base import Check, Plan, Row, Touched, amounts, problem
from ..ddl import EachNamed, ReshapeEntry
from ..entries import Remaining, Revert
from . import index_specs

KIND = "drop_index"


class NamedIndexStep(EachNamed):
    """A step about one index, by its name, of several collections."""

    def __init__(self, step: Step, scope: Scope) -> None:
        super().__init__(step, scope)
        self._name: str = step.options["name"]

    @staticmethod
    def reach(step: Step, names: Collections) -> list[Touched]:
        """Return the index of each collection."""
        # Of hide_index, which shows one as well.
        unusable = step.options.get("hidden", True)
        return [
            Touched(collection=names.real_name(name), index=step.options["name"], unusable=unusable)
            for name in step.options["collections"]
            if not names.absent(name)
        ]

    def there(self, real: str) -> dict[str, Any] | None:
        """Return the index's specification, if it is there."""
        return find(self._scope.collections.database, real, self._name)

    def missing(self, name: str, real: str) -> dict[str, Any]:
        """Return the problem of an index that isn't there."""
        known = [index["name"] for index in ddl.indexes(self._scope.collections.database, real)]
        return problem(
            step=self._step.index,
            collection=name,
            what=f"there is no index '{self._name}'",
            count=1,
            samples=known[:5],
            policy="what a step works on must be there",
            fix="correct the name; the samples are the indexes that exist",
        )

    def row_of(self, name: str, real: str, **more: Any) -> dict[str, Any]:
        """Return a row of the plan."""
        collection = self._scope.collections.database[real]
        count = collection.estimated_document_count(comment=self._scope.comment)
        return self.row(name, real, documents=count, index=self._name, **more)


class DropIndex(NamedIndexStep):
    """See the module. Options are those of the schema's ``drop_index``."""

    KIND = KIND

    @staticmethod
    def lines(rows: Sequence[Row]) -> list[str]:
        """Return each index with how often it was used."""
        return [
            "Indexes to drop",
            *(f"  {place(row)}.{row['index']} {row['used']}" for row in rows),
        ]

    @staticmethod
    def diff(row: Row) -> tuple[list[str], list[str]]:
        """Return whether each index is there."""
        label = f"{row['real_name']}: index {row['index']} {{}}"
        return [label.format("present" if row["there"] else "missing")], [label.format("missing")]

    def plan(self) -> Plan:
        """Say how often the server used each index since its start."""
        plan = Plan()
        for name, real in self._targets:
            there = self.there(real)
            if there is None:
                plan.problems.append(self.missing(name, real))
            plan.rows.append(
                self.row_of(
                    name,
                    real,
                    there=there is not None,
                    used=usage(self._scope.collections.database, real, self._name),
                    amounts=amounts(drops=int(there is not None)),
                )
            )
        return plan

    def entry(self, real: str, writer: Writer) -> dict[str, Any] | None:
        """Return the whole specification."""
        there = self.there(real)
        return None if there is None else {"spec": there}

    def change(self, writer: Writer, real: str, entry: Entry) -> None:
        """Drop the index, unless an earlier attempt has."""
        there = self.there(real)
        if there is None:
            return
        if not same(there, entry["spec"]):
            raise MigrationError(
                f"{real}: index {self._name} is another one than when the run began. Look who "
                "made it, then run the same command again."
            )
        ddl.run(writer, {"dropIndexes": real, "index": self._name})

    def check(self) -> Iterator[Check]:
        """Look whether it is gone."""
        for name, real in self._targets:
            there = self.there(real)
            yield Check(
                name=f"{name}: there is no index {self._name}",
                passed=there is None,
                expected="missing",
                observed="missing" if there is None else "present",
                examined=1,
            )


class DroppedIndex(ReshapeEntry):
    """An index was dropped."""

    kind = KIND
    shape: ClassVar[Shape] = {"spec": index_specs.is_spec}

    def touched(self, entry: Entry) -> Touched:
        """Return the index."""
        return Touched(collection=entry["collection"], index=entry["spec"]["name"])

    def label(self, entry: Entry) -> str:
        """Return the index."""
        return f"{entry['collection']}.{entry['spec']['name']}"

    def remaining(self, database: Database[dict[str, Any]], entry: Entry) -> Remaining:
        """Return the index, if it isn't back."""
        name = entry["spec"]["name"]
        there = find(database, entry["collection"], name)
        back = there is not None and same(there, entry["spec"])
        return Remaining(
            what=f"{entry['collection']}: index {name} is as it was",
            examined=1,
            left=[] if back else [name],
        )

    def revert(self, writer: Writer, entry: Entry, on_conflict: str, step: Step | None) -> None:
        """Build the index as it was."""
        del step
        undone = Revert(writer, entry, "rebuilt")
        rebuild(writer, undone, entry["collection"], entry["spec"], on_conflict)
        undone.count = int(not undone.conflicts)
        undone.commit(lambda _session: None)


def rebuild(
    writer: Writer, undone: Revert, name: str, spec: dict[str, Any], on_conflict: str
) -> None:
    """Build the index *spec* again; one in its way, or data that it refuses, are a conflict."""
    database = writer.database
    there = find(database, name, spec["name"])
    if there is not None and not same(there, spec):
        if on_conflict != "restore":
            undone.conflict(spec["name"], spec, there, "another index of that name was made since")
            undone.refuse_if(on_conflict == "fail")
            return
        ddl.run(writer, {"dropIndexes": name, "index": spec["name"]})
        there = None
    options = (ddl.listed(database, name) or {}).get("options", {})
    try:
        # Also where it is there: a build may be under way.
        ddl.build(writer, database[name], ddl.explicit(spec, options.get("collation")))
    except MigrationError as error:
        if not error.details.get("code"):
            raise
        undone.conflict(spec["name"], spec, None, error.message)
        undone.refuse_if(on_conflict == "fail")


def find(database: Database[dict[str, Any]], collection: str, name: str) -> dict[str, Any] | None:
    """Return the specification of the index *name*, if it is there."""
    return next((one for one in ddl.indexes(database, collection) if one["name"] == name), None)


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two specifications are of one index."""
    keys = index_specs.keys(one) == index_specs.keys(other)
    return keys and index_specs.options(one) == index_specs.options(other)


def usage(database: Database[dict[str, Any]], collection: str, name: str) -> str:
    """Return how often the member that answers has used an index, in words."""
    try:
        rows = list(
            database[collection].aggregate([{"$indexStats": {}}, {"$match": {"name": name}}])
        )
    except OperationFailure as error:
        return f"(how often it is used can't be seen: {str(error).split(', full error:')[0]})"
    if not rows:
        return "(not there)"
    used = rows[0]["accesses"]
    return (
        f"(used {used['ops']:,} times since {ejson.short(used['since'])} by this member; "
        "others count for themselves)"
    )
