"""What a deployment holds that nobody has described yet: read only, for whoever sets it up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from ..document.collections import is_ours
from ..maintenance import write_block
from ..server import connection
from ..support import listing
from . import login

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was seen.

    Args:
        server: what answered.
        collections: documents in each collection, by the server's own count; None if it didn't say.
        login: what the user lacks.
        write_block: whether and why not the server can refuse writes.
    """

    server: connection.Server
    collections: Mapping[str, int | None]
    login: login.Login
    write_block: write_block.Ability


def databases(client: MongoClient[Document]) -> list[str]:
    """Return the names of the databases that this login may see, without the server's own."""
    try:
        names = client.list_database_names()
    except OperationFailure:
        return []
    return sorted(name for name in names if name not in listing.SERVERS_OWN)


def look(client: MongoClient[Document], database: str) -> Look:
    """Return what *database* holds, and what the login of *client* lacks to migrate it.

    Raises:
        OperationFailure: it may not even list the collections.
    """
    wanted = [*login.ON_CLUSTER]
    can = write_block.ability(client)
    if can.usable or can.repair:
        wanted += login.WRITE_BLOCK
    return Look(
        server=connection.inspect(client),
        collections=_collections(client, database),
        login=login.look(client, database, cluster=wanted),
        write_block=can,
    )


def mapping(names: Iterable[str], present: Iterable[str]) -> dict[str, str]:
    """Return the real name of each of *names* that isn't there, where one alone is the same word.

    mongoose makes ``journalentries`` of JournalEntry, others ``journal_entries``.

    Args:
        names: of collections, as documents say them.
        present: as the database has them.
    """
    there = list(present)
    found = {}
    for name in names:
        same = [real for real in there if _word(real) == _word(name)]
        if name not in there and len(same) == 1:
            found[name] = same[0]
    return found


def _word(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _collections(client: MongoClient[Document], database: str) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    listed = listing.collections(client[database], {"type": "collection"})
    for name in sorted(each["name"] for each in listed):
        if is_ours(name) or name.startswith("system."):
            continue
        try:
            found[name] = listing.about_how_many(client[database], name)
        except OperationFailure:
            found[name] = None
    return found
