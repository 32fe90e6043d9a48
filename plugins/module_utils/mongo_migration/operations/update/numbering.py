"""Running numbers, given as if none of the run had been."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...values.compare import hashable


def numbered(
    collection: Any, where: Mapping[str, Any], spec: Mapping[str, Any], path: str, mine: set[bytes]
) -> Iterator[tuple[Any, Any]]:
    """Yield the number of each document, as if none of *mine* had one."""
    order = spec.get("order", ["_id"])
    keys = order if isinstance(order, dict) else dict.fromkeys(order, 1)
    rows = collection.aggregate(
        [
            {"$match": {"$or": [where, {path: {"$type": "number"}}]}},
            {"$sort": {**keys, "_id": keys.get("_id", 1)}},
            {"$project": {"g": [f"${name}" for name in spec.get("by", [])], "n": f"${path}"}},
        ],
        allowDiskUse=True,
    )
    largest: dict[bytes, int] = {}
    pending: list[tuple[Any, bytes]] = []
    for row in rows:
        group, taken = hashable(row["g"]), row.get("n")
        if taken is None or hashable(row["_id"]) in mine:
            pending.append((row["_id"], group))
        elif isinstance(taken, (int, float)):
            largest[group] = max(largest.get(group, int(taken)), int(taken))
    for identity, group in pending:
        largest[group] = largest.get(group, spec.get("start", 1) - 1) + 1
        yield identity, largest[group]
