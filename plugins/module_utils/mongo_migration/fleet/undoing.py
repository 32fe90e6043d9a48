"""The rollback of every database, or of those that were named; each is verified at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..document.definition import Definition
from ..errors import InterruptedRunError, MigrationError
from ..ledger import runs
from ..maintenance import mode
from ..procedures import rollback, verify
from ..procedures.work import Job
from ..support import commands
from . import outcomes
from .applying import HELD, PARTLY, STUCK, JobOf
from .fleet import Fleet, result
from .lanes import Lane
from .outcomes import Outcome, Tally

_ADDED = ("restore", "remove")
_BACK = (outcomes.ROLLED_BACK, outcomes.BACK_BEFORE, outcomes.CONFLICTS)


def plan(fleet: Fleet, migration: str, definition: Definition | None) -> dict[str, Any]:
    """Return what :func:`undo` would do. Read only."""
    tally = Tally()

    def work(lane: Lane, name: str) -> Outcome:
        found = rollback.plan(lane.client[name], migration, definition)
        if not found.get("run"):
            return outcomes.of(name, outcomes.NOTHING, found)
        if found["phase"] == runs.ROLLED_BACK:
            return outcomes.of(name, outcomes.BACK_BEFORE, found)
        would = found["plan"]
        numbers = {key: int(would[key]) for key in _ADDED} | {"drop": len(would["drop"])}
        return outcomes.of(name, outcomes.TO_ROLL_BACK, found, numbers=numbers)

    fleet.each(work, fleet.names, tally, phase="look")
    fleet.stop.check()
    return {
        **result(fleet, tally),
        "changed": bool(tally.counts[outcomes.TO_ROLL_BACK]),
        "run": None,
        "todo": "rollback" if tally.counts[outcomes.TO_ROLL_BACK] else "nothing",
        "plan": {key: tally.numbers[key] for key in (*_ADDED, "drop")},
        "conflict_count": 0,
        "next": commands.roll_back(migration),
    }


def undo(
    fleet: Fleet, migration: str, definition: Definition | None, *, on_conflict: str, job: JobOf
) -> dict[str, Any]:
    """Undo the newest run of *migration* in each database, and verify that.

    All of them are gone through: who goes back wants as many back as possible.

    Raises:
        MigrationError: some couldn't be rolled back; ``outcome`` says what state the data is in.
    """
    tally = Tally()

    def work(lane: Lane, name: str) -> Outcome:
        with mode.recorded_in(fleet.home):
            return _one(job(lane, name), migration, definition, on_conflict)

    fleet.each(work, fleet.names, tally, phase="roll back")
    numbers = tally.numbers
    numbers["rolled_back"] = sum(tally.counts[state] for state in _BACK)
    told = {
        **result(fleet, tally),
        **{key: numbers[key] for key in ("restored", "removed", "conflict_count")},
        "migration": migration,
        "run": None,
        "conflicts": [],
        "plan": {},
        "next": commands.command("verify", migration=migration, expect="rolled_back"),
    }
    bad = tally.failures - tally.counts[outcomes.CONFLICTS]
    if not bad and not fleet.stop.asked():
        return {**told, "phase": runs.ROLLED_BACK}
    words = "Stopped" if fleet.stop.asked() else f"{bad:,} databases aren't rolled back"
    kind = InterruptedRunError if fleet.stop.asked() else MigrationError
    stuck = STUCK if tally.counts[outcomes.STUCK] else HELD if tally.half_way else PARTLY
    raise kind(
        "\n".join([f"{words}. The others are, each on its own:", *told["fleet_text"]]),
        **{**told, "outcome": stuck, "next": commands.roll_back(migration)},
    )


def _one(job: Job, migration: str, definition: Definition | None, on_conflict: str) -> Outcome:
    name = job.database
    try:
        undone = rollback.roll_back(job, migration, definition, on_conflict=on_conflict)
        if not undone.get("run"):
            return outcomes.of(name, outcomes.NOTHING, undone)
        checked = _checked(job, definition, undone)
    except MigrationError as error:
        return outcomes.of_ended(name, error, otherwise=outcomes.FAILED)
    conflicts = int(undone.get("conflict_count") or 0)
    numbers = {key: int(undone.get(key) or 0) for key in ("restored", "removed", "conflict_count")}
    numbers["dropped"] = len(undone.get("dropped") or ())
    facts = {"rollback": undone, "verification": checked}
    if checked and not checked["passed"]:
        why = "; ".join(checked["failures"])
        state = outcomes.CONFLICTS if conflicts else outcomes.STUCK
        return outcomes.of(name, state, facts, reason=why, changed=True, numbers=numbers)
    back = outcomes.ROLLED_BACK if undone["changed"] else outcomes.BACK_BEFORE
    state = outcomes.CONFLICTS if conflicts else back
    reason = f"{conflicts:,} documents that somebody changed since were left alone"
    return outcomes.of(
        name,
        state,
        facts,
        reason=reason if conflicts else "",
        changed=bool(undone["changed"]),
        numbers=numbers,
    )


def _checked(
    job: Job, definition: Definition | None, undone: Mapping[str, Any]
) -> dict[str, Any] | None:
    if definition is None:
        return None
    return verify.verify(
        client=job.client,
        database=job.database,
        definition=definition,
        expect="rolled_back",
        run=undone["run"],
        operator=job.operator,
        progress=job.progress,
        stop=job.stop,
    )
