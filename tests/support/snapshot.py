"""The exact content of a database, to compare before with after."""

from __future__ import annotations

from typing import Any

import bson
from bson import ObjectId
from bson.codec_options import DatetimeConversion
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection
from pymongo.database import Database

Snapshot = dict[str, dict[Any, bytes]]


def snapshot(database: Database[dict[str, Any]], *, own: bool = False) -> Snapshot:
    """Return every document of every collection as the server stores it, by collection and _id.

    Byte for byte, so that a changed type or order of fields counts as a difference too.

    Args:
        database: of any client.
        own: also the engine's own collections, whose names begin with `_migrations`.
    """
    found: Snapshot = {}
    for name in sorted(database.list_collection_names()):
        if name.startswith("system.") or (name.startswith("_migrations") and not own):
            continue
        options = database.codec_options.with_options(
            document_class=RawBSONDocument, datetime_conversion=DatetimeConversion.DATETIME_AUTO
        )
        raw: Collection[Any] = database.get_collection(name, codec_options=options)
        found[name] = {_hashable(document["_id"]): bytes(document.raw) for document in raw.find()}
    return found


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """Return what differs, as lines to read; empty if nothing does."""
    lines = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old is None or new is None:
            lines.append(f"{name}: collection {'appeared' if old is None else 'disappeared'}")
            continue
        for identifier in {**old, **new}:
            if old.get(identifier) != new.get(identifier):
                kind = (
                    "appeared"
                    if identifier not in old
                    else "disappeared"
                    if identifier not in new
                    else "changed"
                )
                lines.append(f"{name} {identifier!r}: {kind}")
    return lines


def indexes(database: Database[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the index specifications by collection and index name, without the engine's own."""
    return {
        name: dict(database[name].index_information())
        for name in sorted(database.list_collection_names())
        if not name.startswith(("system.", "_migrations"))
    }


def _hashable(identifier: Any) -> Any:
    # As a key, True would be 1, and Decimal128 or Code can't be one at all.
    if type(identifier) in {int, str, ObjectId}:
        return identifier
    if isinstance(identifier, RawBSONDocument):
        return identifier.raw
    return f"{type(identifier).__name__} {identifier!r}"


def without_lease(found: Snapshot) -> Snapshot:
    """Return *found* without what a lease leaves: its document, and the token of each run.

    Whoever takes one takes every run from whoever had it, also if it does nothing else.
    """
    left = {name: dict(rows) for name, rows in found.items()}
    state = left.get("_migrations", {})
    state.pop("lease", None)
    for key, raw in state.items():
        document = bson.decode(raw)
        if document.pop("token", None) is not None:
            state[key] = bson.encode(document)
    return left
