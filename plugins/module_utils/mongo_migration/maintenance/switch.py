"""Maintenance mode switched on and off: prepare, enter, reopen, leave.

A switch goes over many hosts, and can be killed between any two. So its begin is recorded, and
stays recorded as ``switching`` until it is complete: whoever comes next sees that hosts may differ.

====================  ==================================  ======================================
verb                  when                                what changes
====================  ==================================  ======================================
:func:`prepare`       before the applications are told    nothing but the record of the begin
:func:`enter`         when all of them are                writers are waited for, then refused
:func:`reopen`        before the applications are told    writes are accepted again
:func:`leave`         when all of them are                the same if need be, and it is complete
====================  ==================================  ======================================

The write block is a switch of the whole deployment, with which the server itself refuses writes:
no flag that an application forgets to read comes into it. What is said here about its behaviour
was seen on MongoDB 6.0.5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo import MongoClient
from pymongo.errors import ExecutionTimeout, OperationFailure

from ..document import collections
from ..server import connection, members, obstacles
from ..support import listing, majority, neutral
from . import drain, mode, write_proof
from .errors import MaintenanceError
from .write_block import SWITCH_ACTION, Wanted, ability, way, write_block_is_on

Document = dict[str, Any]
Client = MongoClient[Document]

# A switch is made by a person who waits for it.
_SHOWN_DATABASES = 5
_SWITCH_MS = 30_000
_MAJORITY_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for, by whom.

    Args:
        client: logged in as the user that migrates.
        database: the database that is migrated.
        operator: who switches.
        reason: why, for whoever finds the database so.
        change: what to record of the change.
        write_block: whether to use the server's write block.
        applications: hosts whose application was seen to refuse a write, or at the begin will be
            asked to. Where the write block isn't used, they alone keep writers out, and there has
            to be one: that it was told proves nothing.
        majority_seconds: how long to wait for a majority that could confirm the switch.
        check: change nothing, and say what would be changed.
    """

    client: Client
    database: str
    operator: Mapping[str, Any]
    reason: str | None = None
    change: Mapping[str, Any]
    write_block: Wanted = "auto"
    applications: Sequence[str] = ()
    majority_seconds: float = _MAJORITY_SECONDS
    check: bool = False


def prepare(request: Request) -> Document:
    """Record that maintenance mode is about to be entered, if it can be: see :class:`Request`.

    Raises:
        ConnectionFailedError: there is no majority.
        MaintenanceError: nothing would keep writers out, or the write block can't be used.
    """
    attempt = _Attempt(request)
    attempt.block_to_enter()
    attempt.begin("on")
    return attempt.result("on", after=attempt.was)


def enter(
    request: Request, *, drained: drain.Settings | None = None, probe: Client | None = None
) -> Document:
    """Wait for writers, refuse them from now on, and prove it: see :class:`Request`.

    Args:
        request: what is asked for.
        drained: how long to wait for writers before the write block; None doesn't look.
        probe: logged in as an ordinary user, whose writes must be refused.

    Raises:
        ConnectionFailedError: there is no majority.
        MaintenanceError: the write block can't be used, or doesn't stop the ordinary user, or
            writers don't end.
    """
    attempt = _Attempt(request)
    block = attempt.block_to_enter()
    waited = {}
    if drained and not attempt.blocked and not request.check:
        waited["drain"] = _drain(request, drained, attempt.warnings)
    attempt.change(on=True, write_block=block)
    attempt.complete()
    if block and not attempt.blocked:
        attempt.warnings += _warn_of_other_databases(request)
    result = waited | attempt.result("on", after={"on": True, "write_block": block})
    if probe is not None:
        why = "check mode" if request.check else "the write block is off"
        result["proof"] = (
            write_proof.prove(request.client, probe, request.database, so_far=result)
            if block and not request.check
            else {"refused": False, "code": None, "how": f"not tried: {why}"}
        )
    return result


def reopen(request: Request) -> Document:
    """Accept writes again, and record that applications are yet to be told: see :class:`Request`.

    Raises:
        ConnectionFailedError: there is no majority.
        MaintenanceError: the write block can't be switched off.
    """
    attempt = _Attempt(request)
    block = attempt.block_to_leave()
    if attempt.before:
        attempt.begin("off")
    attempt.change(on=False, write_block=block)
    return attempt.result("off", after={"on": False, "write_block": block})


def leave(request: Request) -> Document:
    """Accept writes again if that wasn't done, and record that it is over: see :class:`Request`.

    Raises:
        ConnectionFailedError: there is no majority.
        MaintenanceError: the write block can't be switched off.
    """
    attempt = _Attempt(request)
    block = attempt.block_to_leave()
    attempt.change(on=False, write_block=block)
    attempt.complete()
    return attempt.result("off", after={"on": False, "write_block": block})


class _Attempt:
    """What was found, and what is changed of it."""

    def __init__(self, request: Request) -> None:
        connection.check_database_name(request.database)
        if not request.check:
            members.await_majority(request.client, seconds=request.majority_seconds)
        self._request = request
        self._records = request.client[request.database].get_collection(
            collections.STATE, write_concern=majority.WRITE_CONCERN
        )
        self.before: Mapping[str, Any] = self._records.find_one({"_id": mode.ID}) or {}
        self.blocked = mode.blocked(request.client, self.before)
        self.was = {"on": bool(self.before.get("on")), "write_block": self.blocked}
        self.warnings: list[str] = []
        self._changed = False
        self._note: Document = {
            "by": {key: request.operator.get(key) for key in ("user", "host")},
            "reason": request.reason,
            "change": dict(request.change),
        }
        self._shown = self.before

    def block_to_enter(self) -> bool:
        """Return whether the write block will be used, or raise before anything is changed."""
        request = self._request
        found = way(
            request.client,
            request.write_block,
            applications=request.applications,
            blocked=self.blocked,
        )
        if found.problem:
            raise MaintenanceError(f"{found.problem}. {found.fix}", grant=found.grant or None)
        if found.warning:
            self.warnings.append(found.warning)
        return found.block

    def block_to_leave(self) -> bool:
        """Return whether the write block stays on, as it isn't ours to switch."""
        stays = self.blocked and self._request.write_block == "never"
        if stays:
            self.warnings.append(
                "The write block of the server stays on, as maintenance_write_block is 'never'."
            )
        return stays

    def begin(self, to: str) -> None:
        """Record that a switch has begun."""
        if not self._request.check:
            mode.mark_begun(self._records, to=to, note=self._note)

    def complete(self) -> None:
        """Record that the switch that had begun is complete."""
        if not self._request.check:
            mode.mark_complete(self._records)

    def change(self, *, on: bool, write_block: bool) -> None:
        """Make it so, unless it is and is recorded."""
        will = {"on": on, "write_block": write_block}
        recorded = {key: bool(self.before.get(key)) for key in will}
        self._changed = will != self.was or will != recorded
        if not self._changed:
            return
        if self._request.check:
            self._shown = {"since": None, **self._note}
            return
        if on and write_block != self.blocked:
            # Recorded first: whoever meets a refused write finds the reason in the database.
            self._record(on=True, write_block=self.blocked)
        _set_block(self._request.client, write_block, self.blocked)
        self._shown = self._record(on=on, write_block=write_block)

    def result(self, state: str, *, after: Mapping[str, bool]) -> Document:
        """Return what the module returns."""
        return {
            "changed": self._changed,
            "state": state,
            "write_block": after["write_block"],
            "on_before": self.was["on"],
            "switching": self.before.get("switching"),
            **{key: self._shown.get(key) for key in ("since", "by", "reason")},
            "diff": {"before": self.was, "after": dict(after)},
            "warnings": self.warnings,
        }

    def _record(self, *, on: bool, write_block: bool) -> Document:
        return mode.write(
            self._records,
            on=on,
            write_block=write_block,
            applications=self._request.applications,
            note=self._note,
        )


def _drain(request: Request, settings: drain.Settings, warnings: list[str]) -> Document:
    """Return how the waiting for writers ended, or raise where that is wanted."""
    outcome = drain.wait(request.client, request.database, settings)
    if not outcome.drained:
        words, advice = _still_writing(request.database, outcome)
        if settings.policy == "fail":
            raise MaintenanceError(f"{words} {advice}", drain=outcome.as_dict())
        warnings.append(words)
    return outcome.as_dict()


def _still_writing(database: str, outcome: drain.Drained) -> tuple[str, str]:
    """Return who still writes, and what to do about it."""
    if outcome.unseen:
        return (
            f"Whether others still write to {database} can't be seen: {outcome.unseen}.",
            "Grant that role, or set maintenance_undrained: continue in the inventory.",
        )
    places = f" Written to lately: {', '.join(outcome.collections)}." if outcome.collections else ""
    return (
        f"Others still write to {database} after {outcome.waited_seconds:.0f} s: "
        f"{'; '.join(outcome.writers) or 'nobody who can be seen'}.{places}",
        "Stop them, or give their hosts to the inventory's group of applications, so that they "
        "are told of maintenance mode too; or let the write block cut them off: "
        "maintenance_undrained: continue.",
    )


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


def _warn_of_other_databases(request: Request) -> list[str]:
    try:
        names = request.client.list_database_names()
    except OperationFailure:
        return []  # may not list them; the documentation says it too
    others = sorted(set(names) - {request.database, *listing.SERVERS_OWN})
    if not others:
        return []
    shown = neutral.listed(others, most=_SHOWN_DATABASES)
    return [f"The write block holds for the whole deployment, also for: {shown}."]
