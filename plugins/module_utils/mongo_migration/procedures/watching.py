"""Watching, from another terminal, what somebody else's command does; read only."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pymongo import MongoClient

from ..ledger import lease, runs
from ..support.progress import Sink
from ..support.stop import StopSignal
from . import status

Document = dict[str, Any]

_POLL_SECONDS = 1.0
# Between its phases a command holds no lease: so long nobody counts as gone.
_BETWEEN_SECONDS = 15.0
_DONE = frozenset({"verified", runs.ROLLED_BACK})


def watch(
    *,
    client: MongoClient[Document],
    database: str,
    report: Sink,
    stop: StopSignal,
    between_seconds: float = _BETWEEN_SECONDS,
    at_most_seconds: float = 0.0,
) -> Document:
    """Report how far the work on *database* is, until nobody is at work or a stop is asked for.

    Args:
        client: connected to the deployment.
        database: the database.
        report: gets the events that the working process itself reports, as far as they are known.
        stop: ends the watching; the work goes on.
        between_seconds: how long nobody may hold the lease before the work counts as ended.
        at_most_seconds: after which the watching ends by itself; 0 for never.

    Returns:
        ``found``: whether anybody was at work; ``work``: at what, and who; ``run``, ``migration``,
        ``phase``, ``error`` of the run, as it is now; ``at_work``: whether it still goes on.
    """
    seen: Document = {"changed": False, "found": False, "work": "", "at_work": False}
    missed: float | None = None
    began = time.monotonic()
    while True:
        held = lease.read(client[database])
        run = _newest(client, database)
        if held is not None:
            seen |= {"found": True, "work": _who(held), "at_work": True}
            missed = None
            report(_event(held, run))
        elif not seen["found"] or (run and run["phase"] in _DONE):
            break
        else:
            missed = time.monotonic() if missed is None else missed
            report({"phase": "wait", "waiting": "nobody is at work for the moment"})
            if time.monotonic() - missed >= between_seconds:
                break
        if stop.asked() or 0 < at_most_seconds <= time.monotonic() - began:
            return {**seen, **_of(run)}
        stop.wait(_POLL_SECONDS)
    return {**seen, "at_work": False, **_of(_newest(client, database))}


def _newest(client: MongoClient[Document], database: str) -> Document | None:
    """Return the run that was worked at last."""
    entries = [status.entry(run) for run in runs.changelog(client[database])]
    working = [each for each in entries if each["phase"] in ("running", runs.ROLLING_BACK)]
    return next(iter([*working, *entries]), None)


def _of(run: Mapping[str, Any] | None) -> Document:
    names = ("run", "migration", "phase", "error")
    return {name: run[name] if run else None for name in names}


def _who(held: Mapping[str, Any]) -> str:
    holder = held["holder"]
    return f"{held['purpose']}, by {holder['user']}@{holder['host']} (process {holder['pid']})"


def _event(held: Mapping[str, Any], run: Mapping[str, Any] | None) -> Document:
    """Return the event of a progress line."""
    phase = str(held["purpose"]).partition(" ")[0]
    if (
        run is None
        or run["phase"] not in ("running", runs.ROLLING_BACK)
        or not run["work"]["total"]
    ):
        return {"phase": phase, "done": 0, "detail": held["purpose"]}
    work, control = run["work"], run["control"] or {}
    event = {
        "phase": "rollback" if run["phase"] == runs.ROLLING_BACK else "migrate",
        "done": work["done"],
        "total": max(work["total"], work["done"]),
        "rate": work["rate"],
        "eta_seconds": work["eta_seconds"],
        "detail": f"{run['migration']} by {held['holder']['user']}",
    }
    asked = {"pause": "paused", "abort": "asked to stop"}.get(str(control.get("action")))
    return {**event, "paused": f"{asked} by {control.get('by')}"} if asked else event
