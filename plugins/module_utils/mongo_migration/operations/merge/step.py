"""The operation ``merge_duplicates``: plan, apply and check."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pymongo.errors import OperationFailure

from ...document.collections import Collections
from ...document.definition import Step
from ...document.value_sources import Scope
from ...errors import MigrationError
from ...ledger.batches import Writer
from ...support import commands, retry
from ...support.chunks import chunks
from ...support.tables import aligned, number, place
from ...values import ejson
from .. import left_alone
from ..base import Check, Operation, Plan, Row, Touched, amounts, problem
from ..futures import Rewrite
from ..refusals import journal_room
from .groups import Group, Groups
from .merging import KIND, Merging, read
from .references import References, named

_SAMPLES = 5
# Removals that a plan lists one by one.
_MOST_SHOWN = 1000
# Writers may go on making duplicates; this often is enough.
_MOST_PASSES = 20


class MergeDuplicates(Operation):
    """See the module. Options are those of the schema's ``merge_duplicates``."""

    KIND = KIND
    VARIABLES = ()

    def __init__(self, step: Step, scope: Scope) -> None:
        super().__init__(step, scope)
        options, names = step.options, scope.collections
        self._name: str = options["in"]
        self._collection = names.get(self._name, write=True)
        self._references = References(options, scope)
        self._groups = Groups(options, self._collection, self._references, scope)
        self._when_different: str = options.get("when_different", "fail")

    @staticmethod
    def names(options: Mapping[str, Any]) -> set[str]:
        """Return where the duplicates are."""
        return {options["in"]}

    @staticmethod
    def reach(step: Step, names: Collections) -> list[Touched]:
        """Return the references' fields, and the collection that loses documents."""
        options = step.options
        return [
            *(
                Touched(collection=names.real_name(name), field=field)
                for name, field in named(options)
                if not names.absent(name)
            ),
            *(
                Touched(collection=names.real_name(options["in"]), field=field)
                for field in options.get("fields", ())
            ),
            Touched(collection=names.real_name(options["in"]), removes=True),
        ]

    @staticmethod
    def lines(rows: Sequence[Row]) -> list[str]:
        """Return how many documents would go, and how many references would move."""
        heads = ["merges in", "duplicated", "to remove", "references to move", "stays"]
        keys = ("groups", "to_remove", "to_repoint")
        body = [[place(row), *(number(row[key]) for key in keys), row["keep"]] for row in rows]
        return [*aligned([heads, *body], numeric_from=1), *_removals(rows)]

    @staticmethod
    def diff(row: Row) -> tuple[list[str], list[str]]:
        """Return how many documents the collection has."""
        label, total = f"{row['real_name']}: {{:,}} documents", row["documents"]
        return [label.format(total)], [label.format(total - row["to_remove"])]

    def plan(self) -> Plan:
        """Count what would go and which references would be pointed elsewhere."""
        plan = Plan()
        try:
            found = merged = list(self._groups.find())
        except OperationFailure as error:
            if retry.is_retryable(error) or not self._plan_unfit(plan):
                raise
            return plan
        self._plan_differing(plan, [group for group in merged if group.differing])
        if self._when_different != "merge":
            merged = [group for group in merged if not group.differing]
        self._plan_impossible(plan, [identity for group in merged for identity in group.remove])
        removed = sum(len(group.remove) for group in merged)
        moved = sum(group.references for group in merged)
        given = sum(len(group.gets) for group in merged)
        also = self._references.by_collection(i for group in merged for i in group.remove)
        if given:  # field by field, as they are written
            mine = self._collection.name
            also[mine] = also.get(mine, 0) + given
        plan.rows.append(
            {
                "step": self._step.index,
                "kind": KIND,
                "collection": self._name,
                "real_name": self._collection.name,
                "documents": self._collection.count_documents({}, comment=self._scope.comment),
                "candidates": removed,
                "to_remove": removed,
                "to_repoint": moved,
                "amounts": amounts(changes=moved + given, removes=removed),
                "also": also,
                "groups": len(merged),
                "keep": self._groups.staying,
                # Each of them, also those that a policy of `merge` would remove.
                "removals": [
                    {**item, "differs": bool(group.differing)}
                    for group in found
                    for item in group.removals()
                ][:_MOST_SHOWN],
                "samples": [
                    {**group.key, "keep": group.keep, "remove": group.remove[:_SAMPLES]}
                    for group in merged[:_SAMPLES]
                ],
            }
        )
        self._tell_later(identity for group in merged for identity in group.remove)
        ids = [identity for group in merged for identity in (group.keep, *group.remove)]
        plan.change(self._collection.name, {"_id": {"$in": ids}})
        for collection, field in self._references.places:
            plan.change(collection.name, {field: {"$in": ids}}, field)
        return plan

    def _tell_later(self, removed: Iterable[Any]) -> None:
        """Tell the plans of later steps what goes, and which fields change."""
        rewrites = self._scope.rewrites
        known = rewrites.setdefault(self._collection.name, [])
        known.append(Rewrite.going({"_id": {"$in": list(removed)}}))
        known += map(Rewrite.untold, self._step.options.get("fields", ()))
        for collection, field in self._references.places:
            rewrites.setdefault(collection.name, []).append(Rewrite.untold(field.split(".")[0]))

    def apply(self, writer: Writer, position: dict[str, Any]) -> None:
        """Merge group by group, until there are no duplicates."""
        merging = Merging(
            writer,
            step=self._step.index,
            name=self._name,
            collection=self._collection,
            references=self._references,
        )
        for _pass in range(_MOST_PASSES):
            found = [
                g for g in self._groups.find() if self._when_different == "merge" or not g.differing
            ]
            if not found:
                return
            for group in found:
                merging.merge(group)
            if writer.settings.writers_stopped:
                return
        raise MigrationError(
            f"{self._name}: writers make duplicates faster than they can be merged. Stop the "
            f"writers ({commands.STOP_WRITERS}), then run the same command again."
        )

    def check(self) -> Iterator[Check]:
        """Look for duplicates anew."""
        groups = list(self._groups.find())
        left = [g for g in groups if self._when_different != "skip" or not g.differing]
        excused = len(groups) - len(left)
        yield Check(
            name=f"{self._name}: no two {self._groups.words}",
            passed=not left,
            expected=0,
            observed=len(left),
            examined=self._collection.count_documents({}, comment=self._scope.comment),
            detail=f"{excused} left alone by policy" if excused else "",
            samples=[group.key for group in left[:_SAMPLES]],
            left_alone=self._left([g for g in groups if g not in left]),
        )

    def _left(self, groups: Sequence[Group]) -> list[dict[str, Any]]:
        if not groups:
            return []
        return [
            left_alone.item(
                self._name,
                f"duplicates {self._groups.words} that differ in {_differing(groups)}",
                policy="when_different: skip",
                count=len(groups),
                ids=[[group.keep, *group.remove] for group in groups],
            )
        ]

    # -- planning ----------------------------------------------------------------------------

    def _plan_differing(self, plan: Plan, groups: list[Group]) -> None:
        if not groups:
            return
        what = f"duplicates {self._groups.words} differ in {_differing(groups)}"
        if self._when_different == "fail":
            plan.problems.append(
                problem(
                    step=self._step.index,
                    collection=self._name,
                    what=what,
                    count=len(groups),
                    samples=[[group.keep, *group.remove] for group in groups[:_SAMPLES]],
                    policy="when_different: fail",
                    fix="make them agree, or choose to merge or to skip such; the plan lists each "
                    "that merging would remove",
                )
            )
            return
        done = "left alone" if self._when_different == "skip" else "merged all the same"
        plan.warnings.append(f"{self._name}: {len(groups):,} {done} by policy: {what}")

    def _plan_impossible(self, plan: Plan, ids: list[Any]) -> None:
        """Find what could not be put back, or would be left pointing at nothing."""
        comment = self._scope.comment
        large = [
            identity
            for some in chunks(ids, 1000)
            for identity in journal_room.larger(
                self._collection, {"_id": {"$in": some}}, "$$ROOT", comment=comment
            )
        ]
        journal_room.tell(plan, large, step=self._step.index, name=self._name)
        lossy = [
            d["_id"]
            for some in chunks(ids, 1000)
            for d, exact in read(self._collection, some, self._scope.comment)
            if not exact
        ]
        if lossy:
            plan.problems.append(
                problem(
                    step=self._step.index,
                    collection=self._name,
                    what="holds a value of a type that BSON no longer has and that can't be put "
                    "back",
                    count=len(lossy),
                    samples=lossy[:_SAMPLES],
                    policy="a rollback is exact",
                    fix="correct these documents",
                )
            )
        arrays: dict[tuple[str, str], list[Any]] = {}
        for name, field, identity in self._references.inexact(ids):
            arrays.setdefault((name, field), []).append(identity)
        for (name, field), inexact in arrays.items():
            plan.problems.append(
                problem(
                    step=self._step.index,
                    collection=name,
                    what=f"{field} is an array with a value of a type that BSON no longer has and "
                    "that can't be put back",
                    count=len(inexact),
                    samples=inexact[:_SAMPLES],
                    policy="a rollback is exact",
                    fix="correct these documents",
                )
            )

    def _plan_unfit(self, plan: Plan) -> bool:
        """Name the documents for which the server can't compute the key; return if there are."""
        unfit = list(self._groups.unfit())
        if unfit:
            plan.problems.append(
                problem(
                    step=self._step.index,
                    collection=self._name,
                    what=f"the server can't compute their key: {unfit[0][1]}",
                    count=len(unfit),
                    samples=[identity for identity, _said in unfit[:_SAMPLES]],
                    policy="what can't be told isn't merged",
                    fix="correct these documents, leave them out with `where`, or make the "
                    f"expression in steps[{self._step.index}].{KIND}.by give null for them",
                )
            )
        return bool(unfit)


def _removals(rows: Sequence[Row]) -> list[str]:
    """Return each document that goes, or would by the policy `merge`, with what it is."""
    lines = []
    known = ("remove", "keep", "references", "differs")
    for row in rows:
        for item in row.get("removals", ()):
            what = ", ".join(f"{k} {ejson.short(v)}" for k, v in item.items() if k not in known)
            lines.append(
                f"  {ejson.short(item['remove'])} ({what}; {item['references']:,} references) "
                f"for {ejson.short(item['keep'])}" + (", differing" if item["differs"] else "")
            )
    return ["", "Removes, or would if differing ones were merged", *lines] if lines else []


def _differing(groups: Iterable[Group]) -> str:
    return ", ".join(sorted({field for group in groups for field in group.differing}))
