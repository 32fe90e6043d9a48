"""``hide_index``: the query planner sees an index no longer, or again; it is kept up meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from pymongo.database import Database

from ...document.definition import Step
from ...document.value_sources import Scope
from ...ledger.batches import Writer
from ...ledger.journal import Entry
from ...ledger.shapes import Shape
from ...support.tables import place
from .. import ddl
from ..base import Check, Plan, Row, Touched, amounts
from ..ddl import ReshapeEntry
from ..entries import Remaining, Revert
from .drop_index import NamedIndexStep, find, usage

KIND = "hide_index"


class HideIndex(NamedIndexStep):
    """See the module. Options are those of the schema's ``hide_index``."""

    KIND = KIND

    def __init__(self, step: Step, scope: Scope) -> None:
        super().__init__(step, scope)
        self._hidden: bool = step.options.get("hidden", True)

    @staticmethod
    def lines(rows: Sequence[Row]) -> list[str]:
        """Return each index with how often it was used."""
        said = {True: "to hide", False: "to show"}
        return [
            "Indexes to hide or show",
            *(f"  {place(r)}.{r['index']} {said[r['hidden']]} {r['used']}" for r in rows),
        ]

    @staticmethod
    def diff(row: Row) -> tuple[list[str], list[str]]:
        """Return whether each index is hidden."""
        label = f"{row['real_name']}: index {row['index']} hidden: {{}}"
        return [label.format(row["was"])], [label.format(row["hidden"])]

    def plan(self) -> Plan:
        """Say how often the server used each index since its start."""
        plan = Plan()
        for name, real in self._targets:
            there = self.there(real)
            if there is None:
                plan.problems.append(self.missing(name, real))
            was = bool((there or {}).get("hidden"))
            plan.rows.append(
                self.row_of(
                    name,
                    real,
                    was=was,
                    hidden=self._hidden,
                    used=usage(self._scope.collections.database, real, self._name),
                    amounts=amounts(builds=int(was is not self._hidden)),
                )
            )
        return plan

    def entry(self, real: str, writer: Writer) -> dict[str, Any] | None:
        """Return what it was."""
        was = bool((self.there(real) or {}).get("hidden"))
        return None if was is self._hidden else {"index": self._name, "hidden": was}

    def change(self, writer: Writer, real: str, entry: Entry) -> None:
        """Hide or show it."""
        _hide(writer, real, self._name, self._hidden)

    def check(self) -> Iterator[Check]:
        """Look whether it is."""
        for name, real in self._targets:
            there = self.there(real)
            yield Check(
                name=f"{name}: index {self._name} is {'' if self._hidden else 'not '}hidden",
                passed=there is not None and bool(there.get("hidden")) is self._hidden,
                expected=self._hidden,
                observed=None if there is None else bool(there.get("hidden")),
                examined=1,
            )


class HiddenIndex(ReshapeEntry):
    """An index was hidden, or shown."""

    kind = KIND
    shape: ClassVar[Shape] = {"index": str, "hidden": bool}

    def touched(self, entry: Entry) -> Touched:
        """Return the index."""
        return Touched(collection=entry["collection"], index=entry["index"])

    def label(self, entry: Entry) -> str:
        """Return the index."""
        return f"{entry['collection']}.{entry['index']}"

    def remaining(self, database: Database[dict[str, Any]], entry: Entry) -> Remaining:
        """Return the index, if it isn't as it was."""
        there = find(database, entry["collection"], entry["index"])
        back = there is not None and bool(there.get("hidden")) is entry["hidden"]
        return Remaining(
            what=f"{entry['collection']}: index {entry['index']} is as it was",
            examined=1,
            left=[] if back else [entry["index"]],
        )

    def revert(self, writer: Writer, entry: Entry, on_conflict: str, step: Step | None) -> None:
        """Make it what it was."""
        del step
        undone = Revert(writer, entry, "rebuilt")
        if find(writer.database, entry["collection"], entry["index"]) is None:
            undone.conflict(entry["index"], "an index", None, "the index was dropped since")
            undone.refuse_if(on_conflict == "fail")
        else:
            _hide(writer, entry["collection"], entry["index"], entry["hidden"])
        undone.count = int(not undone.conflicts)
        undone.commit(lambda _session: None)


def _hide(writer: Writer, collection: str, index: str, hidden: bool) -> None:
    ddl.run(writer, {"collMod": collection, "index": {"name": index, "hidden": hidden}})
