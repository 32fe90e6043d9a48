"""Maintenance mode of a database: the record of it, the drain, the server's write block, the proof.

The write block is a switch of the whole deployment, with which the server itself refuses writes:
no flag that an application forgets to read comes into it. What is said here about its behaviour
was seen on MongoDB 6.0.5.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pymongo import MongoClient, ReturnDocument
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import ExecutionTimeout, OperationFailure

from .. import connection
from ..document import collections
from ..errors import MigrationError
from ..server import members, obstacles
from ..support import commands, majority
from . import drain
from .write_block import BYPASS_ACTION, SWITCH_ACTION, Wanted, ability, way, write_block_is_on

Document = dict[str, Any]
Client = MongoClient[Document]

ID = "maintenance"
# A switch is made by a person who waits for it.
_SWITCH_MS = 30_000
_MAJORITY_SECONDS = 10

USER_WRITES_BLOCKED = 371


class MaintenanceError(MigrationError):
    """Maintenance mode can't be switched as asked, or doesn't keep writers out."""


def state(client: Client, database: str) -> Document | None:
    """Return what is recorded of maintenance mode, or ``None`` if it was never switched."""
    found = client[database][collections.STATE].find_one({"_id": ID}, {"_id": False})
    return found and dict(found)


def is_on(database: Database[Document]) -> bool:
    """Return whether the writers of *database* are stopped: recorded, and kept out by something."""
    return holds(database.client, state(database.client, database.name))


def is_on_since(database: Database[Document], moment: datetime) -> bool:
    """Return whether maintenance mode is on, and has been all the time since *moment*."""
    record = state(database.client, database.name)
    return record is not None and holds(database.client, record) and record["since"] <= moment


def holds(client: Client, record: Mapping[str, Any] | None) -> bool:
    """Return whether what is recorded as on keeps writers out."""
    if record is None or not record.get("on"):
        return False
    # A record of before applications were named: whoever switched saw to it.
    return bool(record.get("applications", True)) or _blocked(client, record)


def switch(
    *,
    client: Client,
    database: str,
    state: Literal["on", "off"],
    reason: str | None,
    change: Mapping[str, Any],
    operator: Mapping[str, Any],
    write_block: Wanted = "auto",
    applications: Sequence[str] = (),
    phase: Literal["begin", "complete"] = "complete",
    drained: drain.Settings | None = None,
    probe: Client | None = None,
    majority_seconds: float = _MAJORITY_SECONDS,
    check: bool = False,
) -> Document:
    """Switch maintenance mode, and prove that it holds.

    A switch goes over many hosts, and can be killed between any two. So its begin is recorded, and
    stays recorded as ``switching`` until it is complete: whoever comes next sees that the hosts
    may differ.

    Args:
        client: logged in as the user that migrates.
        database: the database that is migrated.
        state: what is wanted.
        reason: why, for whoever finds the database so.
        change: what to record of the change.
        operator: who switches.
        write_block: whether to use the server's write block.
        applications: hosts whose application was told of it, or with ``begin`` will be. Where the
            write block isn't used, they alone keep writers out, and there has to be one.
        phase: ``begin`` before the applications are told, ``complete`` when all of them are. Writes
            are refused with the completion of ``on``, and accepted with the begin of ``off``.
        drained: how long to wait for writers before the write block; None doesn't look.
        probe: logged in as an ordinary user, whose writes must be refused.
        majority_seconds: how long to wait for a majority that could confirm the switch.
        check: change nothing, and say what would be changed.

    Raises:
        ConnectionFailedError: there is no majority.
        MaintenanceError: the write block can't be used, or doesn't stop the ordinary user, or
            writers don't end.
    """
    connection.check_database_name(database)
    if not check:
        members.await_majority(client, seconds=majority_seconds)
    records = client[database].get_collection(
        collections.STATE, write_concern=majority.WRITE_CONCERN
    )
    before = records.find_one({"_id": ID}) or {}
    blocked_before = _blocked(client, before)
    warnings: list[str] = []
    wanted = _wanted_block(
        client,
        state,
        write_block,
        applications=applications,
        blocked=blocked_before,
        warnings=warnings,
    )
    begins_on = state == "on" and phase == "begin"

    was = {"on": bool(before.get("on")), "write_block": blocked_before}
    will = was if begins_on else {"on": state == "on", "write_block": wanted}
    recorded = {"on": was["on"], "write_block": bool(before.get("write_block"))}
    changed = not begins_on and (will != was or will != recorded)
    note: Document = {
        "by": {"user": operator.get("user"), "host": operator.get("host")},
        "reason": reason,
        "change": dict(change),
    }
    if phase == "begin" and not check and (before or state == "on"):
        _mark(records, to=state, note=note)
    result: Document = {}
    if state == "on" and phase == "complete" and drained and not blocked_before and not check:
        result["drain"] = _drain(client, database, drained, warnings)
    after: Mapping[str, Any] = before
    if changed and check:
        after = {"since": None, **note}
    elif changed:
        if state == "on" and wanted != blocked_before:
            # Recorded first: whoever meets a refused write finds the reason in the database.
            _record(
                records, on=True, write_block=blocked_before, applications=applications, note=note
            )
        _set_block(client, wanted, blocked_before)
        after = _record(
            records, on=will["on"], write_block=wanted, applications=applications, note=note
        )
    if phase == "complete" and not check:
        records.update_one(
            {"_id": ID, "switching": {"$exists": True}}, {"$unset": {"switching": 1}}
        )
    if will["write_block"] and not blocked_before:
        warnings += _warn_of_other_databases(client, database)

    result |= {
        "changed": changed,
        "state": state,
        "write_block": will["write_block"],
        "switching": before.get("switching"),
        **{key: after.get(key) for key in ("since", "by", "reason")},
        "diff": {"before": was, "after": will},
        "warnings": warnings,
    }
    if probe is not None and state == "on" and phase == "complete":
        result["proof"] = _prove(client, probe, database, wanted=wanted, check=check, so_far=result)
    return result


def _wanted_block(
    client: Client,
    state: str,
    wanted: Wanted,
    *,
    applications: Sequence[str],
    blocked: bool,
    warnings: list[str],
) -> bool:
    """Return whether the write block will be on, or raise before anything is changed."""
    if state == "off":
        if wanted == "never" and blocked:
            warnings.append(
                "The write block of the server stays on, as maintenance_write_block is 'never'."
            )
        return blocked and wanted == "never"
    found = way(client, wanted, applications=applications, blocked=blocked)
    if found.problem:
        raise MaintenanceError(f"{found.problem}. {found.fix}", grant=found.grant or None)
    if found.warning:
        warnings.append(found.warning)
    return found.block


def _set_block(client: Client, wanted: bool, blocked: bool) -> None:
    if wanted == blocked:
        return
    try:
        # It waits for a majority, and takes no write concern that would end the wait.
        client.admin.command({SWITCH_ACTION: 1, "global": wanted}, maxTimeMS=_SWITCH_MS)
    except ExecutionTimeout as error:
        raise MaintenanceError(
            f"The server didn't switch its write block {'on' if wanted else 'off'} within "
            f"{_SWITCH_MS / 1000:.0f} s: {obstacles.majority_words(client)}. Run the same command "
            "again when that is settled."
        ) from error
    except OperationFailure as error:
        if error.code != connection.UNAUTHORIZED:
            raise
        can = ability(client)
        raise MaintenanceError(
            f"The write block of the server can't be switched {'on' if wanted else 'off'}: "
            f"{can.reason}. An administrator grants it with: {can.repair}",
            grant=can.repair,
        ) from error
    if write_block_is_on(client) is (not wanted):
        raise MaintenanceError(
            f"The server accepted to switch its write block {'on' if wanted else 'off'}, but "
            "reports the opposite: somebody else switches it at the same time."
        )


def _mark(records: Collection[Document], *, to: str, note: Mapping[str, Any]) -> None:
    """Record that a switch has begun, without touching what is recorded of the last one."""
    marker = {"to": to, "since": "$$NOW", "by": {"$literal": note["by"]}}
    marker["reason"] = {"$literal": note["reason"]}
    kept = {key: {"$ifNull": [f"${key}", False]} for key in ("on", "write_block")}
    records.update_one({"_id": ID}, [{"$set": {**kept, "switching": marker}}], upsert=True)


def _drain(
    client: Client, database: str, settings: drain.Settings, warnings: list[str]
) -> Document:
    """Return how the waiting for writers ended, or raise where that is wanted."""
    outcome = drain.wait(client, database, settings)
    if outcome.drained:
        return outcome.as_dict()
    if outcome.unseen:
        words = f"Whether others still write to {database} can't be seen: {outcome.unseen}."
        advice = "Grant that role, or set maintenance_undrained: continue in the inventory."
    else:
        places = f" Written to lately: {', '.join(outcome.collections)}." * bool(
            outcome.collections
        )
        words = (
            f"Others still write to {database} after {outcome.waited_seconds:.0f} s: "
            f"{'; '.join(outcome.writers) or 'nobody who can be seen'}.{places}"
        )
        advice = (
            "Stop them, or give their hosts to the inventory's group of applications, so that they "
            "are told of maintenance mode too; or let the write block cut them off: "
            "maintenance_undrained: continue."
        )
    if settings.policy == "fail":
        raise MaintenanceError(f"{words} {advice}", drain=outcome.as_dict())
    warnings.append(words)
    return outcome.as_dict()


def _record(
    records: Collection[Document],
    *,
    on: bool,
    write_block: bool,
    applications: Sequence[str],
    note: Mapping[str, Any],
) -> Document:
    """Write the record; a state that is recorded already keeps its time, person and reason."""

    values = {
        "since": "$$NOW",
        **{key: {"$literal": value} for key, value in note.items()},
    }
    kept = {
        key: {"$cond": [{"$eq": ["$on", on]}, f"${key}", value]} for key, value in values.items()
    }
    after = records.find_one_and_update(
        {"_id": ID},
        [
            {
                "$set": {
                    **kept,
                    "on": on,
                    "write_block": write_block,
                    "applications": {"$literal": list(applications) if on else []},
                }
            }
        ],
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    return dict(after or {})  # never empty, as it upserts


def _prove(
    client: Client,
    probe: Client,
    database: str,
    *,
    wanted: bool,
    check: bool,
    so_far: Mapping[str, Any],
) -> Document:
    """Return the proof that the ordinary user can't write, or raise."""
    if check or not wanted:
        why = "check mode" if check else "the write block is off"
        return {"refused": False, "code": None, "how": f"not tried: {why}"}
    login = probe.admin.command({"connectionStatus": 1, "showPrivileges": True})["authInfo"]
    users = [f"{user['user']}@{user['db']}" for user in login["authenticatedUsers"]]
    who = users[0] if users else "a connection without login"
    place = f"{database}.{collections.PROBE}"
    codes = _try_to_write(client[database][collections.PROBE], probe[database][collections.PROBE])
    how = f"{who} tried insert and update in {place}: "
    if set(codes.values()) == {USER_WRITES_BLOCKED}:
        how += f"both refused with {USER_WRITES_BLOCKED} UserWritesBlocked"
        return {"refused": True, "code": USER_WRITES_BLOCKED, "how": how}

    how += ", ".join(
        f"{name} {'went through' if code is None else f'failed with code {code}'}"
        for name, code in codes.items()
    )
    code = next((code for code in codes.values() if code is not None), None)
    if None in codes.values():
        advice = (
            f"It could write although the write block is on, so it holds {BYPASS_ACTION}. Take the "
            f"roles with it away ({_roles(login) or 'restore, root and __system contain it'}), or "
            "probe with the application's own user"
        )
    elif connection.UNAUTHORIZED in codes.values():
        advice = (
            f"That proves nothing, as it may not write there anyway. Probe with a user that has "
            f"readWrite on {database}, best the application's own"
        )
    else:
        advice = "That isn't the write block, so it proves nothing"
    raise MaintenanceError(
        f"No proof that writes are refused: {how}. {advice}. "
        "Maintenance mode has been left on; switch it off with "
        f"{commands.command('maintenance', state='off')}.",
        **{**so_far, "proof": {"refused": False, "code": code, "how": how}},
    )


def _try_to_write(
    ours: Collection[Document], theirs: Collection[Document]
) -> dict[str, int | None]:
    """Let the ordinary user insert and update; return the server's codes, ``None`` for success.

    The server refuses an update only where it would change a document, so there must be one.
    """
    token = f"probe-{uuid.uuid4()}"
    attempts: dict[str, Callable[[], object]] = {
        "insert": lambda: theirs.insert_one({"_id": f"{token}-insert"}),
        "update": lambda: theirs.update_one({"_id": token}, {"$set": {"touched": True}}),
    }
    codes: dict[str, int | None] = {}
    ours.insert_one({"_id": token, "purpose": "proof that writes are refused"})
    try:
        for name, attempt in attempts.items():
            try:
                attempt()
            except OperationFailure as error:
                codes[name] = error.code
            else:
                codes[name] = None
    finally:
        ours.drop()
    return codes


def _blocked(client: Client, record: Mapping[str, Any]) -> bool:
    """Return whether the write block is on, by the server or else by our record."""
    seen = write_block_is_on(client)
    return bool(record.get("write_block")) if seen is None else seen


def _warn_of_other_databases(client: Client, database: str) -> list[str]:
    try:
        names = client.list_database_names()
    except OperationFailure:
        return []  # may not list them; the documentation says it too
    others = sorted(set(names) - {database, "admin", "config", "local"})
    if not others:
        return []
    return [f"The write block holds for the whole deployment, also for: {', '.join(others)}."]


def _roles(login: Mapping[str, Any]) -> str:
    return ", ".join(f"{role['role']}@{role['db']}" for role in login["authenticatedUserRoles"])
