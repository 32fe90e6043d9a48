"""What a run holds for its way back: its journal, and the collections that it set aside."""

from __future__ import annotations

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


def of(database: Db, run: str, *, exact: bool) -> dict[str, Any]:
    """Return what *run* holds: ``entries``, ``journal_bytes``, ``aside`` and ``bytes`` in all.

    Args:
        database: the migrated database.
        run: the run's id.
        exact: read every entry for its size; otherwise, it is told by the average of all runs.
    """
    journal = database[JOURNAL]
    if exact:
        stages: list[dict[str, Any]] = [
            {"$match": {"run": run}},
            {"$group": {"_id": None, "n": {"$sum": 1}, "b": {"$sum": {"$bsonSize": "$$ROOT"}}}},
        ]
        found = next(iter(journal.aggregate(stages)), {"n": 0, "b": 0})
        entries, size = int(found["n"]), int(found["b"])
    else:
        entries = journal.count_documents({"run": run})
        size = round(entries * _average(database)) if entries else 0
    aside = set_aside(database, run)
    return {
        "entries": entries,
        "journal_bytes": size,
        "aside": aside,
        "bytes": size + sum(item["bytes"] for item in aside),
    }


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
