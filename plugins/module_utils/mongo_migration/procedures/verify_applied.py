"""The checks of a run that stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pymongo.database import Database

from ..document.collections import Collections
from ..document.definition import Definition, Step
from ..document.value_sources import Scope
from ..errors import DefinitionError
from ..ledger import runs
from ..ledger.journal import Journal
from ..maintenance import mode
from ..operations import dependencies
from ..operations.base import Check, Operation
from ..operations.registry import foresee
from ..support import background
from ..support.progress import Sink
from . import authority, baseline, conditions, journal_pass
from . import plan as plans
from .journal_pass import Seen, Wholeness
from .nothing_else import NothingElse, Present, foreign_writes, present
from .results import Result, skipped
from .value_proof import ValueProof

_COMMENT = "migration-playbooks verify"
_READING = {"phase": "verify", "detail": "the journal"}


def values_of_today(bound: Definition, definition: Definition) -> Iterator[Result]:
    """Yield the check that the run began with the values that the inventory has.

    By them it is known what data have to look like. They lie in the database, where others may
    write: unless they are the inventory's, whoever planted a run has said what is right.

    Args:
        bound: the migration, with the variables of the run.
        definition: the same, with those of the inventory.
    """
    if not definition.variables:
        return
    differing = authority.differing_values(bound, definition)
    yield Check(
        name="the run began with the values that the inventory has",
        passed=not differing,
        expected=definition.variables,
        observed=bound.variables,
        examined=len(definition.variables),
        detail=f"{', '.join(differing)}. If the inventory was changed since, give the values of "
        "then with migration_variables: the evidence of the command that began the run names them"
        if differing
        else "",
    )


def checks(
    db: Database[dict[str, Any]],
    document: dict[str, Any],
    journal: Journal,
    bound: Definition,
    *,
    alone: bool,
    report: Sink,
) -> Iterator[Result]:
    """Yield the checks of a run that is applied.

    Args:
        db: the database.
        document: of the run.
        journal: of the run.
        bound: the migration, with the variables of the run.
        alone: nobody else knows this database, so that nobody can have written to it.
        report: told of what is read; may end it.
    """
    there = Collections(db, bound.collections)
    foresee(there, bound.steps)
    scope = Scope(collections=there, now=document["now"], planned={}, comment=_COMMENT)
    operations: list[Operation] = []

    def hash_all(check: Callable[[], None]) -> Present:
        def heed(event: dict[str, Any]) -> None:
            check()
            report(event)

        return present(db, document, journal, alone=alone, comment=_COMMENT, report=heed)

    # While the server counts for the other checks, this process hashes.
    with background.running(hash_all) as reading:
        yield from _by_the_document(document, bound, scope, operations)
        now = reading.result()
    if document["phase"] in (runs.PRUNING, runs.PRUNED):
        why = "its journal was removed on purpose, and the way back ended"
        yield skipped("every value is as the journal says, and nothing else changed", why)
        return
    wholeness, others = Wholeness(document), NothingElse(document, now, rolled_back=False)
    counts = Counts(document, scope, now)
    values = ValueProof(db, operations, compared=now is not None, after=_proved(db, document))
    observers = (wholeness, others, counts, values)
    journal_pass.read(journal, observers, lambda: report(_READING))
    yield wholeness.check()
    yield from others.checks()
    yield from values.checks()
    yield from counts.checks()


def _by_the_document(
    document: Mapping[str, Any], bound: Definition, scope: Scope, operations: list[Operation]
) -> Iterator[Result]:
    """Yield what the steps and the postconditions say of the data; fill *operations*."""
    # What a step did away with, or took all documents from, is rightly empty.
    emptied = _emptied(document["plan"])
    before = {
        name: count
        for name, count in document["plan"]["before"].items()
        if not scope.collections.goes(name) and name not in emptied
    }
    try:
        active = list(plans.active(bound, scope, document["plan"]["before"]))
        operations += [operation for _step, operation in active]
        for number, (_step, operation) in enumerate(active, 1):
            found = _unless_emptied(operation.check(), before)
            yield from _unless_blurred(found, operation, active[number:])
    except DefinitionError as error:  # a collection was dropped or renamed since
        yield Check(
            name="every collection of the migration exists",
            passed=False,
            expected="all exist",
            observed="one doesn't",
            examined=0,
            detail=error.message,
        )
    for spec, check in conditions.evaluate(
        bound.postconditions,
        scope,
        variables=bound.variables,
        before=before,
        where=f"{bound.source}: postconditions",
    ):
        yield skipped(spec["name"], check) if isinstance(check, str) else check


def _emptied(plan: Mapping[str, Any]) -> set[str]:
    """Return the collections from which a plan takes every document, by the document's names."""
    left: dict[str, int] = {}
    for row in plan["steps"]:
        gone = row.get("amounts", {}).get("removes", 0)
        left[row["collection"]] = left.get(row["collection"], row.get("documents", 0)) - gone
    return {name for name, count in left.items() if count <= 0}


def _unless_blurred(
    found: Iterator[Check], operation: Operation, later: Sequence[tuple[Step, Operation]]
) -> Iterator[Result]:
    """Yield checks; of one that fails, say where a later step rightly wrote since."""
    for check in found:
        blurring = (
            None
            if check.passed
            else dependencies.blurring(operation, (one for _step, one in later))
        )
        why = "writes there afterwards; the journal is what proves both"
        yield skipped(check.name, f"{blurring} {why}") if blurring else check


def _proved(db: Database[dict[str, Any]], document: Mapping[str, Any]) -> int:
    """Return up to which entry documents were proved just before writers were stopped.

    Only while they still are: whoever verifies later looks at all of them.
    """
    if document["phase"] != "applied" or not mode.is_on(db):
        return 0
    return int((document.get("cutover") or {}).get("proved", 0))


def _unless_emptied(found: Iterator[Check], before: Mapping[str, int]) -> Iterator[Check]:
    for check in found:
        name = check.name.partition(":")[0]
        if check.passed and not check.examined and before.get(name, 0):
            check.passed = False
            check.detail = f"{name} is empty, but had {before[name]:,} documents before"
        yield check


class Counts:
    """No document came or went: exact while writers are stopped, said when they weren't."""

    def __init__(self, document: Mapping[str, Any], scope: Scope, now: Present) -> None:
        self._document = document
        self._scope = scope
        self._now = now
        # How many documents less the run left, by collection.
        self._removed: dict[str, int] = {}

    def see(self, seen: Seen) -> None:
        """Count the documents that came and went by an entry."""
        for effect in () if self._now is None else seen.effects:
            less = len(effect.removed) - len(effect.inserted)
            self._removed[effect.collection] = self._removed.get(effect.collection, 0) + less

    def checks(self) -> Iterator[Result]:
        """Yield a check for each collection, once all entries were seen."""
        if self._now is None:
            why = "writers are not stopped, so documents may legitimately come and go"
            yield skipped("as many documents as before in every collection", why)
            return
        plan, collections = self._document["plan"], self._scope.collections
        inserts = {row["collection"] for row in plan["steps"] if "to_insert" in row}
        loose = foreign_writes(self._document)
        for name, was in plan["before"].items():
            real = collections.real_name(name)
            if name in inserts or real in loose or collections.goes(name):
                continue
            if "until" in (self._now.get(real) or {}):
                label = f"{name}: as many documents as before"
                yield skipped(label, "a TTL index deletes documents by itself")
                continue
            yield self._check(name, was, self._removed.get(real, 0))

    def _check(self, name: str, was: int, gone: int) -> Check:
        collections, now = self._scope.collections, 0
        if self._now is not None and collections.exists(name):
            now = baseline.digest(self._now.get(collections.real_name(name))).count
        return Check(
            name=f"{name}: as many documents as before"
            + (f" but the {gone:,} removed" if gone > 0 else "")
            + (f" and the {-gone:,} inserted" if gone < 0 else ""),
            passed=now == was - gone,
            expected=was - gone,
            observed=now,
            examined=now,
        )
