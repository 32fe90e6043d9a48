"""What can't be exact on a sharded cluster is refused by the plan, with the reason.

The engine finds, journals and restores a document by its ``_id``, which is unique per shard only.
It has never been run on a cluster: what is refused here follows from MongoDB's documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pymongo.database import Database

from ..document.collections import is_ours
from ..operations.base import Touched
from ..server import sharding

Problem = dict[str, Any]

UNTRIED = (
    "This is a sharded cluster, on which nobody has run a migration yet: rehearse it on a copy of "
    "the cluster first (docs/sharding.md)"
)
_FIX = "migrate this collection by other means, or on a replica set (docs/sharding.md)"


def examine(
    database: Database[dict[str, Any]], touched: Iterable[Touched], comment: str
) -> tuple[list[Problem], list[str]]:
    """Return problems and warnings of a plan behind a router; nothing elsewhere.

    Args:
        database: to be migrated.
        touched: what the steps write to.
        comment: what the server's operations carry.
    """
    if not sharding.is_router(database.client):
        return [], []
    keys = sharding.keys(database)
    found = judge(
        keys,
        touched,
        doubled=lambda name: sharding.doubled_id(database[name], comment),
        needed=lambda name, index: sharding.is_needed(database[name], index, keys[name]),
    )
    return list(found), [UNTRIED]


def judge(
    keys: Mapping[str, Sequence[str]],
    touched: Iterable[Touched],
    *,
    doubled: Callable[[str], Any],
    needed: Callable[[str, str], bool],
) -> Iterator[Problem]:
    """Yield why what is *touched* can't be written and undone exactly.

    Args:
        keys: the fields of the shard key of each sharded collection.
        touched: what the steps write to.
        doubled: returns an ``_id`` that a collection holds twice, or None.
        needed: returns whether an index of a collection is the last one for its shard key.
    """
    for name in sorted(keys):
        if is_ours(name):
            yield _problem(name, "the state of the migrations must not be sharded")
    looked_at: set[str] = set()
    told: set[tuple[str, str]] = set()
    for item in touched:
        key = keys.get(item.collection)
        if key is None:
            continue
        why = _why_not(item, key) or _why_not_index(item, key, needed)
        if why and (item.collection, why) not in told:
            told.add((item.collection, why))
            yield _problem(item.collection, why)
        if not item.index and key[0] != "_id" and item.collection not in looked_at:
            looked_at.add(item.collection)
            if found := doubled(item.collection):
                what = "an _id occurs more than once, on different shards"
                yield _problem(item.collection, what, samples=[found])


def _why_not(item: Touched, key: Sequence[str]) -> str:
    """Return why a step can't do this to a collection that is sharded by *key*; empty if it can."""
    shown = ", ".join(key)
    if item.whole or item.other_ids or item.into:
        return (
            f"it is sharded by {shown}, and a renamed, dropped or rebuilt collection, or one with "
            "other _ids, would come back without that"
        )
    if item.any_field:
        return f"it is sharded by {shown}, and the step doesn't tell which fields it writes"
    if item.field and any(_overlap(item.field, part) for part in key):
        return f"{item.field} is a part of its shard key ({shown}): its documents would move"
    if (item.inserts or item.removes) and list(key) != ["_id"]:
        return (
            f"it is sharded by {shown}: documents are inserted and restored by their _id, which a "
            "router can't send to one shard"
        )
    return ""


def _why_not_index(item: Touched, key: Sequence[str], needed: Callable[[str, str], bool]) -> str:
    """Return why an index can't be built or taken away; empty if it can."""
    shown = ", ".join(key)
    if item.unique and list(item.unique[: len(key)]) != list(key):
        return (
            f"it is sharded by {shown}, and a unique index ({', '.join(item.unique)}) must begin "
            "with that: each shard knows its own documents only"
        )
    if item.index and item.unusable and needed(item.collection, item.index):
        return f"it is sharded by {shown}, and {item.index} is the last index which that can use"
    return ""


def _overlap(field: str, part: str) -> bool:
    return field == part or field.startswith(f"{part}.") or part.startswith(f"{field}.")


def _problem(collection: str, what: str, samples: Sequence[Any] = ()) -> Problem:
    return {
        "step": None,
        "collection": collection,
        "what": what,
        "count": 1,
        "samples": list(samples),
        "policy": "sharded cluster",
        "fix": _FIX,
    }
