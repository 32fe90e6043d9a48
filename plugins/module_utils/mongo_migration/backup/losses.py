"""What a restore would lose: the writes since the backup, as far as the server can tell."""

from __future__ import annotations

from typing import Any

from bson.timestamp import Timestamp
from pymongo.database import Database
from pymongo.errors import PyMongoError

from ..document.collections import STATE
from . import catalog
from .manifest import Manifest

_WORDS = {"i": "inserted", "u": "updated", "d": "deleted"}
# Reading the oplog of days would take longer than anybody waits for a question.
_PATIENCE_MS = 20_000


def since(
    database: Database[dict[str, Any]], manifest: Manifest, collections: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return what happened in *database* after the backup was taken.

    ``writes`` counts the oplog's entries by collection and is None where the oplog doesn't reach
    back or may not be read: then only the difference in counts is known.
    """
    same = database.name == manifest.database
    return {
        "since": manifest.snapshot_time or manifest.started,
        "writes": _oplog(database, manifest) if same else None,
        "documents": {
            one["collection"]: one["documents_now"] - one["documents_in_backup"]
            for one in collections
            if one["documents_now"] != one["documents_in_backup"] and one["collection"] != STATE
        },
        "removed": [
            one["collection"]
            for one in collections
            if one["action"] == "remove" and one["collection"] != STATE
        ],
        "runs": _runs(database, manifest),
    }


def sentence(lost: dict[str, Any]) -> str:
    """Return the losses for a person."""
    parts = []
    if lost["writes"] is not None:
        listed = [
            f"{name}: " + ", ".join(f"{count:,} {what}" for what, count in kinds.items())
            for name, kinds in sorted(lost["writes"].items())
        ]
        parts.append(
            f"Writes since then that would be lost: {'; '.join(listed)}."
            if listed
            else "No write since then would be lost."
        )
    elif lost["documents"]:
        listed = [f"{name} {count:+,}" for name, count in sorted(lost["documents"].items())]
        parts.append(
            "All writes since then would be lost; how many is unknown. "
            f"Documents more or less than in the backup: {', '.join(listed)}."
        )
    else:
        parts.append("All writes since then would be lost; how many is unknown.")
    if lost["removed"]:
        parts.append(
            f"Collections that the backup doesn't have are removed: {', '.join(lost['removed'])}."
        )
    if lost["runs"]:
        listed = [f"{run['migration']} ({run['phase']})" for run in lost["runs"]]
        parts.append(f"Migrations that would be undone: {', '.join(listed)}.")
    return " ".join(parts)


def _oplog(
    database: Database[dict[str, Any]], manifest: Manifest
) -> dict[str, dict[str, int]] | None:
    """Count the writes to *database* after the snapshot, those within transactions too."""
    if manifest.cluster_time is None:
        return None
    after = Timestamp(manifest.cluster_time["t"], manifest.cluster_time["i"])
    oplog = database.client.local["oplog.rs"]
    prefix = f"{database.name}."
    itself = {"op": "$op", "ns": "$ns"}
    try:
        oldest = oplog.find_one({}, {"ts": 1}, sort=[("$natural", 1)])
        if oldest is None or oldest["ts"] > after:
            return None
        rows = list(
            oplog.aggregate(
                [
                    {"$match": {"ts": {"$gt": after}, "op": {"$in": ["i", "u", "d", "c"]}}},
                    {"$project": {"each": {"$ifNull": ["$o.applyOps", [itself]]}}},
                    {"$unwind": "$each"},
                    {
                        "$match": {
                            "$expr": {"$eq": [{"$indexOfCP": ["$each.ns", prefix]}, 0]},
                            "each.op": {"$in": list(_WORDS)},
                        }
                    },
                    {"$group": {"_id": ["$each.ns", "$each.op"], "count": {"$sum": 1}}},
                ],
                maxTimeMS=_PATIENCE_MS,
                comment="mongo_restore",
            )
        )
    except PyMongoError:
        return None
    writes: dict[str, dict[str, int]] = {}
    for row in sorted(rows, key=lambda one: str(one["_id"])):
        namespace, kind = row["_id"]
        name = namespace.removeprefix(prefix)
        if name != STATE:
            writes.setdefault(name, {})[_WORDS[kind]] = row["count"]
    return writes


def _runs(database: Database[dict[str, Any]], manifest: Manifest) -> list[dict[str, Any]]:
    """Return the runs that the backup doesn't know, or knows in another phase."""
    known = {str(run.get("_id")): run.get("phase") for run in manifest.runs}
    state = catalog.lenient(database)[STATE]
    runs = state.find({"kind": "run"}, {"migration": 1, "phase": 1}).sort("_id", 1)
    return [
        {"run": str(run["_id"]), "migration": run.get("migration"), "phase": run.get("phase")}
        for run in runs
        if known.get(str(run["_id"])) != run.get("phase")
    ]
