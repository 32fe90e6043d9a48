"""How the collections of a database are sharded, as a router's catalog says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database

from ..support import listing

Document = dict[str, Any]


def is_router(client: MongoClient[Document]) -> bool:
    """Return whether *client* reached a router (mongos) of a sharded cluster."""
    return bool(client.admin.command("hello").get("msg") == "isdbgrid")


def keys(database: Database[Document]) -> dict[str, list[str]]:
    """Return the fields of the shard key of each sharded collection, by its name."""
    prefix = f"{database.name}."
    catalog = database.client["config"]["collections"]
    found = catalog.find({"_id": {"$regex": f"^{re.escape(prefix)}"}})
    return {name: key for row in found for name, key in _key(row, prefix)}


def _key(row: Mapping[str, Any], prefix: str) -> list[tuple[str, list[str]]]:
    # From 8.0 on, collections that aren't sharded may stand there, too.
    if row.get("dropped") or row.get("unsplittable") or not row.get("key"):
        return []
    return [(str(row["_id"]).removeprefix(prefix), list(row["key"]))]


def serves(index: Mapping[str, Any], key: Sequence[str]) -> bool:
    """Return whether the server can take *index* for the shard key *key*, by all that it says.

    Args:
        index: as ``listIndexes`` returns it.
        key: the fields of the shard key.
    """
    partly = any(index.get(option) for option in ("sparse", "partialFilterExpression", "hidden"))
    plain = index.get("collation", {}).get("locale", "simple") == "simple"
    return not partly and plain and list(index["key"])[: len(key)] == list(key)


def is_needed(collection: Collection[Document], name: str, key: Sequence[str]) -> bool:
    """Return whether the index *name* is the last one that the shard key *key* can use."""
    there = listing.indexes(collection.database, collection.name)
    serving = [index["name"] for index in there if serves(index, key)]
    return serving == [name]


def doubled_id(collection: Collection[Document], comment: str) -> Any:
    """Return an ``_id`` that occurs twice, on two shards; None if there is none."""
    pipeline: list[Document] = [
        {"$group": {"_id": "$_id", "count": {"$sum": 1}}},
        {"$match": {"count": {"$gt": 1}}},
        {"$limit": 1},
    ]
    found = next(collection.aggregate(pipeline, allowDiskUse=True, comment=comment), None)
    return found and {"_id": found["_id"], "count": found["count"]}
