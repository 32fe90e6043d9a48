"""Migrations that another tool has applied, taken over into our changelog, and not ours to undo."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pymongo import DeleteMany
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from ..document.collections import STATE
from . import state_format
from .fence import Fence
from .runs import MAJORITY
from .shapes import Shape, optional
from .state_format import FORMAT

KIND = "adopted"
# Of all tools together; of one, `adopt.yml` takes over 20,000.
_MOST = 100_000
_SHAPE: Shape = {
    "_id": str,
    "migration": str,
    "tool": str,
    "applied": optional(datetime.datetime),
    "adopted_at": datetime.datetime,
}

Db = Database[dict[str, Any]]


def read(database: Db) -> list[dict[str, Any]]:
    """Return those that were taken over, by their names.

    Raises:
        StateError: one of them isn't what we write, or they are more than we ever write.
    """
    place = f"{database.name}.{STATE}"
    found: list[dict[str, Any]] = []
    # Of what else there may be, such as who took it over and why, nothing is read.
    read_ = dict.fromkeys((*_SHAPE, "by"), 1)
    for row in database[STATE].find({"kind": KIND}, read_, sort=[("migration", 1)]):
        checked = state_format.checked(row, _SHAPE, place=place, what="an adopted migration")
        if checked is None or len(found) == _MOST:
            raise state_format.too_many("adopted migrations", place, '{kind: "adopted"}')
        found.append(checked)
    return found


def is_adopted(database: Db, migration: str) -> bool:
    """Return whether *migration* was taken over from another tool."""
    return any(row["migration"] == migration for row in read(database))


def add(database: Db, fence: Fence, migration: str, **facts: Any) -> None:
    """Record *migration* with *facts*, unless it is recorded.

    Raises:
        LeaseLostError: another process works now.
    """
    known = {"kind": KIND, "format": FORMAT, "migration": migration, **facts}
    with suppress(DuplicateKeyError):
        fence.insert(_state(database), {"_id": _identity(migration), **known})


def remove(database: Db, fence: Fence, rows: Sequence[Mapping[str, Any]]) -> None:
    """Forget that migrations were taken over.

    Raises:
        LeaseLostError: another process works now.
    """
    names = [row["_id"] for row in rows]
    fence.write(_state(database), [DeleteMany({"kind": KIND, "_id": {"$in": names}})])


def _state(database: Db) -> Collection[dict[str, Any]]:
    return database[STATE].with_options(write_concern=MAJORITY)


def _identity(migration: str) -> str:
    return f"{KIND}:{migration}"
