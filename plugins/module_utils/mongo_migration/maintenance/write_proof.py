"""The proof that writes are refused: an ordinary user tries, and the server says why it may not."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from ..document import collections
from ..server import connection
from ..support import commands
from .errors import MaintenanceError
from .write_block import BYPASS_ACTION

Document = dict[str, Any]
Client = MongoClient[Document]

USER_WRITES_BLOCKED = 371


def prove(
    client: Client,
    probe: Client,
    database: str,
    *,
    so_far: Mapping[str, Any],
) -> Document:
    """Return the proof that the ordinary user can't write.

    Args:
        client: logged in as the user that migrates.
        probe: logged in as the ordinary user.
        database: where both write.
        so_far: what the switch has done, for whoever reads the error.

    Raises:
        MaintenanceError: the user could write, or something else refused it.
    """
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
    raise MaintenanceError(
        f"No proof that writes are refused: {how}. {_advice(codes, login, database)}. "
        "Maintenance mode has been left on; switch it off with "
        f"{commands.command('maintenance', state='off')}.",
        **{**so_far, "proof": {"refused": False, "code": code, "how": how}},
    )


def _advice(codes: Mapping[str, int | None], login: Mapping[str, Any], database: str) -> str:
    """Return what to do about a probe that wasn't refused by the write block."""
    if None in codes.values():
        return (
            f"It could write although the write block is on, so it holds {BYPASS_ACTION}. Take the "
            f"roles with it away ({_roles(login) or 'restore, root and __system contain it'}), or "
            "probe with the application's own user"
        )
    if connection.UNAUTHORIZED in codes.values():
        return (
            f"That proves nothing, as it may not write there anyway. Probe with a user that has "
            f"readWrite on {database}, best the application's own"
        )
    return "That isn't the write block, so it proves nothing"


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


def _roles(login: Mapping[str, Any]) -> str:
    return ", ".join(f"{role['role']}@{role['db']}" for role in login["authenticatedUserRoles"])
