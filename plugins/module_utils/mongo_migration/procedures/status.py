"""What there is to know of a deployment, without changing anything."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database

from ..backup import scratch, scratch_left
from ..document import lint
from ..document.definition import Definition
from ..errors import MigrationError
from ..ledger import adopted, holdings, lease, own_collections, partial_restore, runs
from ..maintenance import mode
from ..maintenance.write_block import write_block_is_on
from ..server import connection, fsync_lock
from ..support import commands, neutral
from ..values import ejson
from ..values.abridged import abridge
from . import authority, cutover, plan

_ADOPTED = ("migration", "tool", "applied", "by", "adopted_at")
# A run in one of these phases goes on by the same command.
_UNFINISHED = (*runs.UNFINISHED, "applied")


def describe(
    *,
    client: MongoClient[dict[str, Any]],
    database: str,
    definition: Definition | None,
    copies_of: Collection[str] = (),
) -> dict[str, Any]:
    """Return server, changelog, lease and maintenance; with a definition also its state and plan.

    Without one, the scratch databases of *copies_of* are named, or else of *database*. Whatever
    would make a migration refuse is among ``problems``, one sentence each.

    Raises:
        StateError: what holds our records isn't of the kind that we make.
    """
    db = client[database]
    own_collections.refuse_odd(db)
    server = connection.inspect(client)
    found: dict[str, Any] = {
        "database": database,
        "server": {**server.as_dict(), "write_block": write_block_is_on(client)},
        "changelog": _changelog(db),
        "adopted": [abridge({key: row.get(key) for key in _ADOPTED}) for row in adopted.read(db)],
        "lease": _lease(lease.read(db)),
        "maintenance": _maintenance(client, database),
        "restore": partial_restore.read(db),
        "copies": scratch_left.find(client, copies_of or [database]) if definition is None else [],
        "problems": [fsync_lock.EXPLANATION] if fsync_lock.is_on(client) else [],
    }
    found["at_work"] = at_work(found)
    found["next"] = advise(found)
    if definition is not None:
        _add_migration(found, client, database, definition)
    return found


def _changelog(db: Database[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return all runs, with about what each holds; exactly, ``prune.yml --check`` says it."""
    found = runs.changelog(db)
    held = holdings.about(db, [run["_id"] for run in found])
    return [{**entry(run), "held_bytes": held[run["_id"]]} for run in found]


def at_work(found: Mapping[str, Any]) -> str:
    """Return who works on the database, at what, and how far it is; empty if nobody does."""
    lease = found["lease"]
    if not lease:
        return ""
    holder, since = lease["holder"], lease["since"]
    words = [
        f"{holder['user']}@{holder['host']} (process {holder['pid']}): {lease['purpose']}",
        *([f"since {since:%Y-%m-%d %H:%M:%S} UTC"] if since else []),
    ]
    for run in found["changelog"]:
        work = run["work"]
        if run["phase"] not in ("running", runs.ROLLING_BACK) or not work["total"]:
            continue
        share = 100 * work["done"] / work["total"]
        words.append(f"{work['done']:,} of {work['total']:,} documents, {share:.1f} %")
        if (control := run["control"]) and control.get("action") == "pause":
            words.append(f"paused by {neutral.line(control.get('by'))}")
        elif work["eta_seconds"] is not None:
            words.append(f"about {work['eta_seconds']:,} s left")
    return ", ".join(words)


def advise(found: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return what a person has to do now: why, and the command; empty where there is nothing.

    Of the data nothing is advised while somebody is at work: what looks half done is being done.
    """
    return [*_advise_on_data(found), *advise_on_copies(found["copies"])]


def advise_on_copies(copies: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return what a person has to do about scratch databases that nobody uses any more."""
    left = [neutral.line(one["database"]) for one in copies if one["at_work"] is None]
    if not left:
        return []
    why = f"a command that was killed left {', '.join(left)}: remove what it left"
    return [{"why": why, "command": scratch.REMOVE}]


def _advise_on_data(found: Mapping[str, Any]) -> list[dict[str, str]]:
    if found["lease"]:
        return []
    if restore := found["restore"]:
        why = f"the restore of {restore['archive']} ended halfway: some collections are from it"
        return [{"why": why, "command": restore["next"]}]
    advice = []
    for run in found["changelog"]:
        id_, phase = run["migration"], run["phase"]
        back = commands.roll_back(id_)
        if phase == runs.ROLLING_BACK:
            advice.append({"why": f"the rollback of {id_} stopped half-way", "command": back})
        elif phase == runs.PRUNING:
            why = f"the pruning of {id_} stopped half-way"
            advice.append({"why": why, "command": commands.command("prune", migration=id_)})
        elif phase in _UNFINISHED:
            on = commands.carry_out(id_, run["name"])
            why = f"{id_} stopped half-way ({phase.replace('_', ' ')})"
            advice += [
                {"why": f"{why}: go on", "command": on},
                {"why": "or undo exactly what it did", "command": back},
            ]
    return advice or _advise_on_maintenance(found["maintenance"] or {})


def _advise_on_maintenance(mode: Mapping[str, Any]) -> list[dict[str, str]]:
    if mode.get("switching"):
        why = "a switch of maintenance mode was not finished: see which application was told"
        return [{"why": why, "command": commands.command("maintenance", state="status")}]
    if mode.get("on"):
        why = (
            "maintenance mode is on, nobody is at work and nothing is half done: let the writers in"
        )
        return [{"why": why, "command": commands.command("maintenance", state="off")}]
    return []


def _maintenance(client: MongoClient[dict[str, Any]], database: str) -> dict[str, Any] | None:
    """Return maintenance mode, with for how long it has been on by the server's clock."""
    found = mode.state(client, database)
    if found:
        found["last"] = _last(found.get("last"))
    if found is None or not found.get("on") or found.get("since") is None:
        return found
    found["holds"] = mode.holds(client, found)
    now = client.admin.command("hello", codec_options=ejson.CODEC)["localTime"]
    so_far = now - found["since"]
    return {**found, "seconds": round(max(0.0, so_far.total_seconds()))}


def _last(kept: Any) -> dict[str, Any] | None:
    """Return when maintenance mode was on before, and for how long; None where that isn't kept."""
    if not isinstance(kept, dict):
        return None
    since, until = kept.get("since"), kept.get("until")
    if not (isinstance(since, datetime.datetime) and isinstance(until, datetime.datetime)):
        return None
    seconds = round(max(0.0, (until - since).total_seconds()), 1)
    return {"since": since, "until": until, "reason": kept.get("reason"), "seconds": seconds}


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
        "command": commands.carry_out(definition.id, definition.name),
        "todo": "nothing" if state in runs.VERIFIED else "migrate",
        "changes": False,
        "cutover": cutover.choose(definition)["kind"],
    }
    found["lint"] = [str(item) for item in lint.findings(definition.text, definition.source)]
    settled = ("planned", runs.ROLLED_BACK, *(runs.VERIFIED if definition.is_repair else ()))
    if run and state not in settled and run["digest"] != definition.digest:
        found["problems"].append(
            f"{definition.source} has changed since run {run['_id']} ({state}) began: restore the "
            f"document, or roll back first: {commands.roll_back(definition.id)}"
        )
    try:
        if run and state in ("planned", *runs.UNFINISHED) and run["digest"] == definition.digest:
            authority.take_up(run, definition)
    except MigrationError as error:
        found["problems"].append(error.message)
    try:
        made = plan.make(client, database, definition)
    except MigrationError as error:
        found["problems"].append(error.message)
        return
    found["plan"] = made
    if definition.is_repair and state in ("pending", *settled):
        found["migration"]["todo"] = "idle" if plan.is_idle(made) else "migrate"
    found["migration"]["changes"] = found["migration"]["todo"] == "migrate" and not plan.is_idle(
        made
    )
    if state in runs.DONE and found["migration"]["todo"] != "migrate":
        return  # what is still to do after it was applied is drift: verify.yml judges it
    found["problems"] += [
        f"{item['collection']}: {item['what']} ({item['count']:,}). Fix: {item['fix']}."
        for item in made["problems"]
    ]


def entry(run: dict[str, Any]) -> dict[str, Any]:
    """Return what the changelog shows of a run."""
    ended = {
        "applied": "applied_at",
        "verified": "verified_at",
        runs.ROLLED_BACK: "rolled_back_at",
        runs.PRUNED: "pruned_at",
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
        **{key: abridge(run.get(key)) for key in ("operator", "change", "backup", "control")},
        "counts": run["counts"],
        "work": _work(run),
        "pruned_at": run.get("pruned_at"),
        "conflicts": run["counts"].get("conflicts", 0),
        "limits": run.get("limits") or {},
        # Of a run that goes on, the last stop's reason is history.
        "error": None
        if run["phase"] in ("running", runs.ROLLING_BACK)
        else abridge(run.get("error")),
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
