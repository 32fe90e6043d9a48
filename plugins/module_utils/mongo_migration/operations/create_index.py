"""``create_index``: an index on several collections, built after the data and finished."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bson import SON
from pymongo.collection import Collection
from pymongo.errors import OperationFailure, WriteConcernError

from ..document.collections import NAMESPACE_NOT_FOUND
from ..document.definition import Step
from ..document.value_sources import Scope
from ..errors import MigrationError
from ..ledger.batches import Writer
from ..support import retry
from ..values import ejson
from . import building
from .base import Check, Plan, Touched, Undone, problem

KIND = "create_index"

MISSING, PRESENT, BUILDING, DIFFERENT = "missing", "present", "building", "different"
# What a server adds to a specification by itself.
_OWN = {"v", "ns", "key", "name", "background"}


class CreateIndex:
    """See the module. Options are those of the schema's ``create_index``."""

    def __init__(self, step: Step, scope: Scope) -> None:
        self._step = step
        self._scope = scope
        self._keys: dict[str, Any] = step.options["keys"]
        self._extra: dict[str, Any] = step.options.get("options", {})
        self._name = step.options.get("name") or "_".join(
            f"{field}_{direction}" for field, direction in self._keys.items()
        )
        names = scope.collections
        self._targets = [
            (name, names.get(name))
            for name in step.options["collections"]
            if not names.absent(name)
        ]

    def touches(self) -> list[Touched]:
        """An index changes no document."""
        return []

    def plan(self) -> Plan:
        """Say which indexes exist, which would be built, and which are in the way."""
        plan = Plan()
        for name, collection in self._targets:
            state, there = state_of(collection, self._spec())
            if state == DIFFERENT:
                plan.problems.append(
                    problem(
                        step=self._step.index,
                        collection=name,
                        what=f"an index with the keys or the name of '{self._name}' exists, "
                        f"with other options: {ejson.short(there)}",
                        count=1,
                        samples=[],
                        policy="an index that someone made is never dropped",
                        fix="drop it, or give the migration's index another name",
                    )
                )
            plan.rows.append(
                {
                    "step": self._step.index,
                    "kind": KIND,
                    "collection": name,
                    "real_name": collection.name,
                    "documents": collection.estimated_document_count(comment=self._scope.comment),
                    "candidates": 0,
                    "indexes": [{"name": self._name, "keys": self._keys, "state": state}],
                }
            )
        return plan

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
                self._build(collection, writer)
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
                examined=collection.estimated_document_count(comment=self._scope.comment),
                samples=[there] if there else [],
            )

    def _spec(self) -> dict[str, Any]:
        return {"key": self._keys, "name": self._name, **self._extra}

    def _build(self, collection: Collection[dict[str, Any]], writer: Writer) -> None:
        writer.stop.check()
        writer.lease.check()
        spec = self._spec()
        # By default a build is finished when every voting member has it, those that are down too.
        quorum: dict[str, Any] = {"commitQuorum": "majority"} if writer.server.transactions else {}

        def build() -> None:
            # Returns when the index is built on enough members; joins a build that is under way.
            reply = collection.database.command(
                "createIndexes",
                collection.name,
                indexes=[{**spec, "key": SON(spec["key"])}],
                comment=writer.comment,
                writeConcern={"w": "majority"},
                **quorum,
            )
            # Built by a primary that lost its majority meanwhile; the driver doesn't say so.
            if concern := reply.get("writeConcernError"):
                raise WriteConcernError(concern["errmsg"], concern["code"], concern)

        try:
            building.wait_for(build, writer, collection=collection.name, index=spec["name"])
        except OperationFailure as error:
            if error.code is not None and not retry.is_retryable(error):
                raise MigrationError(
                    f"{collection.name}: index {self._name} can't be built: "
                    f"{str(error).split(', full error:')[0]}",
                    code=error.code,
                ) from error
            raise


def revert(writer: Writer, entry: dict[str, Any], on_conflict: str) -> None:
    """Drop the index of *entry*, which we built, if it is still as we built it."""
    collection = writer.database[entry["collection"]]
    spec = entry["spec"]
    undone = Undone(writer, entry, "dropped")
    state, there = state_of(collection, spec)
    if there is not None and there["name"] != spec["name"]:
        state, there = MISSING, None  # another one, made since; ours is gone already
    if state == DIFFERENT and on_conflict != "restore":
        undone.conflict(spec["name"], spec, there, "the index was changed since the migration")
        undone.refuse_if(on_conflict == "fail")
    elif there is not None:
        # Also ends a build that is under way. Not possible in a transaction: done first, so that
        # a repetition finds no index and has nothing left to do.
        writer.lease.check()
        collection.drop_index(there["name"], comment=writer.comment)
    undone.count = int(state != MISSING and not undone.conflicts)
    undone.commit(lambda _session: None)


def state_of(
    collection: Collection[dict[str, Any]], spec: dict[str, Any]
) -> tuple[str, dict[str, Any] | None]:
    """Return whether the index *spec* is missing, building, present, or there but different."""
    if "collation" not in spec and (inherited := _collation(collection)):
        spec = {**spec, "collation": inherited}
    for item in _indexes(collection):
        there, building = item.get("spec", item), "buildUUID" in item
        same_keys = list(there["key"].items()) == list(spec["key"].items())
        if not same_keys and there["name"] != spec["name"]:
            continue
        if there["name"] == spec["name"] and same_keys and _options(there) == _options(spec):
            return (BUILDING if building else PRESENT), there
        # The same keys may serve several indexes, as long as their collation or filter differs.
        if there["name"] == spec["name"] or _options(there) == _options(spec):
            return DIFFERENT, there
        if same_keys and not any(
            key in there or key in spec for key in ("collation", "partialFilterExpression")
        ):
            return DIFFERENT, there
    return MISSING, None


def _indexes(collection: Collection[dict[str, Any]]) -> list[dict[str, Any]]:
    try:
        reply = collection.database.command(
            "listIndexes", collection.name, includeBuildUUIDs=True, cursor={"batchSize": 1000}
        )
    except OperationFailure as error:
        if error.code == NAMESPACE_NOT_FOUND:  # no collection, no index
            return []
        raise
    return list(reply["cursor"]["firstBatch"])


def _collation(collection: Collection[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the collection's default collation, which an index inherits."""
    found = collection.database.list_collections(filter={"name": collection.name})
    return next((item.get("options", {}).get("collation") for item in found), None)


def _options(spec: dict[str, Any]) -> dict[str, Any]:
    options = {key: value for key, value in spec.items() if key not in _OWN and value is not False}
    if "collation" in options:
        # A server fills in the defaults of a collation; the locale and what was asked tell it.
        options["collation"] = options["collation"].get("locale")
    return options
