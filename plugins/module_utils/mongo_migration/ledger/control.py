"""Steering a run from another terminal, through its document.

A command is one atomic, majority-acknowledged update of the newest unfinished run. It doesn't touch
the fencing token, so it can't make the run lose anything; the run reads it with its next checkpoint
(see :mod:`batches`).
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pymongo import MongoClient, ReturnDocument
from pymongo.database import Database

from ..document.collections import STATE
from ..errors import InterruptedRunError, MigrationError
from ..pace.throttle import Limits
from ..support import commands, neutral
from ..values.abridged import abridge
from . import lease, run_shape, runs, state_format

PAUSE, RESUME, ABORT, LIMITS = ACTIONS = ("pause", "resume", "abort", "limits")
_LONGEST_NAME = 200
_AT_WORK = ("planned", "running", runs.ROLLING_BACK)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What another terminal asked for: ``pause`` or ``abort``."""

    action: str
    by: str
    at: datetime.datetime | None

    def __str__(self) -> str:
        since = f" since {self.at:%H:%M:%S} UTC" if self.at else ""
        return f"{self.action}d by {self.by}{since}"

    def refuse_abort(self) -> None:
        """End here if it is an abort.

        Raises:
            InterruptedRunError: it is.
        """
        if self.action == ABORT:
            raise InterruptedRunError(
                f"Stopped at a batch boundary: aborted by {self.by} from another terminal"
            )


def asked(document: Mapping[str, Any]) -> Asked | None:
    """Return what a run document asks its process for, if anything."""
    found = document.get("control")
    if not found:
        return None
    by = neutral.line(abridge(found["by"], _LONGEST_NAME))
    return Asked(action=found["action"], by=by, at=found.get("at"))


def read(database: Database[dict[str, Any]], run: str) -> Asked | None:
    """Return what *run* is asked for in the database, if anything.

    Raises:
        StateError: what stands there isn't what we write.
    """
    found = database[STATE].find_one({"_id": run}, {"control": 1, "limits": 1})
    place = f"{database.name}.{STATE}"
    checked = state_format.checked(found, run_shape.STEERED, place=place, what="a run")
    return asked(checked) if checked else None


def give(
    *,
    client: MongoClient[dict[str, Any]],
    database: str,
    action: str,
    limits: Mapping[str, Any],
    operator: Mapping[str, Any],
    check: bool = False,
) -> dict[str, Any]:
    """Give the process that works on *database* a command.

    Args:
        client: connected to the deployment.
        database: the database that is being migrated or rolled back.
        action: one of :data:`ACTIONS`.
        limits: for ``limits``: what replaces the limits given before; nothing removes them.
        operator: who asks.
        check: only say what would be changed.

    Returns:
        The module's result.

    Raises:
        MigrationError: nothing is running, or the limits make no sense.
    """
    db = client[database]
    given = {key: value for key, value in limits.items() if value is not None}
    Limits(**given)  # a limit that makes no sense is refused here, where a person sees it
    state = db[STATE].with_options(write_concern=runs.MAJORITY)
    at_work: dict[str, Any] = {"kind": "run", "phase": {"$in": list(_AT_WORK)}}
    newest = runs.newest(db, _AT_WORK)
    held = lease.read(db)
    # Whoever holds the lease may be at something else, such as a restore.
    if newest is None or held is None or held["token"] != newest["token"]:
        raise MigrationError(_nothing(database, newest, held))
    command = _command(action, given, operator)
    changed = _differs(newest, action, given)
    if changed and not check:
        # Still at work, by the same process: its next start must find no command of today.
        same = {**at_work, "_id": newest["_id"], "token": newest["token"]}
        found = state.find_one_and_update(same, command, return_document=ReturnDocument.AFTER)
        if found is None:
            raise MigrationError(_nothing(database, None, None))
        newest = found
    holder = held["holder"]
    return {
        "changed": changed,
        "action": action,
        "run": newest["_id"],
        "migration": newest["migration"],
        "name": newest["name"],
        "phase": newest["phase"],
        "holder": {key: holder.get(key) for key in ("user", "host", "pid")},
        "counts": newest["counts"],
        "limits": given if action == LIMITS else newest.get("limits", {}),
        "control": newest.get("control"),
        "next": commands.STATUS,
    }


def _command(
    action: str, given: Mapping[str, Any], operator: Mapping[str, Any]
) -> list[dict[str, Any]]:
    if action == RESUME:
        return [{"$unset": "control"}]
    if action == LIMITS:
        return [{"$set": {"limits": {"$literal": dict(given)}}}]
    by = f"{operator.get('user')}@{operator.get('host')}"
    return [
        {"$set": {"control": {"$literal": {"action": action, "by": by}}}},
        # The server's clock, as everywhere.
        {"$set": {"control.at": "$$NOW"}},
    ]


def _differs(run: Mapping[str, Any], action: str, given: Mapping[str, Any]) -> bool:
    if action == LIMITS:
        return dict(run.get("limits") or {}) != dict(given)
    present = (run.get("control") or {}).get("action")
    return present != (None if action == RESUME else action)


def _nothing(database: str, left: Mapping[str, Any] | None, held: Mapping[str, Any] | None) -> str:
    why = ""
    if held is not None:
        why = f" The lease is held for: {held['purpose']}, which takes no commands."
    elif left is not None:
        why = (
            f" Run {left['_id']} is {left['phase']}, but the process that did it is gone: start "
            "the same command again, it resumes."
        )
    return (
        f"No run is at work on database '{database}', so there is nothing to steer.{why} "
        f"See {commands.STATUS}."
    )
