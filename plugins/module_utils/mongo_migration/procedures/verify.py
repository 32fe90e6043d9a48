"""Verification: the data is read again and compared; no step's own word counts."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database

from ..document.definition import Definition
from ..errors import InterruptedRunError, MigrationError
from ..ledger import partial_restore, runs
from ..ledger.journal import Journal
from ..ledger.lease import Lease, hold
from ..ledger.runs import Run
from ..operations.registry import open_journal
from ..server import obstacles
from ..support import commands, retry
from ..support.progress import Sink, quiet
from ..support.stop import StopSignal
from . import authority, verify_applied, verify_rolled_back
from .results import Result, as_dict, left_alone

# What has no number is told this often: the entries of a journal may be many.
_TELL_SECONDS = 0.5


def verify(
    *,
    client: MongoClient[dict[str, Any]],
    database: str,
    definition: Definition,
    expect: str = "applied",
    run: str | None = None,
    record: bool = True,
    operator: Mapping[str, Any] | None = None,
    lease_seconds: float = 30,
    alone: bool = False,
    progress: Sink = quiet,
    stop: StopSignal | None = None,
) -> dict[str, Any]:
    """Check the state that *expect* names; a run that passes as ``applied`` becomes ``verified``.

    Args:
        client: connected to the deployment.
        database: the database.
        definition: the migration, as it is today; the data are held to the values that the run
            began with, and those to the inventory's.
        expect: ``applied`` or ``rolled_back``.
        run: the run to check, where it isn't the newest.
        record: write the result into the run document.
        operator: who does it, for the lease.
        lease_seconds: life of the lease while the result is written.
        alone: nobody else knows this database, so that nobody can have written to it.
        progress: told of what is read.
        stop: ends it at once, while it only reads.

    Raises:
        MigrationError: there is no run to verify, it is in another phase than expected, or
            somebody worked on it meanwhile.
        InterruptedRunError: it was stopped; nothing was written.
    """
    db, stop = client[database], stop or StopSignal()
    partial_restore.refuse(db)
    document = _of_phase(runs.latest(db, definition.id, run), definition, expect)
    results = _results(db, document, definition, expect, alone=alone, progress=progress, stop=stop)
    checks = list(map(as_dict, results))
    failed = [item["name"] for item in checks if item["status"] == "failed"]
    patience = retry.Patience.telling(progress, "verify", lease_seconds, stop)
    changed = record and not failed and expect == "applied" and document["phase"] == "applied"
    if changed:
        _record(db, document, len(results), operator=operator or {}, patience=patience)
    else:  # its own write would have been conditional on it
        _refuse_if_moved(db, document, patience)
    return {
        "changed": changed,
        "migration": definition.id,
        "run": document["_id"],
        "phase": "verified" if changed else document["phase"],
        "passed": not failed,
        "checks": checks,
        "left_alone": left_alone(results, document["plan"]) if expect == "applied" else [],
        "failures": failed,
    }


def _results(
    db: Database[dict[str, Any]],
    document: dict[str, Any],
    definition: Definition,
    expect: str,
    *,
    alone: bool,
    progress: Sink,
    stop: StopSignal,
) -> list[Result]:
    """Return what every check found.

    Raises:
        InterruptedRunError: a stop was asked for.
    """
    journal = _journal(db, document, definition)
    bound = authority.bind(document, definition) if expect == "applied" else None
    found: list[Result] = []
    told = 0.0

    def report(event: dict[str, Any]) -> None:
        nonlocal told
        stop.check()
        if "done" in event or time.monotonic() - told > _TELL_SECONDS:
            told = time.monotonic()
            progress(event)

    done = (
        itertools.chain(
            verify_applied.values_of_today(bound, definition),
            verify_applied.checks(db, document, journal, bound, alone=alone, report=report),
        )
        if bound
        else verify_rolled_back.checks(db, document, journal, alone=alone, report=report)
    )
    try:
        with stop.at_once():
            for check in done:
                found.append(check)
                report({"phase": "verify", "detail": as_dict(check)["name"]})
    except InterruptedRunError as error:
        again = commands.command("verify", migration=definition.id)
        raise InterruptedRunError(
            f"The verification was stopped ({stop.reason}) after {len(found)} checks. It had only "
            f"read: run {document['_id']} is {document['phase']}, as before. Next: {again}",
            run=document["_id"],
            phase=document["phase"],
            next=again,
        ) from error
    return found


def _journal(
    db: Database[dict[str, Any]], document: Mapping[str, Any], definition: Definition
) -> Journal:
    """Return the journal, of which each entry must be one that the document allows.

    What was rolled back can be verified by a later revision of the document, too.
    """
    if document["digest"] != definition.digest:
        return open_journal(db, document["_id"])
    allowed = authority.Authority(db, document, definition)
    return open_journal(db, document["_id"], require=allowed.step)


def _of_phase(
    document: dict[str, Any] | None, definition: Definition, expect: str
) -> dict[str, Any]:
    allowed = runs.DONE if expect == "applied" else (runs.ROLLED_BACK,)
    phase = "pending" if document is None else document["phase"]
    if document is not None and phase in allowed:
        return document
    command = (
        commands.carry_out(definition.id, definition.name)
        if expect == "applied"
        else commands.roll_back(definition.id)
    )
    raise MigrationError(
        f"Migration {definition.id} is {phase}, not {' or '.join(allowed)}: there is nothing to "
        f"verify as {expect}. Next: {command}",
        phase=phase,
        next=command,
    )


def _refuse_if_moved(
    db: Database[dict[str, Any]], document: Mapping[str, Any], patience: retry.Patience
) -> None:
    """What was looked at must have been the run's state until the end, as a majority knows it.

    Raises:
        MigrationError: another process has worked on it meanwhile.
        ConnectionFailedError: there is no majority that could say so.
    """
    now = patience.retry(
        lambda: runs.latest(db, document["migration"], document["_id"], sure=True),
        otherwise="Nothing was written.",
        obstacle=obstacles.namer(db.client),
    )
    known = ("phase", "revision", "seq")
    if now is None or [now[key] for key in known] != [document[key] for key in known]:
        raise MigrationError(
            f"Run {document['_id']} was worked on while it was being verified: what was looked at "
            f"is of no worth. {commands.STATUS} shows its state; then verify again.",
            run=document["_id"],
            next=commands.STATUS,
        )


def _record(
    db: Database[dict[str, Any]],
    document: dict[str, Any],
    checks: int,
    *,
    operator: Mapping[str, Any],
    patience: retry.Patience,
) -> None:
    """Write the first success into the run document, if that still is what was looked at."""
    purpose = f"verify {document['migration']} {document['name']}"
    lease: Lease
    with hold(
        db, purpose=purpose, holder=dict(operator), seconds=patience.seconds, patience=patience
    ) as lease:
        run = Run.adopt(db, document, lease)
        run.enter("verified", verified_at=runs.server_now(db), verification=checks)
