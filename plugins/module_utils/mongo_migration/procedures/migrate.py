"""Running a migration: under the lease, from wherever the database says it is, to its end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pymongo.client_session import ClientSession
from pymongo.database import Database

from ..document.collections import STATE, Collections
from ..document.definition import Definition
from ..document.value_sources import Scope
from ..errors import MigrationError, PlanBlockedError
from ..ledger import lease as leases
from ..ledger import partial_restore, runs, transaction
from ..ledger.batches import Settings, Writer
from ..ledger.fence import Fence
from ..ledger.lease import Lease
from ..ledger.runs import Run
from ..ledger.state_format import StateError
from ..maintenance import mode
from ..operations.base import Operation
from ..operations.registry import foresee
from ..server import connection
from ..support import commands, listing
from ..support.progress import Meter, Sink
from ..values import ejson
from . import authority, baseline, cutover, expiring
from . import plan as plans
from .work import Job, Stint, at_work, keep_trying

__all__ = ["Settings", "migrate"]


def migrate(
    job: Job,
    definition: Definition,
    *,
    backup: str | None = None,
    until: str = cutover.APPLIED,
) -> dict[str, Any]:
    """Apply *definition*, or resume it where it stands; a finished one is left as it is.

    Args:
        job: what to work with.
        definition: what to do.
        backup: the archive that this run relies on.
        until: ``caught_up`` does the first half of a run that is live first, and leaves the rest
            for when writers are stopped.

    Returns:
        The module's result.

    Raises:
        PlanBlockedError: the plan has problems; nothing was written.
        LeaseHeldError: another process works on this database.
        InterruptedRunError: stopped; the same command resumes.
        MigrationError: whatever else a person should read.
    """
    started, db = time.monotonic(), job.db
    partial_restore.refuse(db)
    runs.changelog(db)  # a run that we didn't write is refused here as by the plan
    existing = job.newest(definition.id)
    if finished := _finished(db, definition, existing):
        return _result(finished, changed=False, started=started)
    facts, token = None, leases.last_token(db)
    if existing is None or existing["phase"] not in runs.UNFINISHED:
        job.progress({"phase": "plan"})
        # Planned before the lease is taken: a refusal then leaves no trace in the database.
        facts = _plan_or_refuse(db, definition)
    with job.lease(f"migrate {definition.id} {definition.name}") as lease:
        partial_restore.refuse(db)
        existing = job.newest(definition.id)
        if finished := _finished(db, definition, existing):  # by another one, while we waited
            return _result(finished, changed=False, started=started)
        if lease.token != token + 1:  # another process worked since we planned
            facts = None
        run = job.before_work(lambda: _open(job, definition, lease, facts=facts, backup=backup))
        return _carry_out(job, run, lease, definition, started=started, until=until)


def _carry_out(
    job: Job, run: Run, lease: Lease, definition: Definition, *, started: float, until: str
) -> dict[str, Any]:
    # The values that the run began with: those of the inventory, or it wasn't taken up.
    bound = authority.bind(run.document, definition)
    allowed = authority.Authority(job.db, run.document, bound)
    stint = Stint(
        phase="migrate",
        total=plans.work(run.document["plan"]),
        done=runs.written(run.document),
        writers_stopped=job.settings.writers_stopped or mode.is_on(job.db),
    )
    with at_work(job, run, lease, stint, allowed) as writer:
        _apply(writer, job, bound, started=started, until=until)
    result = _result(run.document, changed=True, started=started)
    return {
        **result,
        "warnings": [*result["warnings"], *writer.pacer.missing],
        "meanwhile": [] if stint.writers_stopped else _meanwhile(job.db, bound, run.document),
    }


def _apply(writer: Writer, job: Job, bound: Definition, *, started: float, until: str) -> None:
    run, db = writer.run, writer.database
    there = Collections(db, bound.collections)
    foresee(there, bound.steps)
    scope = Scope(
        collections=there,
        now=run.document["now"],
        planned={},
        comment=writer.comment,
    )

    def operations() -> Iterator[Operation]:
        """Each is built when those before it are done: on the database as they leave it."""
        for _step, operation in plans.active(bound, scope, run.document["plan"]["before"]):
            yield operation

    halves = cutover.Halves(writer, until)

    def attempt() -> None:
        if run.phase in runs.DONE or halves.done:
            return  # that was written, and a failover kept the answer from us
        writer.journal.prepare()
        if run.phase != "running":
            run.enter("running")
        if halves.begin():
            cutover.catch_up(writer, operations, lambda: _walk(writer, operations()))
            run.enter(runs.CAUGHT_UP)
            return
        # Taken before the first batch, or not at all: it says what was there before.
        if _needs_baseline(writer):
            _take_baseline(writer, bound, scope, job.progress)
        _walk(writer, operations())
        run.enter("applied", applied_at=runs.server_now(db), elapsed=time.monotonic() - started)

    keep_trying(writer, job, attempt, phase="migrate")


def _walk(writer: Writer, operations: Iterable[Operation]) -> None:
    """Go through all steps, from the run's position on."""
    for operation in operations:
        position, index = writer.run.document["position"], operation.index
        if index < position["step"]:
            continue
        here = position if index == position["step"] else {"step": index}
        if not isinstance(here.get("target", operation.TARGET()), operation.TARGET):
            raise StateError(
                f"Run {writer.run.id} stands at {ejson.short(here)}, which isn't a position of its "
                f"step {index} ({operation.KIND}). Someone else has written there: look who may "
                "(docs/privileges.md), then roll back."
            )
        operation.apply(writer, here)
        writer.move({"step": index + 1})


def _needs_baseline(writer: Writer) -> bool:
    run = writer.run.document
    return (
        writer.settings.writers_stopped
        and not writer.seq
        # Live batches prove themselves, and writers have changed the rest since.
        and "baseline" not in run
        and "cutover" not in run
    )


def _meanwhile(
    db: Database[dict[str, Any]], bound: Definition, run: Mapping[str, Any]
) -> list[str]:
    """Return what writers did to the collections since the plan, in words; about, not exactly."""
    names = Collections(db, bound.collections)
    words = []
    for row in run["plan"]["steps"]:
        if "to_change" in row and names.exists(row["collection"]):
            more = names.get(row["collection"]).estimated_document_count() - row["documents"]
            if more:
                words.append(f"{row['collection']}: about {more:+,} documents")
    planned = run["plan"]["totals"]["to_change"]
    if beyond := run["counts"]["modified"] - planned:
        words.append(
            f"{run['counts']['modified']:,} documents set where {planned:,} were planned "
            f"({beyond:+,})"
        )
    return words


def _take_baseline(writer: Writer, bound: Definition, scope: Scope, progress: Sink) -> None:
    before = writer.run.document["plan"]["before"]
    touched = [
        item for _s, operation in plans.active(bound, scope, before) for item in operation.touches()
    ]
    names = baseline.ordinary(writer.database)
    total = sum(listing.about_how_many(writer.database, name) for name in names)
    untouched = names - {item.collection for item in touched}
    taken = baseline.take(
        writer.database,
        touched,
        meter=Meter(writer.with_control_checks(progress), phase="baseline", total=total),
        comment=writer.comment,
        expiring=expiring.horizons(writer.database, untouched, runs.server_now(writer.database)),
    )
    writer.run.keep(baseline=taken, batches_began=runs.server_now(writer.database))


def _finished(
    db: Database[dict[str, Any]], definition: Definition, run: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Return the newest *run* if it already did this; refuse where it did something else."""
    if run is None or run["phase"] == runs.ROLLED_BACK:
        return None
    if run["phase"] in runs.VERIFIED and definition.is_repair:
        # Done once, it is done again for what has gone wrong since.
        return run if plans.is_idle(plans.survey(db, definition, now=None)) else None
    if run["phase"] == runs.ROLLING_BACK:
        raise MigrationError(
            f"Migration {definition.id} is half rolled back (run {run['_id']}). Finish that first: "
            f"{commands.roll_back(definition.id)}",
            run=run["_id"],
            phase=run["phase"],
        )
    if run["digest"] != definition.digest:
        raise MigrationError(
            f"{definition.source} has changed since run {run['_id']} ({run['phase']}) began: its "
            f"digest is {definition.digest[:12]}, the run's {run['digest'][:12]}. An applied "
            "migration is never changed: restore the document, or roll the run back first "
            f"({commands.roll_back(definition.id)}), or write a new one.",
            run=run["_id"],
            phase=run["phase"],
        )
    return run if run["phase"] in runs.DONE else None


def _plan_or_refuse(db: Database[dict[str, Any]], definition: Definition) -> dict[str, Any]:
    facts = plans.survey(db, definition, now=None)
    if facts["problems"]:
        lines = "".join(
            f"\n  - {item['collection']}: {item['what']} ({item['count']:,}). {item['fix']}"
            for item in facts["problems"]
        )
        raise PlanBlockedError(
            f"Migration {definition.id} is refused by its plan; nothing was written:{lines}",
            plan=facts,
            problems=facts["problems"],
        )
    return facts


def _open(
    job: Job,
    definition: Definition,
    lease: Lease,
    *,
    facts: dict[str, Any] | None,
    backup: str | None,
) -> Run:
    """Return the unfinished run, taken over, or a new one.

    Done twice, it takes over what it made before.
    """
    db, server = job.db, connection.inspect(job.client)
    existing = runs.latest(db, definition.id)
    if existing is not None and existing["phase"] in (*runs.UNFINISHED, "planned"):
        authority.take_up(existing, definition)  # refused while it is still as it was
        run = Run.adopt(db, existing, lease)
        if backup and run.document.get("backup") != backup:
            run.keep(backup=backup)  # the one that it names can't be relied on
        return run
    if facts is None:  # something was done since we looked
        facts = _plan_or_refuse(db, definition)
    facts = {
        "change": dict(job.change),
        "operator": dict(job.operator),
        "backup": backup,
        "server": server.as_dict(),
        "now": facts["now"],
        "plan": facts,
    }
    Run.prepare(db)

    def create(session: ClientSession | None) -> Run:
        def insert(document: dict[str, Any]) -> None:
            if session is None:
                state = db[STATE].with_options(write_concern=runs.MAJORITY)
                Fence(lease).insert(state, document)
            else:
                lease.prove(session)
                db[STATE].insert_one(document, session=session)

        return Run.create(
            db, definition, token=lease.token, facts=facts, insert=insert, session=session
        )

    lease.check()
    if not server.transactions:
        return create(None)
    return transaction.run(lease.session, create, lease.check)


def _result(run: Mapping[str, Any], *, changed: bool, started: float) -> dict[str, Any]:
    counts = run["counts"]
    indexes = [
        f"{row.get('real_name', row['collection'])}.{index['name']}"
        for row in run["plan"]["steps"]
        for index in row.get("indexes", ())
        if index["state"] == "missing"
    ]
    return {
        "changed": changed,
        "migration": run["migration"],
        "name": run["name"],
        "run": run["_id"],
        "digest": run["digest"],
        "phase": run["phase"],
        "matched": run["plan"]["totals"]["candidates"],
        "modified": counts["modified"],
        "inserted": counts["inserted"],
        "deleted": counts.get("deleted", 0),
        "commands": [
            item["outcome"]
            for _step, item in sorted(run.get("commands", {}).items())
            if "outcome" in item
        ],
        "skipped": counts["skipped"],
        "batches": counts["batches"],
        "indexes": indexes,
        "meanwhile": [],
        "cutover": run.get("cutover"),
        "elapsed": round(time.monotonic() - started, 1),
        "steps": run["plan"]["steps"],
        "plan": run["plan"],
        "warnings": run["plan"]["warnings"] if changed else [],
        "next": commands.command("verify", migration=run["migration"]),
    }
