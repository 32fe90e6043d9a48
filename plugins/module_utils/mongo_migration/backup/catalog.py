"""What a database consists of: its collections, time series and views with all their options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import bson
from bson.binary import Binary
from pymongo.database import Database
from pymongo.errors import OperationFailure

from ..document.collections import SCRATCH
from ..support import listing
from ..support.listing import LENIENT, NAMESPACE_NOT_FOUND
from ..values.raw import RAW_CODEC
from .names import BUCKETS, LOADING, SPECIAL


def define(options: Mapping[str, Any], indexes: Iterable[Mapping[str, Any]]) -> bytes:
    """Return *options* and *indexes* as one document, of which nothing is decoded."""
    return bson.encode({"options": options, "indexes": list(indexes)}, codec_options=LENIENT)


@dataclass(frozen=True, kw_only=True)
class Found:
    """A collection, time series or view on the server, or in a backup.

    ``definition`` is the exact BSON of its options and indexes, as :func:`define` makes it.
    """

    name: str
    type: str
    uuid: str | None
    definition: bytes

    @cached_property
    def _readable(self) -> dict[str, Any]:
        return bson.decode(self.definition, codec_options=LENIENT)

    @property
    def options(self) -> dict[str, Any]:
        """Return its options, to look at."""
        return dict(self._readable["options"])

    @property
    def indexes(self) -> list[dict[str, Any]]:
        """Return its indexes, to look at."""
        return list(self._readable["indexes"])

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


def lenient(database: Database[Any]) -> Database[Any]:
    """Return *database* as one whose documents can be read whatever is in them."""
    return database.with_options(codec_options=LENIENT)


def read(database: Database[Any]) -> list[Found]:
    """Return all that a backup holds, by name.

    Left out: ``system.*`` (``system.js`` is kept), what an unfinished restore left, and the mark of
    a scratch database.
    """
    found = [
        _found(database, one)
        for one in _listed(database, {})
        if not one["name"].startswith(LOADING)
        and one["name"] != SCRATCH
        and (not one["name"].startswith("system.") or one["name"] in SPECIAL)
    ]
    return sorted(found, key=lambda one: one.name)


def every_name(database: Database[Any]) -> set[str]:
    """Return the names of all that is there, without a look at it."""
    return {one["name"] for one in _listed(database, {})}


def leftovers(database: Database[Any]) -> list[str]:
    """Return the names of what restores loaded that aren't over, or didn't come to their end."""
    return sorted(name for name in every_name(database) if name.startswith(LOADING))


def read_one(database: Database[Any], name: str) -> Found | None:
    """Return what *name* is, or None."""
    listed = next(iter(_listed(database, {"name": name})), None)
    return _found(database, listed) if listed else None


def uuid_of(database: Database[Any], name: str) -> Binary | None:
    """Return the UUID of the collection *name*; None if there is none, or it isn't a collection."""
    listed = next(iter(_listed(database, {"name": name})), None)
    uuid = listed["info"].get("uuid") if listed else None
    return uuid if isinstance(uuid, Binary) else None


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


def _listed(database: Database[Any], condition: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what listCollections says, its parts as raw documents."""
    return listing.collections(database, condition, options=RAW_CODEC)


def _indexes(database: Database[Any], name: str) -> list[dict[str, Any]]:
    # Servers before 4.4 say where an index is; mongorestore doesn't want it.
    return [
        {key: value for key, value in index.items() if key != "ns"}
        for index in listing.indexes(database, name, options=RAW_CODEC)
    ]


def _found(database: Database[Any], listed: Mapping[str, Any]) -> Found:
    name, kind = listed["name"], listed.get("type", "collection")
    uuid = listed.get("info", {}).get("uuid")
    return Found(
        name=name,
        type=kind,
        uuid=bytes(uuid).hex() if uuid is not None else None,
        definition=define(
            listed.get("options", {}), [] if kind == "view" else _indexes(database, name)
        ),
    )
