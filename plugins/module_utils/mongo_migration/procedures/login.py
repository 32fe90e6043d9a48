"""What the login of a connection may do, what it lacks, and the commands that grant it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pymongo import MongoClient

from ..maintenance.write_block import BYPASS_ACTION, SWITCH_ACTION
from ..support import mongosh

Document = dict[str, Any]

ON_DATABASE = (
    "find", "insert", "update", "remove", "createCollection", "createIndex", "dropIndex",
    "dropCollection", "collMod", "listIndexes", "listCollections", "collStats", "dbStats",
)  # fmt: skip
ON_CLUSTER = ("serverStatus", "replSetGetStatus", "inprog", "killop")
WRITE_BLOCK = (SWITCH_ACTION, BYPASS_ACTION)

# docs/privileges.md shows the same role.
ROLE = "migrationOperator"
_ROLE_ACTIONS = (*WRITE_BLOCK, "inprog", "killop")
_OF_MONITOR = frozenset({"serverStatus", "replSetGetStatus", "inprog"})


@dataclass(frozen=True, kw_only=True)
class Login:
    """A login, and what it lacks to migrate one database.

    Args:
        user: such as ``migrator@admin``; empty where the server asks for no password.
        on_database: the actions on the database that it lacks.
        on_cluster: those on the cluster.
        grants: commands for an administrator, each with the database that it is sent to.
    """

    user: str
    on_database: tuple[str, ...] = ()
    on_cluster: tuple[str, ...] = ()
    grants: tuple[tuple[str, Document], ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Every action that it lacks."""
        return (*self.on_database, *self.on_cluster)

    def for_mongosh(self) -> list[str]:
        """Return the commands that grant what is missing, to be pasted into mongosh."""
        return [mongosh.run(command, database=place) for place, command in self.grants]


def look(
    client: MongoClient[Document], database: str, *, cluster: Iterable[str] = ON_CLUSTER
) -> Login:
    """Return what the login of *client* lacks to migrate *database*.

    Args:
        client: connected to the deployment.
        database: the database.
        cluster: the actions on the cluster that are wanted.
    """
    login = client.admin.command({"connectionStatus": 1, "showPrivileges": True})["authInfo"]
    if not login["authenticatedUsers"]:
        return Login(user="")
    user = login["authenticatedUsers"][0]
    has_role = any(role["role"] == ROLE for role in login["authenticatedUserRoles"])
    privileges = login["authenticatedUserPrivileges"]
    missing = _missing(privileges, ON_DATABASE, lambda place: _is_on(place, database))
    on_cluster = _missing(
        privileges, cluster, lambda place: bool(place.get("cluster") or place.get("anyResource"))
    )
    return Login(
        user=f"{user['user']}@{user['db']}",
        on_database=tuple(missing),
        on_cluster=tuple(on_cluster),
        grants=tuple(_grants(user, database, missing, on_cluster, has_role=has_role)),
    )


def _grants(
    user: Mapping[str, str],
    database: str,
    missing: list[str],
    on_cluster: list[str],
    *,
    has_role: bool,
) -> Iterable[tuple[str, Document]]:
    roles: list[Document] = []
    if missing:
        roles += [{"role": role, "db": database} for role in ("readWrite", "dbAdmin")]
    if _OF_MONITOR & set(on_cluster):
        roles.append({"role": "clusterMonitor", "db": "admin"})
    if own := [action for action in on_cluster if action not in _OF_MONITOR]:
        actions = [action for action in _ROLE_ACTIONS if action in {*own, "inprog", "killop"}]
        privilege = {"resource": {"cluster": True}, "actions": actions}
        if has_role:
            yield "admin", {"grantPrivilegesToRole": ROLE, "privileges": [privilege]}
        else:
            yield "admin", {"createRole": ROLE, "privileges": [privilege], "roles": []}
            roles.append({"role": ROLE, "db": "admin"})
    if roles:
        yield user["db"], {"grantRolesToUser": user["user"], "roles": roles}


def _is_on(place: Mapping[str, Any], database: str) -> bool:
    if place.get("anyResource"):
        return True
    return place.get("db") in ("", database) and place.get("collection") == ""


def _missing(
    privileges: Iterable[Mapping[str, Any]],
    actions: Iterable[str],
    covers: Callable[[Mapping[str, Any]], bool],
) -> list[str]:
    granted = {
        action
        for privilege in privileges
        if covers(privilege["resource"])
        for action in privilege["actions"]
    }
    return [] if "anyAction" in granted else [one for one in actions if one not in granted]
