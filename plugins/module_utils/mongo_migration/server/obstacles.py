"""What a failed attempt waits for, in words: a primary, a majority, or somebody's transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from ..support import majority, retry
from . import members, transactions


def namer(client: MongoClient[dict[str, Any]]) -> Callable[[PyMongoError], str]:
    """Return what names the obstacle behind an error, by a look at the deployment."""

    def name(error: PyMongoError) -> str:
        if majority.is_missing(error):
            return f"a majority{_lacking(client)}"
        if retry.is_conflict(error):
            held = transactions.look(client)
            return str(held[0]) if held else "another writer of the same documents"
        if retry.NO_ROOM_IN_CACHE in retry.codes(error):
            return "room in the server's cache (storage.wiredTiger.engineConfig.cacheSizeGB)"
        return "a primary"

    return name


def majority_words(client: MongoClient[dict[str, Any]]) -> str:
    """Return that a majority hasn't confirmed a write, and why where that can be seen."""
    return f"a majority of the members hasn't confirmed it{_lacking(client)}"


def _lacking(client: MongoClient[dict[str, Any]]) -> str:
    seen = members.look(client)
    return f": {', '.join(seen.missing)}" if seen and seen.missing else ""
