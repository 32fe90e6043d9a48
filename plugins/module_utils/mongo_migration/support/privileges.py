"""What the user of a connection may do, as the server says it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pymongo.database import Database


def missing(database: Database[Any], collection: str, actions: Iterable[str]) -> list[str]:
    """Return which of *actions* the user may not do with *collection*.

    A privilege on all collections of a database is none on its ``system.*`` ones.
    """
    command = {"connectionStatus": 1, "showPrivileges": True}
    login = database.client.admin.command(command)["authInfo"]
    if not login["authenticatedUsers"]:
        return []  # this server asks for no passwords
    granted = {
        action
        for privilege in login["authenticatedUserPrivileges"]
        if _covers(privilege["resource"], database.name, collection)
        for action in privilege["actions"]
    }
    return [] if "anyAction" in granted else [one for one in actions if one not in granted]


def _covers(place: Mapping[str, Any], database: str, collection: str) -> bool:
    if place.get("anyResource"):
        return True
    every = "" if not collection.startswith("system.") else collection
    return place.get("db") in ("", database) and place.get("collection") in (every, collection)
