"""``drop_collection``: set aside under a name that no application knows, and so brought back whole.

Its space is given back only when the way back is ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pymongo.database import Database

from ...document.collections import Collections, aside
from ...document.definition import Step
from ...document.value_sources import Scope
from ...errors import MigrationError
from ...ledger.batches import Writer
from ...ledger.journal import Entry
from ...ledger.shapes import Shape
from ...support import commands
from ...support.tables import number, place
from .. import ddl
from ..base import Check, Plan, Row, Touched, amounts, problem
from ..ddl import EachNamed, ReshapeEntry
from ..entries import Effect, Remaining, Revert

KIND = "drop_collection"
# https://www.mongodb.com/docs/manual/reference/limits/#mongodb-limit-Restriction-on-Collection-Names
_MOST_BYTES = 255
_AN_ID = 40
_SAMPLES = 5
# What an application has made under the old name since.
_SINCE = "since"


class DropCollection(EachNamed):
    """See the module. Options are those of the schema's ``drop_collection``."""

    KIND = KIND

    def __init__(self, step: Step, scope: Scope) -> None:
        super().__init__(step, scope)
        self._only_empty: bool = step.options.get("only_if_empty", False)

    @staticmethod
    def real(names: Collections, name: str) -> str:
        """Return the real name of a collection, also of one that is gone already."""
        return names.real_name(name)

    @staticmethod
    def consumes(options: Mapping[str, Any]) -> set[str]:
        """Return the collections that go."""
        return set(options["collections"])

    @staticmethod
    def lines(rows: Sequence[Row]) -> list[str]:
        """Return each collection with what it holds."""
        return [
            "Collections to set aside",
            *(
                f"  {place(row)}: {number(row['documents'])} documents, {number(row['bytes'])} B"
                for row in rows
            ),
        ]

    @staticmethod
    def diff(row: Row) -> tuple[list[str], list[str]]:
        """Return whether each is there."""
        label = f"{row['real_name']}: collection {{}}"
        return [label.format("present")], [label.format("set aside")]

    def plan(self) -> Plan:
        """Say what goes."""
        plan, database = Plan(), self._scope.collections.database
        for name, real in self._targets:
            found = ddl.listed(database, real)
            if found is None:
                plan.problems.append(missing(self._step.index, name))
            else:
                plan.problems += refusals(self._step.index, name, found, database.name)
            plan.problems += self._documents_left(name, real)
            stats = size(database, real)
            plan.change(real, {})
            plan.rows.append(
                self.row(
                    name,
                    real,
                    documents=stats[0],
                    bytes=stats[1],
                    amounts=amounts(drops=1),
                )
            )
        return plan

    def entry(self, real: str, writer: Writer) -> dict[str, Any] | None:
        """Return the collection's UUID."""
        return set_aside_entry(writer.database, real)

    def change(self, writer: Writer, real: str, entry: Entry) -> None:
        """Set it aside, unless an earlier attempt has.

        Raises:
            MigrationError: it was to be empty, and isn't.
        """
        set_aside(writer, real, entry)
        kept = aside(writer.run.id, real)
        # Where it is now, it gets no more documents.
        if self._only_empty and writer.database[kept].find_one({}, {"_id": 1}) is not None:
            ddl.rename(writer, kept, real)
            raise MigrationError(
                f"{real} isn't empty: documents came after the earlier steps had taken theirs "
                f"away. It was left as it is. Stop the writers ({commands.STOP_WRITERS}), roll "
                "back, and run it again."
            )

    def _documents_left(self, name: str, real: str) -> Iterator[dict[str, Any]]:
        """Yield a problem where the collection is to be empty, and no earlier step sees to that."""
        if not self._only_empty:
            return
        left = self._scope.staying(real, {})
        collection = self._scope.collections.database[real]
        rows = list(collection.find(left, {"_id": 1}, comment=self._scope.comment).limit(_SAMPLES))
        if rows:
            yield problem(
                step=self._step.index,
                collection=name,
                what="it isn't empty once the earlier steps are done",
                count=collection.count_documents(left, comment=self._scope.comment),
                samples=[row["_id"] for row in rows],
                policy="only_if_empty",
                fix="move or delete these documents by an earlier step, or drop it with them",
            )

    def check(self) -> Iterator[Check]:
        """Look whether it is gone."""
        for name, real in self._targets:
            there = ddl.listed(self._scope.collections.database, real) is not None
            yield Check(
                name=f"{name}: the collection is gone",
                passed=not there,
                expected="gone",
                observed="present" if there else "gone",
                examined=1,
            )


class SetAside(ReshapeEntry):
    """A collection was set aside."""

    shape: ClassVar[Shape] = {"uuid": ddl.uuid, "into": lambda value: value == ""}

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def touched(self, entry: Entry) -> Touched:
        """Return the collection."""
        return Touched(collection=entry["collection"], whole=True)

    def effect(self, entry: Entry) -> Effect:
        """Its documents are found under another name."""
        name = entry["collection"]
        return Effect(collection=name, becomes=aside(entry["run"], name))

    def remaining(self, database: Database[dict[str, Any]], entry: Entry) -> Remaining:
        """Return the collection, if it isn't back."""
        name = entry["collection"]
        back = ddl.uuid_of(database, name) == entry["uuid"]
        return Remaining(
            what=f"{name}: the collection is back", examined=1, left=[] if back else [name]
        )

    def revert(self, writer: Writer, entry: Entry, on_conflict: str, step: Step | None) -> None:
        """Give it its name back."""
        del step
        undone = Revert(writer, entry, "rebuilt")
        bring_back(writer, undone, entry, on_conflict)
        undone.count = int(not undone.conflicts)
        undone.commit(lambda _session: None)


def set_aside_entry(database: Database[dict[str, Any]], real: str) -> dict[str, Any] | None:
    """Return what the journal says of a collection that is to be set aside."""
    identity = ddl.uuid_of(database, real)
    return None if identity is None else {"uuid": identity, "into": ""}


def set_aside(writer: Writer, real: str, entry: Entry) -> None:
    """Set the collection of *entry* aside, unless it is."""
    if ddl.uuid_of(writer.database, real) == entry["uuid"]:
        ddl.rename(writer, real, aside(writer.run.id, real))


def bring_back(writer: Writer, undone: Revert, entry: Entry, on_conflict: str) -> None:
    """Give what was set aside its name back; another one of that name is a conflict.

    One without documents, as an application's driver makes it by itself, is set aside instead.
    """
    database, name = writer.database, entry["collection"]
    kept = aside(writer.run.id, name)
    if ddl.uuid_of(database, kept) != entry["uuid"]:
        if ddl.uuid_of(database, name) != entry["uuid"]:
            undone.conflict(name, "the collection", None, f"{kept} is gone: it was dropped since")
            undone.refuse_if(on_conflict == "fail")
        return
    if ddl.listed(database, name) is not None:
        since = aside(writer.run.id, name, _SINCE)
        if on_conflict == "restore":
            ddl.rename(writer, name, since)
        elif not ddl.bring_aside_empty(writer, name, since):
            count = database[name].estimated_document_count()
            why = f"another collection of that name was made since and holds {count:,} documents"
            undone.conflict(name, "no collection", f"{count:,} documents", why)
            undone.refuse_if(on_conflict == "fail")
            return
    ddl.rename(writer, kept, name)


def missing(step: int, name: str) -> dict[str, Any]:
    """Return the problem of a collection that isn't there."""
    return problem(
        step=step,
        collection=name,
        what="there is no such collection",
        count=1,
        samples=[],
        policy="what a step works on must be there",
        fix="correct the name, or map it in the inventory (mongo_collections)",
    )


def refusals(
    step: int, name: str, found: Mapping[str, Any], database: str
) -> Iterator[dict[str, Any]]:
    """Yield why a collection can't be renamed or set aside."""
    kind = found.get("type", "collection")
    why: tuple[str, str] | None = None
    if kind != "collection":
        why = f"it is a {kind}, which MongoDB can't rename", "leave it out"
    elif len(f"{database}.{aside('x' * _AN_ID, found['name'])}".encode()) > _MOST_BYTES:
        why = "its name is too long to be set aside", "rename it first"
    if why:
        yield problem(
            step=step,
            collection=name,
            what=why[0],
            count=1,
            samples=[],
            policy="a rollback is exact",
            fix=why[1],
        )


def size(database: Database[dict[str, Any]], real: str) -> tuple[int, int]:
    """Return documents and bytes of a collection, by the server's own estimate."""
    rows = list(
        database[real].aggregate(
            [{"$collStats": {"storageStats": {}}}, {"$project": {"s": "$storageStats"}}]
        )
        if ddl.listed(database, real)
        else ()
    )
    return (
        sum(int(row["s"].get("count", 0)) for row in rows),
        sum(int(row["s"].get("size", 0)) for row in rows),
    )
