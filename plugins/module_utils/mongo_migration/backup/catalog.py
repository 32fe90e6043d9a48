"""What a database consists of: its collections, time series and views with all their options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pymongo.database import Database
from pymongo.errors import OperationFailure

from ..document.collections import NAMESPACE_NOT_FOUND
from ..values.ejson import CODEC
from .names import BUCKETS

# Collections of an unfinished restore: they are never part of a backup, and the next restore
# removes them.
LOADING = "_migrations_restore."


@dataclass(frozen=True, kw_only=True)
class Found:
    """A collection, time series or view on the server."""

    name: str
    type: str
    uuid: str | None
    options: Mapping[str, Any] = field(default_factory=dict)
    indexes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def stored_in(self) -> str | None:
        """Return the collection that holds the documents; a view has none."""
        if self.type == "view":
            return None
        return BUCKETS + self.name if self.type == "timeseries" else self.name

    @property
    def capped(self) -> bool:
        """Whether it is a capped collection, which a snapshot can't be read from."""
        return bool(self.options.get("capped"))


def read(database: Database[Any]) -> list[Found]:
    """Return all that a backup holds, by name.

    Left out: ``system.*`` (``system.js`` is kept), and what an unfinished restore left.
    """
    database = database.with_options(codec_options=CODEC)
    found = [
        _found(database, one)
        for one in database.list_collections()
        if not one["name"].startswith(LOADING)
        and (not one["name"].startswith("system.") or one["name"] == "system.js")
    ]
    return sorted(found, key=lambda one: one.name)


def read_one(database: Database[Any], name: str) -> Found | None:
    """Return what *name* is, or None."""
    database = database.with_options(codec_options=CODEC)
    listed = next(iter(database.list_collections(filter={"name": name})), None)
    return _found(database, listed) if listed else None


def sizes(database: Database[Any], found: list[Found]) -> dict[str, tuple[int, int]]:
    """Return documents and bytes of each collection, by the server's own estimate."""
    result = {}
    for one in found:
        if one.stored_in is None:
            continue
        try:
            # Not dbStats: the role `backup` may not call it.
            stats = database.command("collStats", one.name)
        except OperationFailure as error:
            if error.code != NAMESPACE_NOT_FOUND:
                raise
            continue
        result[one.name] = (int(stats.get("count", 0)), int(stats.get("size", 0)))
    return result


def _indexes(database: Database[Any], name: str) -> list[dict[str, Any]]:
    try:
        # A collection has 64 indexes at most: they always fit the first batch.
        indexes = database.command("listIndexes", name, codec_options=CODEC)["cursor"]["firstBatch"]
    except OperationFailure as error:
        if error.code == NAMESPACE_NOT_FOUND:  # dropped since it was listed
            return []
        raise
    for index in indexes:
        index.pop("ns", None)  # servers before 4.4 say where it is; mongorestore doesn't want it
    return list(indexes)


def _found(database: Database[Any], listed: Mapping[str, Any]) -> Found:
    name, kind = listed["name"], listed.get("type", "collection")
    uuid = listed.get("info", {}).get("uuid")
    return Found(
        name=name,
        type=kind,
        uuid=bytes(uuid).hex() if uuid is not None else None,
        options=listed.get("options", {}),
        indexes=[] if kind == "view" else _indexes(database, name),
    )
