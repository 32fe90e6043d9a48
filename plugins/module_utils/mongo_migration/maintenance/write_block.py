"""What keeps writers out: the server's write block, if this login may use it, or the applications.

One rule for everybody who asks: preflight, days before, and the switch of the night.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from ..server import connection
from ..support import mongosh

Document = dict[str, Any]
Client = MongoClient[Document]
Wanted = Literal["auto", "required", "never"]

SWITCH_ACTION = "setUserWriteBlockMode"
BYPASS_ACTION = "bypassWriteBlockingMode"

# The value of serverStatus().repl.userWriteBlockMode while the block is on; off is 1.
_BLOCKING = 2
_FIRST_VERSION = (6, 0)


@dataclass(frozen=True, kw_only=True)
class Ability:
    """Whether this login on this server can use the write block, and if not, why."""

    usable: bool
    reason: str = ""
    # The server could, the login may not: a person can and should repair that.
    repair: str = ""


@dataclass(frozen=True, kw_only=True)
class Way:
    """How writers would be kept out, or why they can't be."""

    block: bool
    problem: str = ""
    fix: str = ""
    warning: str = ""
    grant: str = ""


def way(
    client: Client, wanted: Wanted, *, applications: Sequence[str], blocked: bool = False
) -> Way:
    """Return how writers would be kept out of a database, without changing anything.

    Args:
        client: logged in as the user that migrates.
        wanted: the inventory's ``maintenance_write_block``.
        applications: hosts whose application is seen to refuse a write.
        blocked: the write block is on already, by whomever.
    """
    if wanted == "never":
        reason = "maintenance_write_block is never"
        return _by_applications(reason, applications, blocked, warn=False)
    can = ability(client)
    if can.usable:
        return Way(block=True)
    if can.repair:
        without = (
            " Or do without the write block: maintenance_write_block: never in the inventory."
            if applications
            else ""
        )
        return Way(
            block=False,
            problem=f"The write block of the server can't be used: {can.reason}",
            fix=f"An administrator grants it with: {can.repair}{without}",
            grant=can.repair,
        )
    if wanted == "required":
        return Way(
            block=False,
            problem=f"The write block of the server is required, but can't be used: {can.reason}",
            fix="Set maintenance_write_block: auto in the inventory to do without it.",
        )
    return _by_applications(can.reason, applications, blocked, warn=True)


def _by_applications(reason: str, applications: Sequence[str], blocked: bool, *, warn: bool) -> Way:
    if blocked:
        return Way(block=True)
    if not applications:
        return Way(
            block=False,
            problem="Nothing would keep writers out: the server has no write block to use "
            f"({reason}), and no application host of the inventory is seen to refuse a write",
            fix="Add the hosts of the application to the inventory, with app_write_probe "
            "(docs/maintenance.md), or let the server refuse writes.",
        )
    warning = (
        f"No write block: {reason}. Only the application's maintenance flag keeps writers out."
    )
    return Way(block=False, warning=warning if warn else "")


def write_block_is_on(client: Client) -> bool | None:
    """Return whether the server refuses ordinary users' writes; ``None`` if that can't be seen.

    It can't without the role clusterMonitor, nor through a router of a sharded cluster.
    """
    try:
        status = client.admin.command("serverStatus")
    except OperationFailure as error:
        if error.code == connection.UNAUTHORIZED:
            return None
        raise
    mode = status.get("repl", {}).get("userWriteBlockMode")
    if mode is None:
        return None if status.get("process") == "mongos" else False
    return bool(mode == _BLOCKING)


def ability(client: Client) -> Ability:
    """Return whether the write block can be used, without changing anything."""
    server = connection.inspect(client)
    if server.topology == "standalone":
        return Ability(usable=False, reason="a standalone server has none")
    if _version(server.version) < _FIRST_VERSION:
        return Ability(usable=False, reason=f"MongoDB {server.version} has none, 6.0 is the first")
    compatibility = _compatibility_version(client)
    if compatibility and _version(compatibility) < _FIRST_VERSION:
        return Ability(
            usable=False,
            reason=f"the server's feature compatibility version is still {compatibility}, the "
            "write block needs 6.0",
        )
    login = client.admin.command({"connectionStatus": 1, "showPrivileges": True})["authInfo"]
    users = [f"{user['user']}@{user['db']}" for user in login["authenticatedUsers"]]
    if not users:
        # Where access control is off, the server still refuses every connection without a login,
        # ours included: the block would stop the migration itself.
        return Ability(
            usable=False,
            reason="nobody is logged in here, and without a login it would stop the migration too",
        )
    missing = [
        action
        for action in (SWITCH_ACTION, BYPASS_ACTION)
        if not _may(login["authenticatedUserPrivileges"], action)
    ]
    if missing:
        return Ability(
            usable=False,
            reason=f"{users[0]} lacks the privilege {' and '.join(missing)}",
            repair=_grant(login["authenticatedUsers"][0]),
        )
    return Ability(usable=True)


def _may(privileges: list[Document], action: str) -> bool:
    return any(
        action in privilege["actions"]
        and (privilege["resource"].get("cluster") or privilege["resource"].get("anyResource"))
        for privilege in privileges
    )


def _grant(user: Mapping[str, str]) -> str:
    """Return the commands for mongosh that let *user* use the write block, and no more."""
    return (
        'db.getSiblingDB("admin").createRole({role: "writeBlock", privileges: '
        f'[{{resource: {{cluster: true}}, actions: ["{SWITCH_ACTION}", "{BYPASS_ACTION}"]}}], '
        "roles: []}); "
        f"{mongosh.sibling(user['db'])}.grantRolesToUser({mongosh.text(user['user'])}, "
        '[{role: "writeBlock", db: "admin"}]);'
    )


def _compatibility_version(client: Client) -> str | None:
    """Return the feature compatibility version; ``None`` where it can't be seen."""
    try:
        answer = client.admin.command("getParameter", featureCompatibilityVersion=1)
    except OperationFailure:
        # Not allowed to this user, or asked of a router: then the server decides.
        return None
    return str(answer["featureCompatibilityVersion"]["version"])


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.partition("-")[0].split(".")[:2])
