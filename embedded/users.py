"""The users of the sandbox: one who administers, one who migrates, the application's own."""

from __future__ import annotations

from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure

ADMIN = "admin"
MIGRATOR = "migrator"
APP = "app"
NAMES = (ADMIN, MIGRATOR, APP)

# What migrating needs beside the roles on the migrated database.
MIGRATION_ROLE = "migrationOperator"
_MIGRATION_PRIVILEGES = [
    {
        "resource": {"cluster": True},
        "actions": [
            "setUserWriteBlockMode",  # turn the write block on and off
            "bypassWriteBlockingMode",  # … and go on writing behind it
            "inprog",  # find the operation that a lost client left running
            "killop",  # … and end it
        ],
    },
]

_ALREADY_EXISTS = 51003
_ROLE_EXISTS = 51002


def create_admin(client: MongoClient[dict[str, Any]], password: str) -> None:
    """Create the administrator, on a fresh server through the localhost exception."""
    _create_user(client, ADMIN, password, ["root"])


def create_others(
    client: MongoClient[dict[str, Any]], passwords: dict[str, str], database: str
) -> None:
    """Create the users who have no more rights than their work needs.

    Args:
        client: logged in as the administrator.
        passwords: by user name.
        database: the application's.
    """
    try:
        client.admin.command(
            "createRole", MIGRATION_ROLE, privileges=_MIGRATION_PRIVILEGES, roles=[]
        )
    except OperationFailure as error:
        if error.code != _ROLE_EXISTS:
            raise
    _create_user(client, MIGRATOR, passwords[MIGRATOR], [MIGRATION_ROLE, "clusterMonitor"])
    _create_user(client, APP, passwords[APP], [])
    grant(client, database)


def grant(client: MongoClient[dict[str, Any]], database: str) -> None:
    """Let the migrator and the application work with a database."""
    for user, roles in _roles(database).items():
        client.admin.command("grantRolesToUser", user, roles=roles)


def revoke(client: MongoClient[dict[str, Any]], database: str) -> None:
    """Take back what :func:`grant` gave."""
    for user, roles in _roles(database).items():
        client.admin.command("revokeRolesFromUser", user, roles=roles)


def _roles(database: str) -> dict[str, list[dict[str, str]]]:
    both = ("readWrite", "dbAdmin")
    return {
        # Drills and rehearsals write into a second database, so that the first stays untouched.
        MIGRATOR: [
            {"role": role, "db": name}
            for name in (database, f"{database}_drill", f"{database}_rehearsal")
            for role in both
        ],
        APP: [{"role": "readWrite", "db": database}],
    }


def _create_user(
    client: MongoClient[dict[str, Any]], name: str, password: str, roles: list[str]
) -> None:
    try:
        client.admin.command("createUser", name, pwd=password, roles=roles)
    except OperationFailure as error:
        if error.code != _ALREADY_EXISTS:
            raise
