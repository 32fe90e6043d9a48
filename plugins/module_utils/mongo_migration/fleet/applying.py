"""A migration of every database: canaries first, in lanes, each verified, or exactly undone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pymongo.errors import PyMongoError

from ..document.definition import Definition
from ..errors import (
    InterruptedRunError,
    LeaseHeldError,
    LeaseLostError,
    MigrationError,
    PlanBlockedError,
)
from ..ledger import runs
from ..maintenance import mode
from ..procedures import migrate, rollback, verify
from ..procedures.work import Job
from ..server import connection
from ..support import commands
from . import outcomes
from .fleet import STOP, Fleet, result
from .lanes import Lane
from .outcomes import Outcome, Tally

JobOf = Callable[[Lane, str], Job]

# How a command ended that didn't get all of them done, for whoever decides about the writers.
PARTLY, HELD, STUCK, NOTHING_WRITTEN = "partly", "held", "rollback_failed", "nothing_written"


class ChecksFailedError(MigrationError):
    """What was applied doesn't pass its checks."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is done with each database.

    Args:
        definition: the migration.
        until: ``applied`` or ``caught_up``.
        backups: the archive of each database that got one.
        backup: what all of them rely on, where it is not an archive of one of them.
        job: makes what a procedure works with.
        home: keeps the record of maintenance mode.
    """

    definition: Definition
    until: str
    job: JobOf
    home: str
    backups: Mapping[str, str] = field(default_factory=dict)
    backup: str | None = None


def apply(fleet: Fleet, wanted: Wanted) -> dict[str, Any]:
    """Migrate and verify each database; those that are done already are left as they are.

    Raises:
        MigrationError: more databases than the fleet allows need attention, a canary does, or a
            stop was asked for. ``outcome`` among its details says what state the data is in.
    """
    tally = Tally()

    def work(lane: Lane, name: str) -> Outcome:
        with mode.recorded_in(wanted.home):
            return _one(lane, name, wanted)

    waves = [(fleet.canaries, 0)] if fleet.canaries else []
    if not (fleet.canaries and fleet.then == STOP):
        waves.append((fleet.rest, fleet.failures_allowed))
    for names, allowed in waves:
        fleet.each(work, names, tally, phase="migrate", allowed=allowed)
        if tally.failures > allowed or fleet.stop.asked():
            break
    told = result(fleet, tally, of=fleet.this_time)
    numbers = tally.numbers
    told |= {key: numbers[key] for key in ("modified", "inserted", "deleted", "batches")}
    done = tally.counts[outcomes.MIGRATED] + tally.counts[outcomes.DONE]
    told |= {"outcome": _outcome(tally), "verified": done == len(fleet.this_time)}
    if fleet.stop.asked() or tally.failures > (0 if fleet.canaries else fleet.failures_allowed):
        raise _ended(fleet, wanted.definition, tally, told)
    return told


def _one(lane: Lane, name: str, wanted: Wanted) -> Outcome:
    definition, job = wanted.definition, wanted.job(lane, name)
    backup = wanted.backups.get(name) or wanted.backup
    try:
        done = migrate.migrate(job, definition, backup=backup, until=wanted.until)
        return _carried_out(job, definition, done)
    except (InterruptedRunError, LeaseHeldError, LeaseLostError) as error:
        return outcomes.of_ended(name, error, otherwise=outcomes.FAILED)
    except MigrationError as error:
        return _after_failure(job, wanted, error)


def _carried_out(job: Job, definition: Definition, done: Mapping[str, Any]) -> Outcome:
    """Return what came of a database that was migrated, now or before; verify it unless it was.

    Raises:
        MigrationError: it doesn't pass its checks, or can't be verified.
    """
    if done["phase"] == runs.CAUGHT_UP:
        return _done(job.database, outcomes.CAUGHT_UP, done)
    if not done["changed"] and done["phase"] in runs.VERIFIED:
        return _done(job.database, outcomes.DONE, done)
    more = {"verification": _verified(job, definition), "phase": "verified"}
    return _done(job.database, outcomes.MIGRATED, {**done, **more})


def _verified(job: Job, definition: Definition) -> dict[str, Any]:
    """Verify what was applied.

    Raises:
        ChecksFailedError: it doesn't pass.
    """
    found = verify.verify(
        client=job.client,
        database=job.database,
        definition=definition,
        operator=job.operator,
        lease_seconds=job.settings.lease_seconds,
        progress=job.progress,
        stop=job.stop,
    )
    if not found["passed"]:
        raise ChecksFailedError(
            f"{len(found['failures'])} of {len(found['checks'])} checks failed: "
            f"{'; '.join(found['failures'])}",
            run=found["run"],
            verification=found,
        )
    return found


def _done(name: str, state: str, done: Mapping[str, Any]) -> Outcome:
    wrote = state != outcomes.DONE
    kept = ("modified", "inserted", "deleted", "batches", "skipped")
    numbers = {key: int(done[key]) for key in kept} if wrote else {}
    numbers |= {"indexes": len(done["indexes"])} if wrote else {}
    checks = done.get("verification", {}).get("checks", ())
    numbers |= {"checks": len(checks)} if checks else {}
    hidden = ("plan", "steps", "next")
    facts = {key: value for key, value in done.items() if key not in hidden}
    return outcomes.of(name, state, facts, changed=bool(done["changed"]), numbers=numbers)


def _after_failure(job: Job, wanted: Wanted, error: MigrationError) -> Outcome:
    """Put the database back exactly as it was, where this run has begun to write."""
    name = job.database
    wrote = isinstance(error, ChecksFailedError) or error.details.get("phase") == "failed"
    # What an earlier command left half done, and this one refused to touch, isn't its to undo.
    if not wrote or not (error.details.get("counts") or isinstance(error, ChecksFailedError)):
        refused = isinstance(error, PlanBlockedError)
        return outcomes.of_error(name, outcomes.REFUSED if refused else outcomes.FAILED, error)
    migration, state = wanted.definition.id, outcomes.STUCK
    try:
        undone = rollback.roll_back(job, migration, wanted.definition)
        checked = verify.verify(
            client=job.client,
            database=name,
            definition=wanted.definition,
            expect="rolled_back",
            run=undone["run"],
            operator=job.operator,
            progress=job.progress,
            stop=job.stop,
        )
        if checked["passed"]:
            return outcomes.of(
                name,
                outcomes.UNDONE,
                {"error": error.message, "rollback": undone, "verification": checked},
                reason=error.message,
                changed=True,
            )
        why = f"its rollback doesn't pass {'; '.join(checked['failures'])}"
    except InterruptedRunError as second:
        state, why = outcomes.INTERRUPTED, second.message
    except (MigrationError, PyMongoError) as second:
        why = second.message if isinstance(second, MigrationError) else connection.explain(second)
    return outcomes.of(
        name,
        state,
        {"error": error.message, "then": why},
        reason=f"{why} (after: {error.message})",
        changed=True,
    )


def _outcome(tally: Tally) -> str:
    if tally.counts[outcomes.STUCK]:
        return STUCK
    if tally.half_way:
        return HELD
    done = (outcomes.MIGRATED, outcomes.CAUGHT_UP, outcomes.DONE)
    return PARTLY if any(tally.counts[state] for state in done) else NOTHING_WRITTEN


def _ended(
    fleet: Fleet, definition: Definition, tally: Tally, told: Mapping[str, Any]
) -> MigrationError:
    why = f"Stopped: {fleet.stop.reason}" if fleet.stop.asked() else "Stopped"
    if tally.attention:
        first = min(tally.attention, key=lambda each: each["database"])["database"]
        others = tally.failures - 1
        more = f" and {others:,} more" if others else ""
        why = f"{why}: {first}{more} needs attention" if not fleet.stop.asked() else why
    words = [f"{why}. What is done stays, each database on its own:", *told["fleet_text"]]
    on, back = commands.carry_out(definition.id, definition.name), commands.roll_back(definition.id)
    kind = InterruptedRunError if fleet.stop.asked() else MigrationError
    return kind(
        "\n".join(words) + f"\nGo on with the others: {on}; or undo all of them: {back}",
        **told,
        next=on,
    )
