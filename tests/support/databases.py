"""Databases of a test's own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from embedded import users

_NO_SUCH_COMMAND = 59


@contextmanager
def fresh(
    client: MongoClient[dict[str, Any]], *, roles: bool
) -> Iterator[Database[dict[str, Any]]]:
    """Give a database that nobody else uses, and remove it afterwards.

    Args:
        client: an administrator.
        roles: let the users `migrator` and `app` work with it.
    """
    name = f"test_{secrets.token_hex(6)}"
    if roles:
        users.grant(client, name)
    try:
        yield client[name]
    finally:
        # The block is the whole server's: one left on would fail every later test.
        unblock_writes(client)
        for made in client.list_database_names():
            # Tests of restore make further ones beside it.
            if made.startswith(name):
                client.drop_database(made)
        if roles:
            users.revoke(client, name)


def writes_blocked(client: MongoClient[dict[str, Any]]) -> bool:
    """Return whether the server refuses ordinary users' writes."""
    repl = client.admin.command("serverStatus").get("repl", {})
    # 1 is off, 2 is on; a standalone server says nothing.
    return bool(repl.get("userWriteBlockMode", 1) == 2)


def unblock_writes(client: MongoClient[dict[str, Any]]) -> None:
    """Turn the write block off where there is one."""
    try:
        if writes_blocked(client):
            client.admin.command({"setUserWriteBlockMode": 1, "global": False})
    except OperationFailure as error:
        if error.code != _NO_SUCH_COMMAND:
            raise
