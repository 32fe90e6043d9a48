"""The journal of a run in few lines, for its evidence: what each batch touched, and when."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable
from math import ceil
from typing import Any

from pymongo import DESCENDING, MongoClient
from pymongo.database import Database

from ..document.collections import JOURNAL, STATE
from ..ledger import state_format
from ..ledger.journal import Entry
from ..operations.registry import kind_of, open_journal
from ..support import listing

# More batches than this share a row with their neighbours: a report has no use for millions.
MOST_ROWS = 1000


def describe(
    *,
    client: MongoClient[dict[str, Any]],
    database: str,
    run: str | None = None,
    migration: str | None = None,
    since: datetime.datetime | None = None,
) -> dict[str, Any]:
    """Return a run, its batches, and how many documents its collections hold now.

    Args:
        client: connected to the deployment.
        database: the migrated database.
        run: the run's id.
        migration: instead: the newest run of this migration.
        since: only if that one was written to since then; what is older is another command's.

    Returns:
        ``run`` is ``None`` where there is no such run, and the rest is empty.
    """
    db = client[database]
    found = _find(db, run, migration, since)
    if found is None:
        return {"run": None, "batches": [], "counts": {}}
    batches = _rows(db, found["_id"])
    return {
        "run": {
            "id": found["_id"],
            **{key: found.get(key) for key in _RUN},
            "work": dict(found["counts"]),
        },
        "batches": batches,
        "counts": _counts(db, found, batches),
    }


_RUN = (
    *("migration", "name", "digest", "variables", "phase", "started", "updated"),
    *("operator", "backup", "error"),
)


def _find(
    db: Database[dict[str, Any]],
    run: str | None,
    migration: str | None,
    since: datetime.datetime | None,
) -> dict[str, Any] | None:
    selector: dict[str, Any] = {"kind": "run"}
    if run is not None:
        selector["_id"] = run
    if migration is not None:
        selector["migration"] = migration
    found = db[STATE].find_one(selector, sort=[("number", DESCENDING)])
    if found is None:
        return None
    found = state_format.read_run(found, place=f"{db.name}.{STATE}")
    if since is None:
        return found
    touched = found.get("updated") or found["started"]
    if not isinstance(touched, datetime.datetime):
        raise AssertionError("an entry has a time")
    return found if touched >= since else None


def _counts(
    db: Database[dict[str, Any]], run: dict[str, Any], batches: list[dict[str, Any]]
) -> dict[str, int]:
    """Return how many documents the collections hold now that the plan counted or a batch wrote."""
    given = {each["name"]: each["real"] for each in run.get("collections", [])}
    real = {name: given.get(name, name) for name in run.get("plan", {}).get("before", {})}
    written = {name: name for row in batches for name, count in row["written"].items() if count}
    more = {name: name for name in written if name not in real.values()}
    there = {item["name"] for item in listing.collections(db, {"type": "collection"})}
    return {
        # What there isn't, or can't be, has none.
        name: db[place].estimated_document_count() if place in there else 0
        for name, place in (real | more).items()
    }


def _rows(db: Database[dict[str, Any]], run: str) -> list[dict[str, Any]]:
    total = db[JOURNAL].count_documents({"run": run})
    rows = map(_row, open_journal(db, run).entries())
    return merge(rows, max(1, ceil(total / MOST_ROWS)))


def _row(entry: Entry) -> dict[str, Any]:
    kind = kind_of(entry)
    ids = kind.ids(entry)
    return {
        **{key: entry.get(key) for key in ("seq", "step", "kind", "collection", "at")},
        "documents": len(ids),
        "written": kind.written(entry),
        "first": ids[0] if ids else None,
        "last": ids[-1] if ids else None,
        "reverted": bool(entry.get("reverted", False)),
    }


_ALIKE = ("step", "kind", "collection", "reverted")


def merge(entries: Iterable[dict[str, Any]], batches: int) -> list[dict[str, Any]]:
    """Return a row for each run of at most *batches* entries of one step and collection."""
    rows: list[dict[str, Any]] = []
    for entry in entries:
        same = rows and all(rows[-1].get(key) == entry.get(key) for key in _ALIKE)
        if same and rows[-1]["batches"] < batches:
            row = rows[-1]
            row["batches"] += 1
            row["documents"] += entry["documents"]
            row["written"] = dict(Counter(row["written"]) + Counter(entry["written"]))
            row.update({key: entry[key] for key in ("at", "last") if entry.get(key) is not None})
        else:
            rows.append({**entry, "batches": 1})
    return rows
