"""What is left of scratch databases: of a rehearsal or drill that was killed, or is at work."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from ..document.collections import SCRATCH
from ..ledger import lease
from ..support import neutral
from . import catalog, scratch

Client = MongoClient[dict[str, Any]]

_UNAUTHORIZED = 13
_KINDS = (scratch.REHEARSAL, scratch.DRILL)


def find(client: Client, of: Collection[str]) -> list[dict[str, Any]]:
    """Return the scratch databases of the databases *of*, by name; nothing is written.

    Each with ``database``, ``of``, ``purpose``, and ``at_work``: who uses it, ``None`` where
    nobody does any more. Those that this login may not read aren't seen.
    """
    found = []
    for name in sorted(client.list_database_names()):
        if any(kind in name for kind in _KINDS):
            try:
                found += _look(client, name, of)
            except OperationFailure as error:
                if error.code != _UNAUTHORIZED:
                    raise
    return found


def remove(client: Client, of: Collection[str], *, operator: Mapping[str, Any]) -> list[str]:
    """Drop the scratch databases of the databases *of* that nobody uses; return their names.

    Raises:
        ArchiveError: one can't be dropped.
        LeaseHeldError: one was taken into use meanwhile.
    """
    removed = []
    for one in find(client, of):
        if one["at_work"] is not None:
            continue
        name = one["database"]
        wanted = scratch.Wanted(
            name=name,
            of=one["of"],
            ending=next(kind for kind in _KINDS if kind in name),
            purpose="remove what a killed command left",
            operator=operator,
        )
        with scratch.own(client, wanted):
            pass
        removed.append(name)
    return removed


def _look(client: Client, name: str, of: Collection[str]) -> list[dict[str, Any]]:
    database = client[name]
    mark = database[SCRATCH].find_one({"_id": scratch.MARK}) or {}
    origin = mark.get("of")
    if not (mark.get("name") == name and origin in of):
        # Killed before it was marked, or left by 1.0, which marked otherwise: usual names alone.
        usual = [one for one in of if name in [f"{one}{kind}" for kind in _KINDS]]
        if not usual or not scratch.is_ours(database, usual[0]) or not catalog.every_name(database):
            return []
        origin = usual[0]
    held = lease.read(database, SCRATCH) or lease.read(database)
    purpose = neutral.line(mark.get("purpose") or "not begun")
    who = None
    if held:
        holder = held["holder"]
        who = f"{holder.get('user')}@{holder.get('host')}, process {holder.get('pid')}"
    return [{"database": name, "of": origin, "purpose": purpose, "at_work": who}]
