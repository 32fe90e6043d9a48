"""``validate``: a collection's validator, with its level and its action."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure

from ...document.definition import Step
from ...document.value_sources import Scope
from ...ledger.batches import Writer
from ...ledger.journal import Entry
from ...ledger.shapes import Shape
from ...support.tables import number, place
from ...values import compare, ejson
from .. import ddl
from ..base import Check, Plan, Row, Touched, amounts, problem
from ..ddl import EachNamed, ReshapeEntry
from ..entries import Remaining, Revert
from ..refusals.validators import Refusal, violating

KIND = "validate"


class Validate(EachNamed):
    """See the module. Options are those of the schema's ``validate``."""

    KIND = KIND

    def __init__(self, step: Step, scope: Scope) -> None:
        super().__init__(step, scope)
        options = step.options
        asked = {
            "validator": options["validator"],
            "validationLevel": options.get("level", "strict"),
            "validationAction": options.get("action", "error"),
        }
        self._rule = ddl.rule_in(asked)

    @staticmethod
    def lines(rows: Sequence[Row]) -> list[str]:
        """Return the rules, and how many documents each would refuse."""
        lines = ["Validators"]
        for row in rows:
            level, action = (row["becomes"].get(k, "-") for k in ddl.LEVEL_AND_ACTION)
            lines.append(
                f"  {place(row)}: {level}, {action}; refuses {number(row['refuses'])} of the "
                "documents that are there"
                + (
                    f", such as {', '.join(map(ejson.short, row['samples']))}"
                    if row["samples"]
                    else ""
                )
            )
        return lines

    @staticmethod
    def diff(row: Row) -> tuple[list[str], list[str]]:
        """Return the rules."""
        label = f"{row['real_name']}: validator {{}}"
        return [label.format(ejson.short(row["was"] or "none", 1000))], [
            label.format(ejson.short(row["becomes"] or "none", 1000))
        ]

    def plan(self) -> Plan:
        """Count the documents that the new rule would refuse."""
        plan = Plan()
        for name, real in self._targets:
            collection = self._scope.collections.database[real]
            was = ddl.rule_of(collection.database, real)
            refusal: Refusal | None = Refusal(count=0, samples=[])
            try:
                if self._rule:
                    refusal = self._foreseen(name, collection)
            except OperationFailure as error:
                plan.problems.append(self._wrong(name, error))
            if refusal is None:
                plan.warnings.append(
                    f"{name}: how many documents don't fit the new rule can't be known before the "
                    "earlier steps have changed them"
                )
                refusal = Refusal(count=0, samples=[])
            elif refusal.count:
                plan.warnings.append(self._said(name, refusal.count))
            plan.rows.append(
                self.row(
                    name,
                    real,
                    documents=collection.estimated_document_count(comment=self._scope.comment),
                    was=was,
                    becomes=self._rule,
                    refuses=refusal.count,
                    samples=refusal.samples,
                    amounts=amounts(builds=int(not compare.same(was, self._rule))),
                )
            )
            self._scope.rules[real] = self._rule
        return plan

    def _foreseen(self, name: str, collection: Collection[dict[str, Any]]) -> Refusal | None:
        """Return what the rule refuses of the documents as earlier steps make them."""
        # That there is such a rule, whatever the collection holds.
        collection.find_one(self._rule["validator"], {"_id": 1}, comment=self._scope.comment)
        return violating(
            collection,
            self._rule["validator"],
            rewrites=self._scope.rewrites.get(collection.name, []),
            inserted=self._scope.planned.get(name, []),
            comment=self._scope.comment,
        )

    def _said(self, name: str, count: int) -> str:
        if self._rule["validationAction"] == "warn":
            what = "the server would only log it when one of them is written"
        elif self._rule["validationLevel"] == "moderate":
            what = "they stay, and may be changed without becoming valid (moderate)"
        else:
            what = "they stay, and any change that leaves one invalid is refused from then on"
        return f"{name}: {count:,} documents don't fit the new rule: {what}"

    def _wrong(self, name: str, error: OperationFailure) -> dict[str, Any]:
        return problem(
            step=self._step.index,
            collection=name,
            what=f"the server refuses the rule: {str(error).split(', full error:')[0]}",
            count=1,
            samples=[],
            policy="a rule must be one",
            fix=f"correct steps[{self._step.index}].{KIND}.validator",
        )

    def entry(self, real: str, writer: Writer) -> dict[str, Any] | None:
        """Return the rule from before and the new one."""
        was = ddl.rule_of(writer.database, real)
        return None if compare.same(was, self._rule) else {"was": was, "rule": self._rule}

    def change(self, writer: Writer, real: str, entry: Entry) -> None:
        """Set the rule; to set it twice does no harm."""
        ddl.set_rule(writer, real, self._rule)

    def check(self) -> Iterator[Check]:
        """Compare the rule."""
        for name, real in self._targets:
            found = ddl.rule_of(self._scope.collections.database, real)
            yield Check(
                name=f"{name}: the validator is the one of the migration",
                passed=compare.same(found, self._rule),
                expected=self._rule,
                observed=found,
                examined=1,
            )


class ChangedRule(ReshapeEntry):
    """A validator was changed."""

    kind = KIND
    shape: ClassVar[Shape] = {"was": ddl.is_rule, "rule": ddl.is_rule}

    def touched(self, entry: Entry) -> Touched:
        """Return the collection's options."""
        return Touched(collection=entry["collection"], whole=True)

    def remaining(self, database: Database[dict[str, Any]], entry: Entry) -> Remaining:
        """Return the collection, if its rule isn't the one from before."""
        found = ddl.rule_of(database, entry["collection"])
        return Remaining(
            what=f"{entry['collection']}: the validator is as it was",
            examined=1,
            left=[] if compare.same(found, ddl.rule_in(entry["was"])) else ["validator"],
        )

    def revert(self, writer: Writer, entry: Entry, on_conflict: str, step: Step | None) -> None:
        """Give the rule from before back, unless another one was set since."""
        del step
        name, was, rule = entry["collection"], ddl.rule_in(entry["was"]), entry["rule"]
        undone = Revert(writer, entry, "rebuilt")
        found = ddl.rule_of(writer.database, name)
        if not compare.same(found, rule) and not compare.same(found, was):
            if on_conflict != "restore":
                undone.conflict("validator", rule, found, "the validator was changed since")
            undone.refuse_if(on_conflict == "fail")
        if not undone.conflicts and not compare.same(found, was):
            ddl.set_rule(writer, name, was)
        undone.count = int(not undone.conflicts)
        undone.commit(lambda _session: None)
