"""The end of the way back, on purpose: journals and what was set aside are removed for good.

A run is first marked, then emptied, then marked again: from the first mark on nothing undoes it,
and the same command goes on wherever it was killed.
"""

from __future__ import annotations

import datetime
import gzip
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pymongo import DeleteMany, MongoClient
from pymongo.database import Database

from ..document.collections import JOURNAL
from ..errors import MigrationError
from ..ledger import by_uuid, holdings, partial_restore, runs
from ..ledger.fence import Fence
from ..ledger.lease import Lease
from ..ledger.runs import MAJORITY, Run
from ..server import obstacles
from ..support import commands, retry
from ..support.progress import Meter
from ..values import ejson
from .work import Job

# Entries at once; each may be large.
_TOGETHER = 50
_AN_ID = re.compile(r"[0-9A-Za-z]+-[0-9]{14}-[0-9a-f]{4}")
# In which of them a run holds a way back that may be ended, and since when it is.
_SINCE = {"verified": "verified_at", runs.ROLLED_BACK: "rolled_back_at"}

Db = Database[dict[str, Any]]


def plan(
    client: MongoClient[dict[str, Any]],
    database: str,
    *,
    migration: str | None,
    after_days: float,
) -> dict[str, Any]:
    """Return what a pruning would remove, and what not and why. Read only.

    Args:
        client: connected to the deployment.
        database: the migrated database.
        migration: whose runs; None: those of all migrations that are old enough.
        after_days: for so many days after its verification, or its rollback, a run is kept.

    Raises:
        MigrationError: the newest run of *migration* is in no state to be pruned.
    """
    db = client[database]
    partial_restore.refuse(db)
    now = _aware(runs.server_now(db))
    found: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    for run in _candidates(db, migration):
        why = _why_kept(run, now, after_days)
        if why:
            kept.append({"run": run["_id"], "migration": run["migration"], "why": why})
            continue
        held = holdings.of(db, run["_id"])
        if held["entries"] or held["aside"] or run["phase"] == runs.PRUNING:
            found.append(
                {
                    "run": run["_id"],
                    "migration": run["migration"],
                    "name": run["name"],
                    "phase": run["phase"],
                    "backup": run.get("backup"),
                    **held,
                }
            )
    if migration is not None and not found:
        _refuse_kept(db, migration, kept)
    return {
        "changed": bool(found),
        "database": database,
        "runs": found,
        "kept": kept,
        "bytes": sum(item["bytes"] for item in found),
        # What a person has to name: the run, or where there are several, the database.
        "confirm": found[0]["run"] if len(found) == 1 else database if found else "",
        "next": commands.STATUS,
    }


def prune(
    job: Job,
    *,
    migration: str | None,
    after_days: float,
    confirm: str,
    export: str | None = None,
) -> dict[str, Any]:
    """Remove what :func:`plan` lists, for good; or go on removing it.

    Args:
        job: what to work with.
        migration: whose runs; None: those of all migrations that are old enough.
        after_days: for so many days after its verification, or its rollback, a run is kept.
        confirm: what the plan says that a person has to name.
        export: a folder that the journals are written to first, one file a run.

    Raises:
        MigrationError: it isn't confirmed, or nothing of *migration* may be pruned.
        LeaseHeldError: another process works on this database.
    """
    started = time.monotonic()
    with job.lease(f"prune {migration or 'what is old enough'}") as lease:
        # Made under the lease, so that what is confirmed is what is removed.
        made = plan(job.client, job.database, migration=migration, after_days=after_days)
        _refuse_unconfirmed(made, confirm)
        meter = Meter(
            job.progress,
            phase="prune",
            total=sum(item["entries"] for item in made["runs"]),
            unit="entries",
        )
        exported = [
            file
            for item in made["runs"]
            if (file := _prune(job, lease, item, meter, export)) is not None
        ]
    return {**made, "exported": exported, "elapsed": round(time.monotonic() - started, 1)}


def _candidates(db: Db, migration: str | None) -> list[dict[str, Any]]:
    found = [run for run in runs.changelog(db) if migration in (None, run["migration"])]
    if migration is not None and not found:
        raise MigrationError(
            f"There is no run of migration {migration} in database '{db.name}'; {commands.STATUS} "
            "lists the runs."
        )
    return found


def _why_kept(run: Mapping[str, Any], now: datetime.datetime, after_days: float) -> str:
    """Return why a run may not be pruned; nothing if it may."""
    phase = run["phase"]
    if phase in (runs.PRUNING, runs.PRUNED):
        return ""
    if phase not in _SINCE:
        return f"it is {phase.replace('_', ' ')}: only what is verified, or rolled back, is pruned"
    since = run.get(_SINCE[phase])
    if not isinstance(since, datetime.datetime):
        since = run.get("updated") or run["started"]
    since = _aware(since)
    age = (now - since) / datetime.timedelta(days=1)
    if age >= after_days:
        return ""
    until = since + datetime.timedelta(days=after_days)
    return (
        f"it has been {phase.replace('_', ' ')} for {age:.1f} days, and is kept for "
        f"{after_days:g} (prune_after_days), until {until:%Y-%m-%d %H:%M} UTC"
    )


def _aware(instant: datetime.datetime) -> datetime.datetime:
    """Return *instant*, which MongoDB keeps in UTC, with its timezone."""
    return instant.replace(tzinfo=datetime.UTC)


def _refuse_kept(db: Db, migration: str, kept: Sequence[Mapping[str, Any]]) -> None:
    newest = runs.latest(db, migration)
    for item in kept:
        if newest is not None and item["run"] == newest["_id"]:
            raise MigrationError(
                f"Run {item['run']} isn't pruned: {item['why']}. Nothing was removed.",
                run=item["run"],
                next=commands.command("verify", migration=migration)
                if newest["phase"] == "applied"
                else commands.STATUS,
            )


def _refuse_unconfirmed(made: Mapping[str, Any], confirm: str) -> None:
    if made["runs"] and confirm != made["confirm"]:
        what = "run" if len(made["runs"]) == 1 else "database, since there are several runs"
        raise MigrationError(
            f"Not confirmed: pruning ends the way back for good. Name the {what}: "
            f"-e prune_confirm={made['confirm']}. Nothing was removed.",
            confirm=made["confirm"],
        )


def _prune(
    job: Job, lease: Lease, item: Mapping[str, Any], meter: Meter, export: str | None
) -> str | None:
    """Prune one run; return the file that its journal was written to, if it was."""
    if not _AN_ID.fullmatch(item["run"]):
        raise MigrationError(
            f"{item['run']!r} is not a name of a run that we gave: look who wrote it."
        )
    db, file = job.db, None
    document = runs.latest(db, item["migration"], item["run"])
    if document is None:
        raise AssertionError("a name that isn't there is an error")
    run = Run.adopt(db, document, lease)
    if export is not None and item["entries"]:
        file = _export(db, item["run"], Path(export))
    facts = {
        "operator": dict(job.operator),
        "change": dict(job.change),
        "at": runs.server_now(db),
        "bytes": item["bytes"],
    }

    def attempt() -> None:
        if run.phase == "verified":
            run.enter(runs.PRUNING, prune=facts)
        for aside in holdings.set_aside(db, run.id):
            by_uuid.drop(db, aside["name"], lease.check)
        _empty_journal(job, lease, run.id, meter)
        lease.check()
        if run.phase == runs.PRUNING:
            run.enter(runs.PRUNED, pruned_at=runs.server_now(db))
        elif run.phase == runs.ROLLED_BACK:
            run.keep(prune=facts, pruned_at=runs.server_now(db))

    retry.retry_until_deadline(
        attempt,
        progressed=lambda: meter.done,
        recover=run.reload,
        seconds=job.settings.retry_seconds,
        stop=job.stop,
        waiting=lambda reason: job.progress({"phase": "prune", "waiting": reason}),
        otherwise="What is pruned so far stays pruned; the same command goes on.",
        obstacle=obstacles.namer(job.client),
    )
    return file


def _empty_journal(job: Job, lease: Lease, run: str, meter: Meter) -> None:
    journal, fence = job.db[JOURNAL].with_options(write_concern=MAJORITY), Fence(lease)
    while True:
        job.stop.check()
        # The newest first: what is left is a beginning, which has no hole.
        rows = journal.find({"run": run}, {"_id": 1}, sort=[("seq", -1)]).limit(_TOGETHER)
        ids = [row["_id"] for row in rows]
        if not ids:
            return
        # A restore may have brought them back since, for whoever slept here: then they stay.
        fence.write(journal, [DeleteMany({"_id": {"$in": ids}})])
        meter.advance(len(ids))


def _export(db: Db, run: str, folder: Path) -> str:
    """Write the journal of *run* as extended JSON, a line an entry, compressed."""
    target = folder / f"journal-{run}.jsonl.gz"
    temporary = target.with_suffix(f".{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as raw:
            with gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as packed:
                for entry in (
                    db[JOURNAL]
                    .with_options(codec_options=ejson.CODEC)
                    .find({"run": run}, sort=[("seq", 1)], batch_size=1)
                ):
                    packed.write(ejson.in_order(entry).encode() + b"\n")
            raw.flush()
            os.fsync(raw.fileno())
        if target.exists():
            raise FileExistsError(17, "it is there already", str(target))
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise MigrationError(
            f"The journal of run {run} can't be kept in {target}: {error.strerror}. Nothing of it "
            "was removed. Make room there, or prune without prune_export."
        ) from error
    return str(target)
