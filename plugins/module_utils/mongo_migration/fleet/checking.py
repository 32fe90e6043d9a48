"""The checks of every database; one that lacks the migration is as much drift as a wrong value."""

from __future__ import annotations

from typing import Any

from ..document.definition import Definition
from ..errors import InterruptedRunError, MigrationError
from ..ledger import runs
from ..maintenance import mode
from ..procedures import verify
from ..support import commands
from . import outcomes
from .fleet import Fleet, result
from .lanes import Lane
from .outcomes import Outcome, Tally


def check(
    fleet: Fleet, definition: Definition, *, expect: str, record: bool, names: Any = None
) -> dict[str, Any]:
    """Return what ``verify.verify`` returns, of all databases together.

    All of them are looked at, however many fail.

    Args:
        fleet: which.
        definition: the migration.
        expect: ``applied`` or ``rolled_back``.
        record: write the result into the run documents.
        names: of the databases; all by default.
    """
    tally = Tally()

    def work(lane: Lane, name: str) -> Outcome:
        with mode.recorded_in(fleet.home):
            return _one(lane, name, definition, expect=expect, record=record, fleet=fleet)

    fleet.each(work, fleet.names if names is None else names, tally, phase="verify")
    fleet.stop.check()
    told = result(fleet, tally)
    failures = [
        f"{each['database']}: {each['reason'] or each['state']}"
        for each in told["fleet"]["attention"]
    ]
    lacking = tally.counts[outcomes.LACKING]
    return {
        **told,
        # What brings it to a new tenant.
        "next": commands.carry_out(definition.id, definition.name) if lacking else commands.STATUS,
        "migration": definition.id,
        "passed": not failures,
        "checks": [],
        "failures": failures[: outcomes.SHOWN],
        "examined": tally.numbers["examined"],
        "passed_checks": tally.numbers["checks"],
    }


def _one(
    lane: Lane, name: str, definition: Definition, *, expect: str, record: bool, fleet: Fleet
) -> Outcome:
    db = lane.client[name]
    run = runs.latest(db, definition.id)
    phase = run["phase"] if run else "pending"
    if expect == "applied" and phase in ("pending", "planned", runs.ROLLED_BACK):
        why = "no run of it is here" if run is None else f"its run is {phase.replace('_', ' ')}"
        return outcomes.of(name, outcomes.LACKING, {"phase": phase}, reason=why)
    if expect == "rolled_back" and run is None:
        # It never had it, as before.
        return outcomes.of(name, outcomes.NOTHING, {"phase": phase})
    try:
        found = verify.verify(
            client=lane.client,
            database=name,
            definition=definition,
            expect=expect,
            record=record,
            operator=fleet.operator,
            progress=lane.progress,
            stop=lane.stop,
        )
    except InterruptedRunError as error:
        return outcomes.of_error(name, outcomes.NOT_BEGUN, error)
    except MigrationError as error:
        return outcomes.of_error(name, outcomes.DRIFTED, error)
    numbers = {
        "checks": sum(each["status"] == "passed" for each in found["checks"]),
        "examined": sum(int(each.get("examined") or 0) for each in found["checks"]),
    }
    if found["passed"]:
        state = outcomes.VERIFIED if expect == "applied" else outcomes.ROLLED_BACK
        return outcomes.of(name, state, found, changed=found["changed"], numbers=numbers)
    return outcomes.of(
        name, outcomes.DRIFTED, found, reason="; ".join(found["failures"]), numbers=numbers
    )
