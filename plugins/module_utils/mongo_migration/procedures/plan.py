"""The plan: what a migration would do, and every reason to refuse it, all at once. Read only."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database

from ..document import variables
from ..document.collections import Collections, is_ours
from ..document.definition import Definition, Step
from ..document.other_tools import is_theirs
from ..document.value_sources import Scope
from ..errors import Collector, DefinitionError
from ..ledger import adopted, partial_restore, runs
from ..operations import dependencies, understood
from ..operations.base import Check, Operation
from ..operations.futures import Rewrite
from ..operations.registry import OPERATIONS, build, foresee, names
from ..server import transactions
from ..support import commands
from ..values.abridged import abridge
from . import conditions, cutover, estimate, expiring, foresight, remedies, scattered, sharded

# What a row or a problem of a plan shows of documents.
_MISUNDERSTOOD = "{} says what MongoDB doesn't understand. Correct it:"
_SHOWN = ("samples", "preview", "unresolved")

# From when on an idle transaction isn't one between two statements any more.
HUNG_SECONDS = 10.0


def make(
    client: MongoClient[dict[str, Any]], database: str, definition: Definition
) -> dict[str, Any]:
    """Return the plan of *definition* on *database*, as plain values.

    Its ``problems`` are reasons to refuse. Nothing is written.

    Raises:
        DefinitionError: the document names a collection that doesn't exist.
        MigrationError: the database is half restored.
    """
    partial_restore.refuse(client[database])
    return survey(client[database], definition, now=None)


def survey(
    database: Database[dict[str, Any]],
    definition: Definition,
    *,
    now: datetime.datetime | None,
    comment: str = "migration-playbooks plan",
) -> dict[str, Any]:
    """Plan each step, seeing what the steps before it will have inserted.

    Args:
        database: the database.
        definition: the migration.
        now: the instant that the run calls now; by default the server's.
        comment: what the server's operations carry.
    """
    collections = Collections(database, definition.collections)
    foresee(collections, definition.steps)
    scope = Scope(
        collections=collections,
        now=now or runs.server_now(database),
        planned={},
        comment=comment,
    )
    _check_names(definition, scope)
    before = count(collections, definition)
    problems = _changelog_problems(database, definition)
    _check_conditions(definition, scope)
    unmet, warnings = _preconditions(definition, scope, before)
    planned = _plan_steps(definition, scope, before)
    foreseen, more = foresight.judge(definition, scope, planned.future, before=before)
    written = [item for _step, operation in planned.operations for item in operation.touches()]
    impossible, untried = sharded.examine(database, written, comment)
    found = (*problems, *unmet, *planned.problems, *foreseen, *impossible)
    problems = [remedies.explain(item, definition) for item in found]
    warnings += untried + planned.warnings + more
    warnings += expiring.warnings(scope, _touched(planned.operations), _built(planned.operations))
    warnings += scattered.warnings(database, written, comment) + _hung_transactions(database)
    rows = [_abridged(row) for row in planned.rows]
    problems = [_abridged(item) for item in problems]
    facts = {
        "migration": definition.id,
        "name": definition.name,
        "digest": definition.digest,
        "database": database.name,
        "downtime": definition.downtime,
        "now": scope.now,
        "variables": definition.variables,
        "steps": rows,
        "before": before,
        "totals": _totals(rows),
        "problems": problems,
        "repairs": remedies.repairs(problems),
        "next": remedies.commands(problems, definition),
        "warnings": warnings,
    }
    facts["cutover"] = cutover.choose(definition)
    facts["estimate"] = estimate.estimate(facts, database)
    facts["problems"] += estimate.no_room(facts, database)
    return facts


def _abridged(row: dict[str, Any]) -> dict[str, Any]:
    """Return *row* with samples that fit, all together, into the run's document."""
    return {
        key: [abridge(item) for item in value] if key in _SHOWN and value else value
        for key, value in row.items()
    }


@dataclass(kw_only=True)
class _Planned:
    """What the plans of the steps come to."""

    operations: list[tuple[Step, Operation]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    problems: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    future: foresight.Future = field(default_factory=foresight.Future)


def _plan_steps(definition: Definition, scope: Scope, before: dict[str, int]) -> _Planned:
    """Plan one step after another.

    Raises:
        DefinitionError: a step can't be planned, as it depends on what an earlier one will do.
    """
    planned = _Planned()
    earlier: list[dependencies.Earlier] = []
    refused, misunderstood = Collector(DefinitionError), Collector(DefinitionError)
    for step, operation in active(definition, scope, before):
        for what in dependencies.conflicts(step, operation, scope.collections, earlier):
            refused.add(what)
        earlier.append(dependencies.of(step, operation, scope.collections))
        for what in understood.refusals(step, type(operation), scope):
            misunderstood.add(what)
        if refused.problems or misunderstood.problems:
            continue  # planned on what is something else by then
        told = {name: len(known) for name, known in scope.rewrites.items()}
        made = operation.plan()
        planned.future.add(made, operation.touches())
        _note_unknown(scope, operation, told)
        planned.operations.append((step, operation))
        planned.rows += made.rows
        planned.problems += made.problems
        planned.warnings += made.warnings
    misunderstood.raise_if_any(_MISUNDERSTOOD.format(definition.source), source=definition.source)
    refused.raise_if_any(
        f"{definition.source}: no plan could tell what these steps will do. Make each a migration "
        f'of its own, with after: ["{definition.id}"]:'
    )
    return planned


def _preconditions(
    definition: Definition, scope: Scope, before: Mapping[str, int]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the preconditions that don't hold: problems, and warnings."""
    problems, warnings = [], []
    for spec, check in conditions.evaluate(
        definition.preconditions,
        scope,
        variables=definition.variables,
        before=before,
        where=f"{definition.source}: preconditions",
        to_come=set().union(
            *(OPERATIONS[step.kind].creates(step.options) for step in definition.steps)
        ),
    ):
        if isinstance(check, str) or check.passed:
            continue
        if check.severity == "warning":
            warnings.append(f"{check.name}: found {check.observed} ({check.detail})")
        else:
            problems.append(_failed(spec, check))
    return problems, warnings


def _hung_transactions(database: Database[dict[str, Any]]) -> list[str]:
    return [
        f"{one}: an index build and writes to its documents would wait for it{one.ending}"
        for one in transactions.look(database.client)
        if one.idle_seconds >= HUNG_SECONDS
    ]


def _failed(spec: dict[str, Any], check: Check) -> dict[str, Any]:
    """Return a precondition that doesn't hold as a problem."""
    return {
        "step": None,
        "collection": conditions.names([spec]).pop(),
        "what": f"{check.name}: expected {check.expected}, found {check.observed}"
        + (f" ({check.detail})" if check.detail else ""),
        "count": check.observed if isinstance(check.observed, int) else 1,
        "samples": check.samples,
        "policy": "precondition",
        "fix": spec.get("fix", "correct the data until it holds, then run the same command again"),
        **({"repair": spec["repair"]} if "repair" in spec else {}),
    }


def _touched(operations: Iterable[tuple[Step, Operation]]) -> set[str]:
    """Return the real names of the collections whose documents *operations* write to."""
    return {
        item.collection
        for _step, operation in operations
        for item in operation.touches()
        if item.label or item.removes
    }


def _built(
    operations: Iterable[tuple[Step, Operation]],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the real name of each collection that gets an index, with its specification."""
    for step, operation in operations:
        for _place, spec in operation.indexes(step.options):
            for item in operation.touches():
                if item.index is not None:
                    yield item.collection, spec


def _note_unknown(scope: Scope, operation: Operation, told: Mapping[str, int]) -> None:
    """Note what *operation* changes in a way that it didn't tell."""
    for item in operation.touches():
        known = scope.rewrites.setdefault(item.collection, [])
        changes = item.label or item.removes or item.command
        if changes and len(known) == told.get(item.collection, 0):
            known.append(Rewrite.untold(None))


def active(
    definition: Definition, scope: Scope, before: dict[str, int]
) -> Iterable[tuple[Step, Operation]]:
    """Yield the steps whose ``when`` holds, with their operations, built one after another."""
    values = {**definition.variables, "before": before}
    for step in definition.steps:
        where = f"{definition.source}: steps[{step.index}]"
        if variables.condition(step.when, values, where=where):
            yield step, build(step, scope)


def rehearsed(facts: dict[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plan whose estimate is what a rehearsal on a copy of the data measured.

    Args:
        facts: the plan.
        measured: ``at``, ``of``, ``documents`` and ``seconds`` by phase; empty if there was none.
    """
    seconds = measured.get("seconds") or {}
    if not seconds.get("migrate") or not facts["estimate"]["seconds"]:
        return facts
    estimate = {**facts["estimate"], "seconds": seconds["migrate"], "rehearsed": dict(measured)}
    if facts["cutover"]["kind"] == cutover.STOPPED:
        estimate["stopped_seconds"] = cutover.seconds_stopped(
            cutover.STOPPED,
            seconds=seconds["migrate"] + seconds.get("verify", 0),
            documents=facts["totals"]["documents"],
        )
    return {**facts, "estimate": estimate}


def count(collections: Collections, definition: Definition) -> dict[str, int]:
    """Return the documents per collection that the document names, by its names."""
    return {
        name: collections.get(name).count_documents({})
        for name in sorted(_names(definition))
        if collections.exists(name)
    }


def work(plan: Mapping[str, Any]) -> int:
    """Return how many documents *plan* writes."""
    totals = plan["totals"]
    # The plan of an older run, read again, may not know what is removed or copied.
    more = totals.get("to_remove", 0) + totals.get("to_copy", 0)
    return int(totals["to_change"] + totals["to_insert"] + more)


def is_idle(plan: Mapping[str, Any]) -> bool:
    """Return whether *plan* finds nothing to do and nothing wrong."""
    commands = any("command" in row for row in plan["steps"])
    totals = plan["totals"]
    things = totals["indexes_to_build"] + totals["to_drop"]
    return not (work(plan) or things or commands or plan["problems"])


def _names(definition: Definition) -> set[str]:
    found = conditions.names((*definition.preconditions, *definition.postconditions))
    return found.union(*map(names, definition.steps))


def _check_names(definition: Definition, scope: Scope) -> None:
    """Look every name up and build every step once, so that all wrong names are told at once."""
    problems = Collector(DefinitionError)

    def attempt(make: Callable[[], object]) -> None:
        try:
            make()
        except DefinitionError as error:
            if error.message not in problems.problems:
                problems.add(error.message)

    for make in _lookups_of(definition, scope):
        attempt(make)
    problems.raise_if_any(f"{definition.source} doesn't fit database '{_database(scope)}':")


def _check_conditions(definition: Definition, scope: Scope) -> None:
    misunderstood = Collector(DefinitionError)
    for what in understood.refused_checks(definition, scope):
        misunderstood.add(what)
    misunderstood.raise_if_any(_MISUNDERSTOOD.format(definition.source), source=definition.source)


def _lookups_of(definition: Definition, scope: Scope) -> Iterator[Callable[[], object]]:
    """Yield what fails where a name is wrong."""
    there = scope.collections
    for step in definition.steps:
        named = names(step)
        ours = {name for name in named if is_ours(there.real_name(name))}
        listed = named.intersection(step.options.get("collections", ()))
        for name in sorted(ours | {one for one in listed if not there.absent(one)}):
            yield partial(there.get, name)
        yield partial(build, step, scope)


def _database(scope: Scope) -> str:
    return scope.collections.database.name


def _changelog_problems(
    database: Database[dict[str, Any]], definition: Definition
) -> list[dict[str, Any]]:
    return [
        {
            "step": None,
            "collection": "_migrations",
            "what": f"migration {earlier} must be applied before {definition.id}, and isn't",
            "count": 1,
            "samples": [],
            "policy": f"after: {earlier}",
            "fix": f"{commands.command('adopt')} takes over what that tool has applied"
            if is_theirs(earlier)
            else f"{commands.carry_out(earlier, '')} first; if another tool applied it, "
            "list it in migrations_assumed_applied",
        }
        for earlier in definition.after
        if earlier not in definition.assume_applied and not _is_applied(database, earlier)
    ]


def _is_applied(database: Database[dict[str, Any]], earlier: str) -> bool:
    if is_theirs(earlier):
        return adopted.is_adopted(database, earlier)
    return runs.is_applied(database, earlier)


_TOTALS = {
    "to_change": "changes",
    "to_insert": "inserts",
    "to_remove": "removes",
    "indexes_to_build": "builds",
    "to_drop": "drops",
    "to_copy": "copies",
}


def _totals(rows: list[dict[str, Any]]) -> dict[str, int]:
    documents = {row["real_name"]: row["documents"] for row in rows}
    return {
        "documents": sum(documents.values()),
        "candidates": sum(row["candidates"] for row in rows),
        **{total: sum(row["amounts"][amount] for row in rows) for total, amount in _TOTALS.items()},
    }
