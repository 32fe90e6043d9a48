"""Collections that don't fit the server's cache, and whose `_id`s come in no order.

A migration goes along `_id`. Where that is the order of insertion, neighbours lie side by side on
the disk; with random `_id`s each document is read from another place, which only a cache makes up
for.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import bson
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure

from ..operations.base import Touched
from ..support import listing
from ..values import ejson

Document = dict[str, Any]

_SAMPLE = 200
# Of neighbours in the order of insertion, half are in order where that is by chance.
_IN_ORDER = 0.75


def warnings(database: Database[Document], touched: Iterable[Touched], comment: str) -> list[str]:
    """Return a warning for each collection that is slow to go through.

    Args:
        database: to be migrated.
        touched: what the steps write to.
        comment: what the server's operations carry.
    """
    walked = sorted({item.collection for item in touched if _goes_along_ids(item)})
    cache = cache_bytes(database) if walked else 0
    return [text for name in walked if cache and (text := _warning(database, name, cache, comment))]


def cache_bytes(database: Database[Document]) -> int:
    """Return the size of the server's cache; 0 where it can't be seen, or a router answers."""
    try:
        status = database.client.admin.command({"serverStatus": 1, "metrics": 0, "locks": 0})
    except OperationFailure:
        return 0
    return int(status.get("wiredTiger", {}).get("cache", {}).get("maximum bytes configured", 0))


def _goes_along_ids(item: Touched) -> bool:
    return bool(item.field or item.any_field or item.removes or item.into or item.other_ids)


def _warning(database: Database[Document], name: str, cache: int, comment: str) -> str:
    if not listing.collection(database, name):
        return ""
    size = _size(database[name])
    if size <= cache or in_order(database[name], comment):
        return ""
    return (
        f"{name}: its {size / 1e6:,.0f} MB don't fit the server's cache of {cache / 1e6:,.0f} MB, "
        "and its _ids are in no order: each document is read from another place of the disk. Count "
        "on ten times the estimate, or far more (docs/benchmarks.md#beyond-the-cache)"
    )


def _size(collection: Collection[Document]) -> int:
    stages: list[Document] = [
        {"$collStats": {"storageStats": {}}},
        {"$project": {"size": "$storageStats.size"}},
    ]
    return sum(int(row.get("size", 0)) for row in collection.aggregate(stages))


def in_order(collection: Collection[Document], comment: str) -> bool:
    """Return whether `_id`s grow, or shrink, in the order of insertion; by the first ones."""
    only = {"_id": 1}
    collection = collection.with_options(codec_options=ejson.CODEC)
    first = collection.find({}, only, comment=comment).sort("$natural", 1).limit(_SAMPLE)
    ids = [bson.encode(row) for row in first]
    wanted = {"_id": {"$in": [bson.decode(one, ejson.CODEC)["_id"] for one in ids]}}
    by_id = collection.find(wanted, only, comment=comment).sort("_id", 1)
    rank = {bson.encode(row): number for number, row in enumerate(by_id)}
    pairs = [(rank.get(one, 0), rank.get(two, 0)) for one, two in pairwise(ids)]
    up = sum(one < two for one, two in pairs)
    return not pairs or not 1 - _IN_ORDER < up / len(pairs) < _IN_ORDER
