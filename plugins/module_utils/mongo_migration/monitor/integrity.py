"""The collections of the database: how many documents and indexes, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from ..document.collections import is_ours
from ..server.connection import UNAUTHORIZED
from ..support import listing
from .measure import Values
from .snapshot import COMMENT

# How long the server may look for documents that a validator refuses, per collection.
_VALIDATOR_MS = 2000
_TIMED_OUT = 50


def read(
    client: MongoClient[dict[str, Any]],
    database: str,
    mapping: Mapping[str, str | None],
    *,
    validate: bool,
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the collections, those that the inventory names and aren't there, and the gaps.

    Args:
        client: connected to the deployment.
        database: the database.
        mapping: the inventory's names of collections; None says that there is none.
        validate: whether to count the documents that a validator refuses, which reads them.
    """
    db = client[database]
    gaps: list[str] = []
    try:
        existing = {
            item["name"]: item
            for item in listing.collections(db)
            if item.get("type", "collection") == "collection"
            and not is_ours(item["name"])
            and not item["name"].startswith("system.")
        }
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        return [], [f"collections: this user lacks the role read on {database}"]
    rows = [_row(db[name], existing[name], gaps, validate) for name in sorted(existing)]
    missing = {real for real in mapping.values() if real and real not in existing}
    rows += [{"collection": name, "missing": True} for name in sorted(missing)]
    return rows, gaps


def measure(rows: list[dict[str, Any]]) -> Values:
    """Return the metrics of the collections, and the documents of each."""
    there = [row for row in rows if not row.get("missing")]
    values: Values = {
        "collections_missing": len(rows) - len(there),
        "documents": sum(row["documents"] for row in there),
    }
    if all("indexes" in row for row in there):
        values["indexes"] = sum(row["indexes"] for row in there)
    if all("unfinished" in row for row in there):
        values["indexes_unfinished"] = sum(len(row["unfinished"]) for row in there)
    if any("invalid" in row for row in there):
        values["invalid_documents"] = sum(row.get("invalid", 0) for row in there)
    return values


def _row(
    collection: Any, options: Mapping[str, Any], gaps: list[str], validate: bool
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "collection": collection.name,
        "documents": collection.estimated_document_count(comment=COMMENT),
    }
    try:
        stats = list(collection.aggregate([{"$indexStats": {}}], comment=COMMENT))
        row["indexes"] = len({item["name"] for item in stats})
        row["unfinished"] = sorted({item["name"] for item in stats if item.get("building")})
        sizes = collection.database.command("collStats", collection.name)
        row["bytes"], row["index_bytes"] = sizes.get("size", 0), sizes.get("totalIndexSize", 0)
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        gap = f"index status: this user lacks the role dbAdmin on {collection.database.name}"
        if gap not in gaps:
            gaps.append(gap)
    validator = options.get("options", {}).get("validator")
    if validator and validate:
        _add_invalid(row, collection, validator, gaps)
    return row


def _add_invalid(
    row: dict[str, Any], collection: Any, validator: Mapping[str, Any], gaps: list[str]
) -> None:
    try:
        row["invalid"] = collection.count_documents(
            {"$nor": [validator]}, maxTimeMS=_VALIDATOR_MS, comment=COMMENT
        )
    except OperationFailure as error:
        if error.code != _TIMED_OUT:
            raise
        gaps.append(
            f"documents that the validator of {collection.name} refuses: not counted within "
            f"{_VALIDATOR_MS / 1000:g} s"
        )
