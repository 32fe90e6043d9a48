"""Running a migration: under the lease, from wherever the database says it is, to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pymongo
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from .. import connection
from ..document import collections
from ..document import definition as definitions
from ..document.collections import Collections
from ..document.definition import Definition
from ..document.value_sources import Scope
from ..errors import InterruptedRunError, LeaseLostError, MigrationError, PlanBlockedError
from ..ledger import lease as leases
from ..ledger import partial_restore, runs
from ..ledger.batches import Settings, Writer
from ..ledger.journal import Journal
from ..ledger.lease import Lease
from ..ledger.runs import Run
from ..maintenance import mode
from ..operations import reconcile
from ..pace.pacer import Source, pacing
from ..support import retry
from ..support.progress import Meter, Sink
from ..support.stop import StopSignal
from . import baseline
from . import plan as plans

__all__ = ["Settings", "migrate"]

_NOTE_SECONDS = 5


def migrate(
    *,
    client: MongoClient[dict[str, Any]],
    database: str,
    definition: Definition,
    settings: Settings,
    change: Mapping[str, Any],
    operator: Mapping[str, Any],
    progress: Sink,
    stop: StopSignal,
    backup: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
    load: Source | None = None,
) -> dict[str, Any]:
    """Apply *definition*, or resume it where it stands; a finished one is left as it is.

    Args:
        client: connected to the deployment.
        database: the database to migrate.
        definition: what to do.
        settings: how.
        change: ticket, approver and the like, for the changelog.
        operator: user, host and pid of this process.
        progress: told of every batch.
        stop: asks for an end at the next batch boundary.
        backup: the archive that this run relies on.
        sleep: how to wait.
        load: where the throttle sees the server's load, if not on the server.

    Returns:
        The module's result.

    Raises:
        PlanBlockedError: the plan has problems; nothing was written.
        LeaseHeldError: another process works on this database.
        InterruptedRunError: stopped; the same command resumes.
        MigrationError: whatever else a person should read.
    """
    started = time.monotonic()
    db = client[database]
    server = connection.inspect(client)
    partial_restore.refuse(db)
    if finished := _finished(db, definition):
        return _result(finished, changed=False, started=started)
    existing = runs.latest(db, definition.id)
    facts, token = None, leases.last_token(db)
    if existing is None or existing["phase"] not in runs.UNFINISHED:
        progress({"phase": "plan"})
        # Planned before the lease is taken: a refusal then leaves no trace in the database.
        facts = _plan_or_refuse(db, definition)
    with leases.hold(
        db,
        purpose=f"migrate {definition.id} {definition.name}",
        holder=dict(operator),
        seconds=settings.lease_seconds,
        sleep=sleep,
    ) as lease:
        partial_restore.refuse(db)
        if finished := _finished(db, definition):  # by another process, while we waited
            return _result(finished, changed=False, started=started)
        if lease.token != token + 1:  # another process worked since we planned
            facts = None
        run = _open(
            db,
            definition,
            lease,
            facts=facts,
            more={
                "change": dict(change),
                "operator": dict(operator),
                "backup": backup,
                "server": server.as_dict(),
            },
        )
        # What was agreed on at the start of the run counts, also when it is resumed.
        bound = stored(run.document)
        frozen = settings.frozen or mode.is_on(db)
        total = plans.work(run.document["plan"])
        done = runs.written(run.document)
        with pacing(
            client,
            settings.bounds(),
            # While nobody else writes, nobody waits for us.
            adaptive=settings.limits is not None and not frozen,
            documents=total - done,
            stop=stop,
            source=load,
        ) as pacer:
            writer = Writer(
                database=db,
                server=server,
                run=run,
                journal=Journal(db, run.id),
                lease=lease,
                stop=stop,
                settings=replace(settings, frozen=frozen),
                meter=Meter(progress, phase="migrate", total=total, done=done),
                pacer=pacer,
                sleep=sleep,
            )
            closing(run, lambda: _apply(writer, bound, progress, started))
        result = _result(run.document, changed=True, started=started)
        return {
            **result,
            "warnings": [*result["warnings"], *pacer.missing],
            "meanwhile": [] if frozen else _meanwhile(db, bound, run.document),
        }


def stored(document: Mapping[str, Any]) -> Definition:
    """Return the definition of a run as it was bound when the run began."""
    return definitions.load(
        document["definition"]["text"],
        document["definition"]["source"],
        variables=document["variables"],
        collections={item["name"]: item["real"] for item in document["collections"]},
        assume_applied=document["assume_applied"],
    )


def closing(run: Run, work: Callable[[], None]) -> None:
    """Do *work*; whatever ends it early is written into the run document before it is raised."""
    resumable = run.phase == runs.ROLLING_BACK
    try:
        work()
    except LeaseLostError:
        raise  # the run is another process's now
    except InterruptedRunError as error:
        if not resumable:
            _try_to_note(run, "interrupted", error.message)
        raise _explained(run, error) from error
    except MigrationError as error:
        if not resumable:
            _try_to_note(run, "failed", error.message)
        raise _explained(run, error) from error
    except PyMongoError as error:
        message = f"MongoDB: {str(error).split(', full error:')[0]}"
        if not resumable:
            _try_to_note(run, "failed", message)
        raise _explained(run, MigrationError(message)) from error


def _apply(writer: Writer, bound: Definition, progress: Sink, started: float) -> None:
    run, db = writer.run, writer.database
    scope = Scope(
        collections=Collections(db, bound.collections),
        now=run.document["now"],
        planned={},
        comment=writer.comment,
    )

    def recover() -> None:
        run.reload()
        reconcile(writer)
        writer.seq = run.document["seq"]

    def attempt() -> None:
        writer.journal.prepare()
        if run.phase != "running":
            run.enter("running")
        # Taken before the first batch, or not at all: it says what was there before.
        if writer.settings.frozen and "baseline" not in run.document and not writer.seq:
            _take_baseline(writer, bound, scope, progress)
        for step, operation in plans.active(bound, scope, run.document["plan"]["before"]):
            position = run.document["position"]
            if step.index < position["step"]:
                continue
            here = position if step.index == position["step"] else {"step": step.index}
            operation.apply(writer, here)
            writer.move({"step": step.index + 1})
        run.enter("applied", applied_at=runs.server_now(db), elapsed=time.monotonic() - started)

    retry.persist(
        attempt,
        progressed=lambda: writer.seq,
        recover=recover,
        seconds=writer.settings.retry_seconds,
        stop=writer.stop,
        waiting=lambda reason: progress({"phase": "migrate", "waiting": reason}),
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
    total = sum(
        writer.database[name].estimated_document_count()
        for name in baseline.ordinary(writer.database)
    )
    taken = baseline.take(
        writer.database,
        touched,
        meter=Meter(writer.heeding(progress), phase="baseline", total=total),
        comment=writer.comment,
    )
    writer.run.keep(baseline=taken, batches_began=runs.server_now(writer.database))


def _finished(db: Database[dict[str, Any]], definition: Definition) -> dict[str, Any] | None:
    """Return the run that already did this; refuse where it did something else."""
    run = runs.latest(db, definition.id)
    if run is None or run["phase"] == runs.ROLLED_BACK:
        return None
    if run["phase"] == "verified" and definition.is_repair:
        # Done once, it is done again for what has gone wrong since.
        return run if plans.is_idle(plans.survey(db, definition, now=None).facts) else None
    if run["phase"] == runs.ROLLING_BACK:
        raise MigrationError(
            f"Migration {definition.id} is half rolled back (run {run['_id']}). Finish that first: "
            f"ansible-playbook rollback.yml -e migration={definition.id}",
            run=run["_id"],
            phase=run["phase"],
        )
    if run["digest"] != definition.digest:
        raise MigrationError(
            f"{definition.source} has changed since run {run['_id']} ({run['phase']}) began: its "
            f"digest is {definition.digest[:12]}, the run's {run['digest'][:12]}. An applied "
            "migration is never changed: restore the document, or roll the run back first "
            f"(ansible-playbook rollback.yml -e migration={definition.id}), or write a new one.",
            run=run["_id"],
            phase=run["phase"],
        )
    return run if run["phase"] in runs.DONE else None


def _plan_or_refuse(db: Database[dict[str, Any]], definition: Definition) -> dict[str, Any]:
    facts = plans.survey(db, definition, now=None).facts
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
    db: Database[dict[str, Any]],
    definition: Definition,
    lease: Lease,
    *,
    facts: dict[str, Any] | None,
    more: dict[str, Any],
) -> Run:
    """Return the unfinished run, taken over, or a new one."""
    existing = runs.latest(db, definition.id)
    if existing is not None and existing["phase"] in (*runs.UNFINISHED, "planned"):
        return Run.adopt(db, existing, lease.token)
    if facts is None:  # something was done since we looked
        facts = _plan_or_refuse(db, definition)
    return Run.create(
        db, definition, token=lease.token, facts={**more, "now": facts["now"], "plan": facts}
    )


def _try_to_note(run: Run, phase: str, message: str) -> None:
    # Where the server is gone, the first error is the one to tell, and soon.
    with suppress(PyMongoError, MigrationError), pymongo.timeout(_NOTE_SECONDS):
        run.enter(phase, error=message)


def _explained(run: Run, error: MigrationError) -> MigrationError:
    """Return *error* with the run, its phase and the next command."""
    migration = run.document["migration"]
    resume = (
        f"ansible-playbook rollback.yml -e migration={migration}"
        if run.phase == runs.ROLLING_BACK
        else f"ansible-playbook {collections.command(migration, run.document['name'])}"
    )
    counts = run.document["counts"]
    removed = f" and {counts['deleted']:,} removed" if counts.get("deleted") else ""
    return type(error)(
        f"{error.message}\nRun {run.id} is {run.phase}: {counts['modified']:,} modified and "
        f"{counts['inserted']:,} inserted{removed}, all in the journal. Resume: {resume}; or undo: "
        f"ansible-playbook rollback.yml -e migration={migration}",
        **{
            **error.details,
            "run": run.id,
            "phase": run.phase,
            "migration": migration,
            "counts": counts,
            "next": resume,
        },
    )


def _result(run: Mapping[str, Any], *, changed: bool, started: float) -> dict[str, Any]:
    counts = run["counts"]
    indexes = [
        f"{row['real_name']}.{index['name']}"
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
        "commands": [item["outcome"] for _step, item in sorted(run.get("commands", {}).items())],
        "skipped": counts["skipped"],
        "batches": counts["batches"],
        "indexes": indexes,
        "meanwhile": [],
        "elapsed": round(time.monotonic() - started, 1),
        "steps": run["plan"]["steps"],
        "plan": run["plan"],
        "warnings": run["plan"]["warnings"] if changed else [],
        "next": f"ansible-playbook verify.yml -e migration={run['migration']}",
    }
