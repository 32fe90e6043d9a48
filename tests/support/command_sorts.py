"""What a command of the engine is for: where a process may be killed or put to sleep by name.

A point in a run is said as "the third ``checkpoint``" instead of "the 57th command": it stays the
same point whatever a server's answers add before it, and rare ones are as likely as frequent ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STATE = "_migrations"
JOURNAL = "_migrations_journal"
LEASE_THREAD = "lease"
RENEWAL = "renewal"

_OTHERS = {
    "commitTransaction": "commit",
    "abortTransaction": "commit",
    "killSessions": "end",
    "endSessions": "end",
    **dict.fromkeys(("create", "createIndexes", "drop", "dropIndexes"), "catalogue"),
    **dict.fromkeys(("renameCollection", "collMod"), "catalogue"),
}
_WRITES = {"insert", "update", "delete", "findAndModify"}


def sorts(name: str, command: Mapping[str, Any], thread: str) -> frozenset[str]:
    """Return all that a command is.

    Args:
        name: of the command.
        command: as it is sent.
        thread: that sends it.

    Returns:
        Of ``lease`` (taken or given back), ``renewal`` (by the lease's own thread), ``proof`` (of
        the lease, in a transaction), ``takeover`` (of unfinished runs), ``create`` (a run),
        ``adopt`` (a run), ``phase`` (of a run), ``checkpoint``, ``mark`` (of a restore),
        ``journal``, ``data``, ``catalogue`` (collections and indexes), ``begin`` (the first of a
        transaction), ``commit``, ``end`` (of sessions) and ``read``.
    """
    if thread == LEASE_THREAD:
        return frozenset({RENEWAL})
    found = {_sort(name, command)}
    if command.get("startTransaction"):
        found.add("begin")
    return frozenset(found)


def _sort(name: str, command: Mapping[str, Any]) -> str:
    target = str(command.get(name))
    if name == "aggregate":
        into = [stage["$merge"]["into"] for stage in command["pipeline"] if "$merge" in stage]
        name, target = ("insert", into[0]) if into else ("read", "")
    if name not in _WRITES:
        return _OTHERS.get(name, "read")
    if target == JOURNAL:
        return "journal"
    return _of_state(name, command) if target == STATE else "data"


def _of_state(name: str, command: Mapping[str, Any]) -> str:
    """Return what a write of our own record is."""
    query, change = _written(name, command)
    identity = query.get("_id")
    if identity == "lease":
        return "proof" if "proofs" in str(change) else "lease"
    if identity == "restore" or name == "delete":
        return "mark"
    if name == "insert":
        return "create" if "planned" in str(change) else "mark"
    if "kind" in query:
        return "takeover"
    if "phase" in str(change):
        return "phase"
    return "adopt" if "control" in str(change) else "checkpoint"


def _written(name: str, command: Mapping[str, Any]) -> tuple[Mapping[str, Any], Any]:
    """Return which documents a command writes, and what."""
    if name == "findAndModify":
        return command["query"], command.get("update")
    if name in ("update", "delete"):
        first = command[f"{name}s"][0]
        return first["q"], first.get("u")
    return {}, command.get("documents", command.get("pipeline"))
