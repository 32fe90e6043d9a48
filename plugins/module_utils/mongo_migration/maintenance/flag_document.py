"""The maintenance flag that an application reads from a document of its own database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson.errors import BSONError
from pymongo.database import Database

from ..document import collections
from ..errors import MigrationError
from ..support import majority
from ..values import ejson

Document = dict[str, Any]


class FlagError(MigrationError):
    """The flag's place is described wrongly, or isn't one document."""


def set_field(
    database: Database[Document],
    *,
    collection: str,
    filter_: Mapping[str, Any],
    field: str,
    value: Any = None,
    check: bool = False,
) -> Document:
    """Set the field of the one document, or only read it.

    Args:
        database: of the application.
        collection: of the document.
        filter_: what finds it, in extended JSON.
        field: its path.
        value: what it is to hold, in extended JSON; None only reads.
        check: change nothing, and say what would be changed.

    Raises:
        FlagError: several documents fit, or none can be made from this description.
    """
    place = f"the maintenance flag {collection}.{field}"
    if collections.is_ours(collection) or collection.startswith("system."):
        raise FlagError(f"For {place}: an application keeps nothing in '{collection}'.")
    if not field or field.startswith("$") or not all(field.split(".")):
        raise FlagError(f"For {place}: '{field}' is not a path of a field.")
    try:
        query = ejson.from_plain(dict(filter_))
        wanted = ejson.from_plain(value)
    except (ValueError, TypeError, BSONError) as error:
        raise FlagError(f"For {place}: filter and value must be extended JSON: {error}.") from error
    found = list(database[collection].find(query).limit(2))
    if len(found) > 1:
        raise FlagError(
            f"For {place}: several documents fit {ejson.short(filter_)}. Give a filter that finds "
            "one, best by _id."
        )
    if not found and any(str(key).startswith("$") for key in query):
        raise FlagError(
            f"For {place}: no document fits {ejson.short(filter_)}, and none can be made from an "
            "operator. Give a filter of plain values, best _id."
        )
    before = _at(found[0], field) if found else None
    changed = value is not None and before != wanted
    if changed and not check:
        records = database.get_collection(collection, write_concern=majority.WRITE_CONCERN)
        records.update_one(query, {"$set": {field: wanted}}, upsert=True)
    after = wanted if changed else before
    return {
        "changed": changed,
        "found": bool(found),
        "value": after,
        "diff": {"before": {field: before}, "after": {field: after}},
    }


def _at(document: Any, path: str) -> Any:
    for name in path.split("."):
        document = document.get(name) if isinstance(document, Mapping) else None
    return document
