"""``rename_collection``: with its documents, indexes and validator; a rollback renames it back.

What was written under the new name since comes along.
"""

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
from ...support.tables import number, place
from .. import ddl
from ..base import Check, Plan, Row, Touched, amounts, problem
from ..ddl import Reshape, ReshapeEntry
from ..entries import Effect, Remaining, Revert
from .drop_collection import missing, refusals, size

KIND = "rename_collection"


class RenameCollection(Reshape):
    """See the module. Options are those of the schema's ``rename_collection``."""

    KIND = KIND

    def __init__(self, step: Step, scope: Scope) -> None:
        super().__init__(step, scope)
        names, self._from = scope.collections, step.options["from"]
        self._to: str = names.real_name(step.options["to"])
        self._targets = (
            [] if names.absent(self._from) else [(self._from, names.real_name(self._from))]
        )

    @staticmethod
    def names(options: Mapping[str, Any]) -> set[str]:
        """Return both names."""
        return {options["from"], options["to"]}

    @staticmethod
    def creates(options: Mapping[str, Any]) -> set[str]:
        """Return the new name."""
        return {options["to"]}

    @staticmethod
    def consumes(options: Mapping[str, Any]) -> set[str]:
        """Return the old name."""
        return {options["from"]}

    @staticmethod
    def reach(step: Step, names: Collections) -> list[Touched]:
        """Return the collection, with its new name."""
        old, new = step.options["from"], step.options["to"]
        return [Touched(collection=names.real_name(old), whole=True, into=names.real_name(new))]

    @staticmethod
    def lines(rows: Sequence[Row]) -> list[str]:
        """Return both names."""
        return [
            "Collections to rename",
            *(
                f"  {place(row)} to {row['to']} ({number(row['documents'])} documents)"
                for row in rows
            ),
        ]

    @staticmethod
    def diff(row: Row) -> tuple[list[str], list[str]]:
        """Return the names."""
        return [f"collection {row['real_name']}"], [f"collection {row['to']}"]

    def plan(self) -> Plan:
        """Say what is renamed; what has the new name already is in the way."""
        plan, database = Plan(), self._scope.collections.database
        for name, real in self._targets:
            found = ddl.listed(database, real)
            if found is None:
                plan.problems.append(missing(self._step.index, name))
            else:
                plan.problems += refusals(self._step.index, name, found, database.name)
            if ddl.listed(database, self._to) is not None:
                plan.problems.append(
                    problem(
                        step=self._step.index,
                        collection=self._step.options["to"],
                        what="there is a collection of the new name already",
                        count=1,
                        samples=[],
                        policy="nothing is renamed over another collection",
                        fix="drop it or rename it by a step before this one's migration, or choose "
                        "another name",
                    )
                )
            plan.rows.append(
                self.row(
                    name,
                    real,
                    to=self._to,
                    documents=size(database, real)[0],
                    amounts=amounts(builds=1),
                )
            )
        return plan

    def entry(self, real: str, writer: Writer) -> dict[str, Any] | None:
        """Return the collection's UUID."""
        identity = ddl.uuid_of(writer.database, real)
        return None if identity is None else {"uuid": identity, "into": self._to}

    def change(self, writer: Writer, real: str, entry: Entry) -> None:
        """Rename it, unless an earlier attempt has."""
        if ddl.uuid_of(writer.database, real) == entry["uuid"]:
            ddl.rename(writer, real, self._to)

    def check(self) -> Iterator[Check]:
        """Look for both names."""
        database = self._scope.collections.database
        for name, real in self._targets:
            old, new = (ddl.listed(database, one) is not None for one in (real, self._to))
            yield Check(
                name=f"{name}: the collection is called {self._to}",
                passed=new and not old,
                expected=self._to,
                observed=[one for one, there in ((real, old), (self._to, new)) if there],
                examined=1,
            )


class Renamed(ReshapeEntry):
    """A collection was renamed."""

    kind = KIND
    shape: ClassVar[Shape] = {"uuid": ddl.uuid, "into": str}

    def touched(self, entry: Entry) -> Touched:
        """Return the collection, with its new name."""
        return Touched(collection=entry["collection"], whole=True, into=entry["into"])

    def effect(self, entry: Entry) -> Effect:
        """Its documents are found under the new name."""
        return Effect(collection=entry["collection"], becomes=entry["into"])

    def remaining(self, database: Database[dict[str, Any]], entry: Entry) -> Remaining:
        """Return the collection, if it doesn't have its old name."""
        name = entry["collection"]
        back = ddl.uuid_of(database, name) == entry["uuid"]
        return Remaining(
            what=f"{name}: the collection has its name back",
            examined=1,
            left=[] if back else [name],
        )

    def revert(self, writer: Writer, entry: Entry, on_conflict: str, step: Step | None) -> None:
        """Rename it back."""
        del step
        database, name, new = writer.database, entry["collection"], entry["into"]
        undone = Revert(writer, entry, "rebuilt")
        if ddl.uuid_of(database, name) != entry["uuid"]:
            if ddl.uuid_of(database, new) != entry["uuid"]:
                undone.conflict(name, "the collection", None, f"{new} was dropped or rebuilt since")
            elif ddl.listed(database, name) is not None:
                undone.conflict(
                    name,
                    "no collection",
                    "one",
                    "another collection of the old name was made since",
                )
            else:
                ddl.rename(writer, new, name)
        undone.refuse_if(on_conflict == "fail")
        undone.count = int(not undone.conflicts)
        undone.commit(lambda _session: None)
