"""What an inventory and a command say of many databases, before anything connects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mongo_migration.fleet import fleet, selection
from mongo_migration.fleet.selection import SelectionError

# In place of many, for one command.
NONE = "none"
_COUNTS = {"lanes": 1, "failures_allowed": 0}


def problems(given: Mapping[str, Any], *, many: bool) -> list[str]:
    """Return what is wrong with it, one sentence each.

    Args:
        given: ``mongo_databases``, ``databases``, ``canary``, ``canary_then``, ``lanes`` and
            ``failures_allowed``; None for what isn't there.
        many: whether the command can go through many databases.
    """
    wanted = given.get("mongo_databases")
    if wanted is None or wanted == NONE:
        return _needless(given)
    if not many:
        return [
            "mongo_databases names many databases, and this command works on one. Name it: "
            "-e mongo_database=NAME -e mongo_databases=none"
        ]
    found = []
    try:
        selection.parse(wanted)
        fleet.canaries(given.get("canary"), [])
    except SelectionError as error:
        found.append(error.message.rstrip("."))
    if given.get("canary_then") not in (None, fleet.STOP, fleet.GO):
        found.append("canary_then: must be stop or go")
    for name, least in _COUNTS.items():
        value = given.get(name)
        if value is not None and not (str(value).isdecimal() and int(value) >= least):
            found.append(f"{name}: must be a whole number of at least {least}, not {value!r}")
    return found


def _needless(given: Mapping[str, Any]) -> list[str]:
    """Return why what is said of many databases would be silently left out."""
    if not given.get("databases"):
        return []
    return ["-e databases names some of many databases, and the inventory has no mongo_databases"]
