"""``rebuild_collection``: with options that can't be changed in place, under the same name.

Built beside, under a name that no application knows; filled; compared until nothing differs any
more; then the old one is set aside and the new one takes its name. What was written to the old one
meanwhile is brought along before that, and what was written to the new one is by a rollback.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pymongo.database import Database
from pymongo.errors import OperationFailure

from ...document.collections import Collections, aside
from ...document.definition import Step
from ...document.value_sources import Scope
from ...errors import MigrationError
from ...ledger.batches import Writer
from ...ledger.journal import Entry
from ...support import commands, listing, retry
from ...support.tables import number, place
from ...values import compare, ejson
from .. import ddl
from ..base import Check, Plan, Row, Touched, amounts, problem
from ..ddl import Reshape
from ..indexes import index_specs
from ..refusals import unique_indexes
from . import copying
from .create_collection import completed
from .drop_collection import missing, refusals, set_aside, set_aside_entry, size

KIND = "rebuild_collection"
NEW = "new"
# Copied and compared, on two cores with documents of about 500 bytes and a few indexes.
_DOCUMENTS_PER_SECOND = 20_000
_MOST_PASSES = 5
_OF_CAPPED = ("capped", "size", "max")
# Keys that the server compares byte by byte, whatever the collation.
_WITHOUT_COLLATION = ("text", "2d")


class RebuildCollection(Reshape):
    """See the module. Options are those of the schema's ``rebuild_collection``."""

    KIND = KIND

    def __init__(self, step: Step, scope: Scope) -> None:
        super().__init__(step, scope)
        names, name = scope.collections, step.options["name"]
        self._options: dict[str, Any] = step.options["options"]
        self._targets = [] if names.absent(name) else [(name, names.get(name).name)]

    @staticmethod
    def names(options: Mapping[str, Any]) -> set[str]:
        """Return the collection."""
        return {options["name"]}

    @staticmethod
    def reach(step: Step, names: Collections) -> list[Touched]:
        """Return the collection."""
        return [Touched(collection=names.real_name(step.options["name"]), whole=True)]

    @staticmethod
    def lines(rows: Sequence[Row]) -> list[str]:
        """Return each collection with what it becomes, and how long writers wait."""
        lines = ["Collections to rebuild"]
        for row in rows:
            if not row["amounts"]["builds"]:
                lines.append(f"  {place(row)}: is as the migration says")
                continue
            lines += [
                f"  {place(row)}: {number(row['documents'])} documents, {number(row['bytes'])} B; "
                f"writers wait about {number(row['wait_seconds'])} s",
                f"    options {ejson.short(row['options'], 200)}",
                *(f"    index {ejson.short(one, 200)}" for one in row["keys"]),
            ]
        return lines

    @staticmethod
    def diff(row: Row) -> tuple[list[str], list[str]]:
        """Return the options."""
        label = f"{row['real_name']}: options {{}}"
        return [label.format(ejson.short(row["was"], 1000))], [
            label.format(ejson.short(row["options"], 1000))
        ]

    def plan(self) -> Plan:
        """Say what it becomes, and which documents it would refuse."""
        plan, database = Plan(), self._scope.collections.database
        for name, real in self._targets:
            found = ddl.listed(database, real)
            if found is None:
                plan.problems.append(missing(self._step.index, name))
                continue
            plan.problems += refusals(self._step.index, name, found, database.name)
            was = found.get("options", {})
            options = self._wanted(was)
            due = not _same_options(was, options)
            documents, bytes_ = size(database, real)
            if due:
                self._plan_unique(plan, name, real, was, options)
                self._plan_room(plan, name, options, documents=documents, bytes_=bytes_)
                self._note_views(plan, name, real, was, options)
            plan.rows.append(
                self.row(
                    name,
                    real,
                    documents=documents,
                    bytes=bytes_,
                    was=was,
                    options=options,
                    keys=carried(was, options, ddl.indexes(database, real)),
                    wait_seconds=max(1, round(documents / _DOCUMENTS_PER_SECOND)),
                    amounts=amounts(
                        builds=int(due), drops=int(due), copies=documents if due else 0
                    ),
                )
            )
        return plan

    def entry(self, real: str, writer: Writer) -> dict[str, Any] | None:
        """Return the collection's UUID, if it isn't as it should be."""
        was = (ddl.listed(writer.database, real) or {}).get("options", {})
        if _same_options(was, self._wanted(was)):
            return None
        return set_aside_entry(writer.database, real)

    def change(self, writer: Writer, real: str, entry: Entry) -> None:
        """Build it beside, fill it, and swap; from wherever an earlier attempt ended."""
        database = writer.database
        new, old = aside(writer.run.id, real, NEW), aside(writer.run.id, real)
        if ddl.uuid_of(database, real) == entry["uuid"]:
            capped = self._build(writer, real, new)
            self._fill(writer, real, new, capped=capped)
            set_aside(writer, real, entry)
        if ddl.listed(database, new) is None:
            return  # it has the name by now
        if not writer.settings.writers_stopped:
            # Nobody can write to the old one any more: the rest of what somebody did.
            capped = bool(self._wanted(_options(database, old)).get("capped"))
            copying.bring(writer, old, new, capped=capped)
        if ddl.listed(database, real) is not None:
            raise MigrationError(
                f"{real} is being written to, and was remade by that while it was swapped. "
                f"Stop the writers ({commands.STOP_WRITERS}), rename that one, then run the same "
                "command again."
            )
        ddl.rename(writer, new, real)

    def check(self) -> Iterator[Check]:
        """Compare options and indexes."""
        database = self._scope.collections.database
        for name, real in self._targets:
            there = ddl.listed(database, real)
            options = (there or {}).get("options", {})
            right = there is not None and _same_options(options, self._wanted(options))
            yield Check(
                name=f"{name}: the collection has the options that the migration says",
                passed=right,
                expected=self._options,
                observed=options if there else "it isn't there",
                examined=1,
            )

    # -- planning ----------------------------------------------------------------------------

    def _wanted(self, was: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options: those of the step, and those from before that it leaves."""
        found = {**was, **self._options}
        gone = () if found.get("capped") else _OF_CAPPED
        return {key: value for key, value in found.items() if value is not None and key not in gone}

    def _plan_unique(
        self, plan: Plan, name: str, real: str, was: Mapping[str, Any], options: Mapping[str, Any]
    ) -> None:
        """Find the documents that ``_id`` or a unique index would refuse by the new collation."""
        database = self._scope.collections.database
        if _same_collation(was, options):
            return
        collation = options.get("collation")
        specs: list[dict[str, Any]] = [{"name": "_id_", "key": {"_id": 1}}]
        specs += [s for s in carried(was, options, ddl.indexes(database, real)) if s.get("unique")]
        for spec in specs:
            whole = {**({"collation": collation} if collation else {}), **spec}
            try:
                refusal = unique_indexes.refuses(database[real], whole, comment=self._scope.comment)
            except OperationFailure as error:
                if retry.is_retryable(error):
                    raise
                plan.problems.append(self._refused(name, error))
                return
            if refusal.count:
                plan.problems.append(
                    unique_indexes.problem_of(self._step.index, name, spec["name"], refusal)
                )

    def _refused(self, name: str, error: OperationFailure) -> dict[str, Any]:
        return problem(
            step=self._step.index,
            collection=name,
            what=f"the server refuses the collation: {str(error).split(', full error:')[0]}",
            count=1,
            samples=[],
            policy="what the server can't do isn't begun",
            fix=f"correct steps[{self._step.index}].{KIND}.options.collation",
        )

    def _plan_room(
        self, plan: Plan, name: str, options: Mapping[str, Any], *, documents: int, bytes_: int
    ) -> None:
        """A capped collection would drop what doesn't fit."""
        if not options.get("capped"):
            return
        too_many = "max" in options and documents > options["max"]
        if bytes_ <= options.get("size", 0) and not too_many:
            return
        plan.problems.append(
            problem(
                step=self._step.index,
                collection=name,
                what=f"its {documents:,} documents of {bytes_:,} B don't fit: the oldest would be "
                "dropped",
                count=documents,
                samples=[],
                policy="a rollback is exact",
                fix=f"make steps[{self._step.index}].{KIND}.options.size (and max) larger, or "
                "delete documents by a migration before this one",
            )
        )

    def _note_views(
        self, plan: Plan, name: str, real: str, was: Mapping[str, Any], options: Mapping[str, Any]
    ) -> None:
        database = self._scope.collections.database
        views = [
            item["name"]
            for item in listing.collections(database, {"type": "view"})
            if item["options"].get("viewOn") == real
        ]
        if views and not _same_collation(was, options):
            plan.warnings.append(
                f"{name}: the views {', '.join(sorted(views))} keep their own collation"
            )

    # -- applying ----------------------------------------------------------------------------

    def _build(self, writer: Writer, real: str, new: str) -> bool:
        """Make the new collection, or what an earlier attempt left out; return if it is capped."""
        database = writer.database
        was = _options(database, real)
        options = self._wanted(was)
        if ddl.listed(database, new) is None:
            try:
                ddl.run(writer, {"create": new, **options})
            except OperationFailure as error:
                if retry.is_retryable(error):
                    raise
                raise MigrationError(
                    f"{real}: the server makes no collection with the options of "
                    f"steps[{self._step.index}].{KIND}: {str(error).split(', full error:')[0]}",
                    code=error.code,
                ) from error
        for spec in carried(was, options, ddl.indexes(database, real)):
            ddl.build(writer, database[new], spec)
        return bool(options.get("capped"))

    def _fill(self, writer: Writer, real: str, new: str, *, capped: bool) -> None:
        """Copy, and compare until nothing differs."""
        for _pass in range(_MOST_PASSES):
            if not copying.bring(writer, real, new, capped=capped):
                return
        raise MigrationError(
            f"{real} is being written to, so that no copy of it is ever complete. Stop the writers "
            f"({commands.STOP_WRITERS}), then run the same command again: the copy is kept, and "
            "only what differs is copied again."
        )


def carried(
    was: Mapping[str, Any], options: Mapping[str, Any], specs: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return indexes as the rebuilt collection gets them.

    One that had the collection's default collation takes over the new default.

    Args:
        was: the collection's options.
        options: those that it gets.
        specs: its indexes.
    """
    default, found = options.get("collation"), []
    for spec in specs:
        own = index_specs.collation(spec.get("collation"))
        follows = own == index_specs.collation(was.get("collation"))
        if set(_WITHOUT_COLLATION) & set(map(str, spec["key"].values())):
            follows = False
        kept = {key: value for key, value in spec.items() if key != "collation" or not follows}
        found.append(dict(kept) if follows else ddl.explicit(kept, default))
    return found


def _options(database: Database[dict[str, Any]], name: str) -> dict[str, Any]:
    return dict((ddl.listed(database, name) or {}).get("options", {}))


def _same_collation(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    mine, others = (index_specs.collation(options.get("collation")) for options in (one, other))
    return mine == others


def _same_options(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two collections have the same options, as the server completes them."""
    return compare.same(*(_sorted(options) for options in (one, other)))


def _sorted(options: Mapping[str, Any]) -> dict[str, Any]:
    found = completed(options)
    if clustered := found.get("clusteredIndex"):
        found["clusteredIndex"] = {"key": clustered["key"], "name": clustered.get("name", "_id_")}
    return dict(sorted(found.items()))
