"""What a run holds for its way back: its journal, and the collections that it set aside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymongo.database import Database

from ..document.collections import ASIDE, JOURNAL
from ..support import listing

Db = Database[dict[str, Any]]


def set_aside(database: Db, run: str) -> list[dict[str, Any]]:
    """Return what *run* set aside: the name, documents and bytes of each collection."""
    prefix = f"{ASIDE}{run}."
    names = [
        item["name"]
        for item in listing.collections(database, {"type": "collection"})
        if item["name"].startswith(prefix)
    ]
    return [{"name": name, **_size(database, name)} for name in sorted(names)]


def of(database: Db, run: str) -> dict[str, Any]:
    """Return what *run* holds: ``entries``, ``journal_bytes``, ``aside`` and ``bytes`` in all.

    Every entry is read for its size.

    Args:
        database: the migrated database.
        run: the run's id.
    """
    stages: list[dict[str, Any]] = [
        {"$match": {"run": run}},
        {"$group": {"_id": None, "n": {"$sum": 1}, "b": {"$sum": {"$bsonSize": "$$ROOT"}}}},
    ]
    found = next(iter(database[JOURNAL].aggregate(stages)), {"n": 0, "b": 0})
    aside = set_aside(database, run)
    return {
        "entries": int(found["n"]),
        "journal_bytes": int(found["b"]),
        "aside": aside,
        "bytes": int(found["b"]) + sum(item["bytes"] for item in aside),
    }


def about(database: Db, runs: Sequence[str]) -> dict[str, int]:
    """Return about how many bytes each of *runs* holds: their entries by the average of all.

    Asked once for all of them, as there may be many.
    """
    stages: list[dict[str, Any]] = [
        {"$match": {"run": {"$in": list(runs)}}},
        {"$group": {"_id": "$run", "n": {"$sum": 1}}},
    ]
    held = dict.fromkeys(runs, 0)
    rows = list(database[JOURNAL].aggregate(stages))
    average = _average(database) if rows else 0.0
    for row in rows:
        # Of one that belongs to several runs, nobody of ours has written it.
        if isinstance(row["_id"], str) and row["_id"] in held:
            held[row["_id"]] += round(row["n"] * average)
    for item in listing.collections(database, {"type": "collection"}):
        run = item["name"].removeprefix(ASIDE).partition(".")[0]
        if item["name"].startswith(ASIDE) and run in held:
            held[run] += _size(database, item["name"])["bytes"]
    return held


def _average(database: Db) -> float:
    found = _size(database, JOURNAL)
    return found["bytes"] / found["documents"] if found["documents"] else 0.0


def _size(database: Db, name: str) -> dict[str, int]:
    stages: list[dict[str, Any]] = [
        {"$collStats": {"storageStats": {}}},
        {"$project": {"s": "$storageStats"}},
    ]
    rows = [row["s"] for row in database[name].aggregate(stages)]
    return {
        "documents": sum(int(row.get("count", 0)) for row in rows),
        "bytes": sum(int(row.get("size", 0)) for row in rows),
    }
