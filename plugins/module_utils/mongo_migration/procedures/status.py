"""What there is to know of a deployment, without changing anything."""

from __future__ import annotations

from typing import Any

from pymongo import MongoClient

from .. import connection
from ..document import lint
from ..document.definition import Definition
from ..errors import MigrationError
from ..ledger import lease, partial_restore, runs
from ..maintenance import mode
from ..values import ejson
from . import plan


def describe(
    *, client: MongoClient[dict[str, Any]], database: str, definition: Definition | None
) -> dict[str, Any]:
    """Return server, changelog, lease and maintenance; with a definition also its state and plan.

    Whatever would make a migration refuse is among ``problems``, one sentence each.
    """
    db = client[database]
    server = connection.inspect(client)
    found: dict[str, Any] = {
        "database": database,
        "server": {**server.as_dict(), "write_block": mode.write_block_is_on(client)},
        "changelog": [_entry(run) for run in runs.changelog(db)],
        "lease": _lease(lease.read(db)),
        "maintenance": _maintenance(client, database),
        "restore": partial_restore.read(db),
        "problems": [],
    }
    if definition is not None:
        _add_migration(found, client, database, definition)
    return found


def _maintenance(client: MongoClient[dict[str, Any]], database: str) -> dict[str, Any] | None:
    """Return maintenance mode, with for how long it has been on by the server's clock."""
    found = mode.state(client, database)
    if found is None or not found.get("on") or found.get("since") is None:
        return found
    now = client.admin.command("hello", codec_options=ejson.CODEC)["localTime"]
    lasted = now - found["since"]
    return {**found, "seconds": round(max(0.0, lasted.total_seconds()))}


def _add_migration(
    found: dict[str, Any],
    client: MongoClient[dict[str, Any]],
    database: str,
    definition: Definition,
) -> None:
    run = runs.latest(client[database], definition.id)
    state = run["phase"] if run else "pending"
    found["migration"] = {
        **definition.as_dict(),
        "state": state,
        "run": run["_id"] if run else None,
        "backup": run.get("backup") if run else None,
        "command": definition.command,
        "todo": "nothing" if state == "verified" else "migrate",
    }
    found["lint"] = [str(item) for item in lint.findings(definition.text, definition.source)]
    settled = ("planned", runs.ROLLED_BACK, *(["verified"] if definition.is_repair else []))
    if run and state not in settled and run["digest"] != definition.digest:
        found["problems"].append(
            f"{definition.source} has changed since run {run['_id']} ({state}) began: restore the "
            f"document, or roll back first (rollback.yml -e migration={definition.id})"
        )
    try:
        made = plan.make(client, database, definition)
    except MigrationError as error:
        found["problems"].append(error.message)
        return
    found["plan"] = made
    if definition.is_repair and state in ("pending", *settled):
        found["migration"]["todo"] = "idle" if plan.is_idle(made) else "migrate"
    if state in runs.DONE and found["migration"]["todo"] != "migrate":
        return  # what is still to do after it was applied is drift: verify.yml judges it
    found["problems"] += [
        f"{item['collection']}: {item['what']} ({item['count']:,}). Fix: {item['fix']}."
        for item in made["problems"]
    ]


def _entry(run: dict[str, Any]) -> dict[str, Any]:
    ended = {
        "applied": "applied_at",
        "verified": "verified_at",
        runs.ROLLED_BACK: "rolled_back_at",
    }.get(run["phase"])
    return {
        "run": run["_id"],
        "migration": run["migration"],
        "name": run["name"],
        "digest": run["digest"],
        "phase": run["phase"],
        "started": run["started"],
        "finished": run.get(ended) if ended else None,
        "verified_at": run.get("verified_at"),
        "operator": run.get("operator"),
        "change": run.get("change"),
        "backup": run.get("backup"),
        "counts": run["counts"],
        "work": _work(run),
        "conflicts": run["counts"].get("conflicts", 0),
        "control": run.get("control"),
        "limits": run.get("limits") or {},
        "error": run.get("error"),
    }


def _work(run: dict[str, Any]) -> dict[str, Any]:
    """Return how far a run is, or its rollback: what the progress line counts."""
    counts = run["counts"]
    if run["phase"] in (runs.ROLLING_BACK, runs.ROLLED_BACK):
        planned = run.get("rollback", {}).get("plan", {})
        total = planned.get("restore", 0) + planned.get("remove", 0)
        done = counts.get("restored", 0) + counts.get("removed", 0)
    else:
        done, total = runs.written(run), plan.work(run["plan"])
    seconds = _seconds_at_work(run)
    rate = done / seconds if seconds > 0 else 0.0
    at_work = run["phase"] in ("running", runs.ROLLING_BACK)
    return {
        "done": done,
        "total": total,
        "rate": round(rate, 1),
        "eta_seconds": round(max(0, total - done) / rate) if at_work and rate else None,
    }


def _seconds_at_work(run: dict[str, Any]) -> float:
    """Return for how long the run, or its rollback, has worked; what it stood still is left out."""
    phase = (
        runs.ROLLING_BACK if run["phase"] in (runs.ROLLING_BACK, runs.ROLLED_BACK) else "running"
    )
    history = run.get("history", [])
    ends = [item["at"] for item in history[1:]]
    # Of a run at work, the newest checkpoint: the process may be gone since.
    newest = run.get("updated")
    spent = 0.0
    for item, end in zip(history, [*ends, newest], strict=False):
        if item["phase"] == phase and end is not None:
            spent += max(0.0, (end - item["at"]).total_seconds())
    return spent


def _lease(held: dict[str, Any] | None) -> dict[str, Any] | None:
    if held is None:
        return None
    holder = held["holder"]
    return {
        "holder": {key: holder.get(key) for key in ("user", "host", "pid")},
        "purpose": held["purpose"],
        "since": held["since"],
        "expires": held["expires"],
        "token": held["token"],
    }
