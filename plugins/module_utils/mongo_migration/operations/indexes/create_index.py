"""``create_index``: an index on several collections, built after the data and finished."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any, ClassVar

from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure

from ...document.collections import Collections
from ...document.definition import Step
from ...document.value_sources import Scope
from ...errors import MigrationError
from ...ledger.batches import Writer
from ...ledger.journal import Entry
from ...ledger.shapes import Shape
from ...support import listing, tables
from ...support.tables import place
from ...values import ejson
from .. import ddl
from ..base import Check, Operation, Plan, Row, Touched, about_how_many, amounts, problem
from ..entries import EntryKind, Remaining, Revert
from ..locks import TRY_SECONDS, tried_shortly
from ..refusals import geometry, parallel_arrays, unique_indexes
from . import index_specs

KIND = "create_index"

MISSING, PRESENT, BUILDING, DIFFERENT = "missing", "present", "building", "different"
_INDEX_NOT_FOUND = 27


class CreateIndex(Operation):
    """See the module. Options are those of the schema's ``create_index``."""

    KIND = KIND

    def __init__(self, step: Step, scope: Scope) -> None:
        super().__init__(step, scope)
        self._keys: dict[str, Any] = step.options["keys"]
        self._extra: dict[str, Any] = step.options.get("options", {})
        self._name = default_name(step.options)
        names = scope.collections
        self._targets = [
            (name, names.get(name))
            for name in step.options["collections"]
            if not names.absent(name)
        ]

    @staticmethod
    def names(options: Mapping[str, Any]) -> set[str]:
        """Return the collections that get the index."""
        return set(options["collections"])

    @staticmethod
    def reach(step: Step, names: Collections) -> list[Touched]:
        """Return the index on each collection."""
        name, unique = default_name(step.options), unique_fields(step.options)
        return [
            Touched(collection=names.real_name(each), index=name, unique=unique)
            for each in step.options["collections"]
            if not names.absent(each)
        ]

    @staticmethod
    def indexes(options: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the index."""
        yield "", spec_of(options)

    @staticmethod
    def runs_live(options: Mapping[str, Any]) -> bool:
        """Return whether no duplicate of a writer can make the build fail."""
        return not (options.get("options") or {}).get("unique", False)

    @staticmethod
    def lines(rows: Sequence[Row]) -> list[str]:
        """Return a paragraph for each index and state: an index is mostly on many collections."""
        groups: dict[tuple[str, str], list[str]] = {}
        for row in rows:
            for index in row["indexes"]:
                groups.setdefault((index["name"], index["state"]), []).append(place(row))
        said = {MISSING: "to build on", PRESENT: "exists on", DIFFERENT: "IN THE WAY on"}
        lines = ["Indexes"]
        for (name, state), collections in groups.items():
            count = f"{len(collections)} collections: " if len(collections) > 1 else ""
            lines += wrap(
                f"{name} {said.get(state, state)} {count}{', '.join(collections)}",
                width=min(tables.width(), tables.WIDTH),
                initial_indent="  ",
                subsequent_indent="    ",
            )
        return lines

    @staticmethod
    def diff(row: Row) -> tuple[list[str], list[str]]:
        """Return whether each index is there."""
        before, after = [], []
        for index in row["indexes"]:
            label = f"{row['real_name']}: index {index['name']} {{}}"
            before.append(label.format(index["state"]))
            after.append(label.format(PRESENT if index["state"] == MISSING else index["state"]))
        return before, after

    def plan(self) -> Plan:
        """Say which indexes exist, which would be built, and which are in the way."""
        plan = Plan()
        for name, collection in self._targets:
            state, there = state_of(collection, self._spec())
            if state == DIFFERENT:
                plan.problems.append(self._in_the_way(name, there or {}))
            elif state == MISSING:
                self._foresee(plan, name, collection)
            plan.rows.append(
                self.row(
                    name,
                    collection.name,
                    documents=collection.estimated_document_count(comment=self._scope.comment),
                    amounts=amounts(builds=int(state == MISSING)),
                    indexes=[{"name": self._name, "keys": self._keys, "state": state}],
                )
            )
        return plan

    def _in_the_way(self, name: str, there: dict[str, Any]) -> dict[str, Any]:
        spec = self._spec()
        same_keys = index_specs.keys(there) == index_specs.keys(spec)
        if same_keys and there["name"] != spec["name"]:
            fix = f"drop it, or call the migration's index '{there['name']}', with its options"
        elif same_keys and not index_specs.may_stand_beside(there, spec):
            fix = "drop it, or make the migration's index the same: another name can't help"
        else:
            fix = "drop it, or give the migration's index another name"
        return problem(
            step=self._step.index,
            collection=name,
            what=f"an index with the keys or the name of '{self._name}' exists, with other "
            f"options: {ejson.short(there, 200)}",
            count=1,
            samples=[],
            policy="an index that someone made is never dropped",
            fix=fix,
        )

    def _foresee(self, plan: Plan, name: str, collection: Collection[dict[str, Any]]) -> None:
        """Add to *plan* the documents that the build would refuse."""
        spec = self._spec()
        told: dict[str, Any] = {"step": self._step.index, "name": name, "collection": collection}
        if spec.get("unique"):
            inherited = None if "collation" in spec else _collation(collection)
            whole = {**spec, "collation": inherited} if inherited else spec
            unique_indexes.tell(plan, self._scope, whole, **told)
        geometry.tell(plan, self._scope, spec, **told)
        parallel_arrays.tell(plan, self._scope, spec, **told)

    def apply(self, writer: Writer, position: dict[str, Any]) -> None:
        """Build each index and wait until its build has finished."""
        for index, (name, collection) in enumerate(self._targets):
            if index < position.get("target", 0):
                continue
            here = {"step": self._step.index, "target": index}
            state, there = state_of(collection, self._spec())
            if state == DIFFERENT:
                raise MigrationError(
                    f"{collection.name} has an index in the way of '{self._name}': "
                    f"{ejson.short(there)}. Drop it and run the same command again."
                )
            ours = position.get("target") == index and position.get("building")
            if state == MISSING and not ours:
                # First the journal says that the index will be ours, then it is built.
                writer.commit(
                    {
                        "kind": KIND,
                        "step": self._step.index,
                        "collection": collection.name,
                        "spec": self._spec(),
                    },
                    lambda _session: {"indexes": 1},
                    position={**here, "building": True},
                )
            if state != PRESENT:
                ddl.build(writer, collection, self._spec())
            writer.move({"step": self._step.index, "target": index + 1})
            writer.meter.advance(0, step=self._step.index, kind=KIND, collection=name)

    def check(self) -> Iterator[Check]:
        """Compare the whole specification, and that the build has finished."""
        for name, collection in self._targets:
            state, there = state_of(collection, self._spec())
            yield Check(
                name=f"{name}: index {self._name} exists and is finished",
                passed=state == PRESENT,
                expected=PRESENT,
                observed=state,
                examined=about_how_many(collection, self._scope.comment),
                samples=[there] if there else [],
            )

    def _spec(self) -> dict[str, Any]:
        return spec_of(self._step.options)


class BuiltIndex(EntryKind):
    """An index was built."""

    kind = KIND
    shape: ClassVar[Shape] = {"spec": index_specs.is_spec}

    def touched(self, entry: Entry) -> Touched:
        """Return the index."""
        return Touched(collection=entry["collection"], index=entry["spec"]["name"])

    def ids(self, entry: Entry) -> list[Any]:
        """An index is about no document."""
        del entry
        return []

    def preview(self, entry: Entry) -> dict[str, Any]:
        """It is dropped."""
        return {"drop": [_label(entry)]}

    def outcome(self, entry: Entry) -> dict[str, Any]:
        """Return it, if it was dropped."""
        return {"dropped": [] if entry.get("conflicts") else [_label(entry)]}

    def reconcile(self, writer: Writer, entry: Entry) -> dict[str, int]:
        """An index is built only after the checkpoint of its entry: this one wasn't begun."""
        writer.journal.void(entry)
        return {}

    def remaining(self, database: Database[dict[str, Any]], entry: Entry) -> Remaining:
        """Return it, if there still is one of its name."""
        name = entry["spec"]["name"]
        return Remaining(
            what=f"{entry['collection']}: nothing is left of {KIND} {name}",
            examined=1,
            left=[name for i in _indexes(database[entry["collection"]]) if _name(i) == name],
        )

    def revert(self, writer: Writer, entry: Entry, on_conflict: str, step: Step | None) -> None:
        """Drop the index, if it is still as we built it."""
        del step
        collection = writer.database[entry["collection"]]
        spec = entry["spec"]
        undone = Revert(writer, entry, "dropped")
        state, there = state_of(collection, spec)
        if there is not None and there["name"] != spec["name"]:
            state, there = MISSING, None  # another one, made since; ours is gone already
        if state == DIFFERENT and on_conflict != "restore":
            undone.conflict(spec["name"], spec, there, "the index was changed since the migration")
            undone.refuse_if(on_conflict == "fail")
        elif there is not None:
            # Also ends a build that is under way. Not possible in a transaction: done first, so
            # that a repetition finds no index and has nothing left to do.
            writer.lease.check()
            name = there["name"]
            tried_shortly(
                lambda: _drop(collection, name, writer), writer, collection=collection.name
            )
        undone.count = int(state != MISSING and not undone.conflicts)
        undone.commit(lambda _session: None)


def _drop(collection: Collection[dict[str, Any]], name: str, writer: Writer) -> None:
    try:
        collection.drop_index(name, comment=writer.comment, maxTimeMS=int(TRY_SECONDS * 1000))
    except OperationFailure as error:
        if error.code != _INDEX_NOT_FOUND:  # by an earlier try of ours
            raise


def _label(entry: Entry) -> str:
    return f"{entry['collection']}.{entry['spec']['name']}"


def _name(index: Mapping[str, Any]) -> str:
    """Return the name of an index, also of one that is being built."""
    return str(index.get("spec", index)["name"])


def default_name(options: Mapping[str, Any]) -> str:
    """Return the name of an index, as the server would choose it if none was given."""
    return options.get("name") or "_".join(f"{f}_{d}" for f, d in options["keys"].items())


def unique_fields(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fields of an index that is to be unique; none of another one."""
    return tuple(options["keys"]) if options.get("options", {}).get("unique") else ()


def spec_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the specification of an index from the document's *options* of it."""
    return {"key": options["keys"], "name": default_name(options), **options.get("options", {})}


def state_of(
    collection: Collection[dict[str, Any]], spec: dict[str, Any]
) -> tuple[str, dict[str, Any] | None]:
    """Return whether the index *spec* is missing, building, present, or there but different."""
    if "collation" not in spec and (inherited := _collation(collection)):
        spec = {**spec, "collation": inherited}
    for item in _indexes(collection):
        there, building = item.get("spec", item), "buildUUID" in item
        same_keys = index_specs.keys(there) == index_specs.keys(spec)
        same_options = index_specs.options(there) == index_specs.options(spec)
        if not same_keys and there["name"] != spec["name"]:
            continue
        if there["name"] == spec["name"] and same_keys and same_options:
            return (BUILDING if building else PRESENT), there
        # The same keys may serve several indexes, as long as their collation or filter differs.
        if there["name"] == spec["name"] or same_options:
            return DIFFERENT, there
        if same_keys and not any(
            key in there or key in spec for key in ("collation", "partialFilterExpression")
        ):
            return DIFFERENT, there
    return MISSING, None


def _indexes(collection: Collection[dict[str, Any]]) -> list[dict[str, Any]]:
    return listing.indexes(collection.database, collection.name, includeBuildUUIDs=True)


def _collation(collection: Collection[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the collection's default collation, which an index inherits."""
    options = listing.collection(collection.database, collection.name).get("options", {})
    return dict(options["collation"]) if "collation" in options else None
