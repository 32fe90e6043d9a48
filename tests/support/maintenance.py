"""Maintenance mode switched by the words of the module: a state, and a phase."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mongo_migration.maintenance import drain, switch
from pymongo import MongoClient
from pymongo.database import Database

ANNA = {"user": "anna", "host": "bastion", "pid": 17}

VERBS: dict[tuple[str, str], Callable[..., dict[str, Any]]] = {
    ("on", "begin"): switch.prepare,
    ("on", "complete"): switch.enter,
    ("off", "begin"): switch.reopen,
    ("off", "complete"): switch.leave,
}


def set_mode(
    client: MongoClient[dict[str, Any]],
    database: str,
    state: str,
    phase: str = "complete",
    *,
    drained: drain.Settings | None = None,
    probe: MongoClient[dict[str, Any]] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Switch; as the module does, *drained* and *probe* are passed on where they mean anything."""
    given = {"change": {}, "operator": ANNA, **more}
    request = switch.Request(client=client, database=database, **given)
    verb = VERBS[state, phase]
    return verb(request, drained=drained, probe=probe) if verb is switch.enter else verb(request)


def without_block(database: Database[dict[str, Any]], state: str) -> dict[str, Any]:
    """Switch without the server's write block, which all databases share."""
    return set_mode(
        database.client,
        database.name,
        state,
        reason="a test",
        write_block="never",
        applications=["app1"],
    )
