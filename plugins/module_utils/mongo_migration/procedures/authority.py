"""What a run may do is said by the migration document on the controller, and by nothing else.

A run's document and its journal lie in a database that others may write to. They say how far the
run is and what documents held before; they never say what is to be done. The document does: its
text comes with the command, its digest is computed anew and must be the run's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo.database import Database

from ..document import definition as definitions
from ..document.collections import Collections, is_ours
from ..document.definition import Definition, Step
from ..errors import MigrationError
from ..ledger.journal import Entry
from ..ledger.state_format import StateError
from ..operations.base import Touched
from ..operations.registry import kind_of, names, reach
from ..support import commands
from ..values import ejson

_COMMANDS = "command"


def bind(run: Mapping[str, Any], definition: Definition) -> Definition:
    """Return *definition* with the values that *run* began with.

    Values are data, and are checked against what the document declares. Which collections are
    meant, and what commands are run, is what the inventory says today: where the run says something
    else, it isn't bound.

    Raises:
        MigrationError: the run is one of another document, or of other collections or commands.
    """
    if run["digest"] != definition.digest:
        raise _another(run, definition)
    _refuse_other_collections(run, definition)
    bound = definitions.load(
        definition.text,
        definition.source,
        variables=run["variables"],
        collections=definition.collections,
        assume_applied=definition.assume_applied,
        files=definition.files,
    )
    for theirs, ours in zip(bound.steps, definition.steps, strict=True):
        if ours.kind == _COMMANDS and theirs.options != ours.options:
            raise MigrationError(
                f"Run {run['_id']} began with other variables than the inventory has now, and they "
                f"change what steps[{ours.index}] of {definition.source} runs. A command is never "
                "taken from the database: give the variables as they were, with "
                "migration_variables.",
                run=run["_id"],
            )
    return bound


def take_up(run: Mapping[str, Any], definition: Definition) -> None:
    """Require that *run* may go on by *definition*, with the values that the inventory has today.

    The plan, the gate and the evidence have seen those. What is undone or verified goes by the
    values of the run; what is still to be written doesn't, since others may have written them.

    Raises:
        MigrationError: as :func:`bind`; or it began with other values.
    """
    if differing := differing_values(bind(run, definition), definition):
        raise MigrationError(
            f"Run {run['_id']} began with other values than the inventory has now: "
            f"{', '.join(differing)}. What is written goes by what the plan, the gate and the "
            "evidence have seen, so it doesn't go on. If the run's values are right (the evidence "
            "of the command that began it names them), give them again with migration_variables; "
            f"or undo what it did: {commands.roll_back(definition.id)}",
            run=run["_id"],
        )


def differing_values(bound: Definition, definition: Definition) -> list[str]:
    """Return in words each variable of which the run has another value than the inventory today.

    Args:
        bound: *definition* with the values of the run.
        definition: as the inventory has it.
    """
    return [
        f"{name}: {ejson.short(bound.variables[name])} (inventory: {ejson.short(today)})"
        for name, today in definition.variables.items()
        if bound.variables[name] != today
    ]


def _another(run: Mapping[str, Any], definition: Definition) -> MigrationError:
    return MigrationError(
        f"Run {run['_id']} was made by a document with digest {run['digest'][:12]}; "
        f"{definition.source} has {definition.digest[:12]}. What a run does is never taken from "
        "the database: check out the revision that the run was made with (its evidence names it), "
        "then run the same command again.",
        run=run["_id"],
        digest=run["digest"],
    )


def _refuse_other_collections(run: Mapping[str, Any], definition: Definition) -> None:
    was = {item["name"]: item.get("real") for item in run["collections"]}
    # Names that no step writes to may have come to the inventory since.
    for name in sorted(set().union(*map(names, definition.steps))):
        then, now = was.get(name, name), definition.collections.get(name, name)
        if then != now:
            raise MigrationError(
                f"Run {run['_id']} worked with mongo_collections {{{name}: {then}}}, the inventory "
                f"says {{{name}: {now}}}. Which collections are meant is never taken from the "
                f"database: put {name}: {then} into the inventory if that is right, then run the "
                "same command again.",
                run=run["_id"],
            )


class Authority:
    """Says of each journal entry whether its run may have written it.

    Args:
        database: the migrated database.
        run: the run's document.
        definition: bound to the run; None where it isn't at hand, which leaves exact data alone.
    """

    def __init__(
        self,
        database: Database[dict[str, Any]],
        run: Mapping[str, Any],
        definition: Definition | None,
    ) -> None:
        self._run = run
        self._steps: dict[int, tuple[Step, list[Touched]]] | None = None
        if definition is not None:
            there = Collections(database, definition.collections)
            self._steps = {step.index: (step, reach(step, there)) for step in definition.steps}

    def step(self, entry: Entry) -> Step | None:
        """Return the step that wrote *entry*, from the document.

        Raises:
            StateError: no step of the document writes such an entry.
            MigrationError: the document isn't at hand, and undoing the entry needs it.
        """
        kind = kind_of(entry)
        touched = kind.touched(entry)
        if self._steps is None:
            if kind.needs_document or _is_ours(touched.collection):
                raise without_document(self._run)
            return None
        step, allowed = self._steps.get(entry["step"], (None, []))
        fits = touched.nothing or all(item in allowed for item in kind.touches(entry))
        if step is None or not fits:
            raise self._refusal(entry, f"did a {kind.kind} in {entry['collection']!r}")
        if differing := kind.differs(entry, step):
            raise self._refusal(entry, f"did {differing}")
        return step

    def _refusal(self, entry: Entry, what: str) -> StateError:
        return StateError(
            f"Entry {entry['seq']} of run {self._run['_id']} ({ejson.short(entry['_id'])}) "
            f"says that step {entry['step']} {what}: no "
            "step of the migration document does that. Nothing was done by it. Someone else "
            "has written there: look who may (docs/privileges.md), and remove the entry.",
            id=entry["_id"],
        )


def without_document(run: Mapping[str, Any]) -> MigrationError:
    """Return the error of a run that needs its document, which isn't at hand."""
    return MigrationError(
        f"Undoing run {run['_id']} needs its migration document, with digest "
        f"{run['digest'][:12]}: what it runs is never taken from the database. Check out the "
        "revision that the run was made with (its evidence names it), then run the same command "
        "again.",
        run=run["_id"],
        digest=run["digest"],
    )


def _is_ours(collection: str) -> bool:
    return is_ours(collection) or collection.startswith("system.")
