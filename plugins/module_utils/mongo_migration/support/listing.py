"""What collections and indexes a database has, whatever their definitions hold.

A validator or a partial index may name a date beyond the year 9999, which is nothing that Python
knows. The driver's own helpers decode strictly, whatever the client was told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure

LENIENT: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    unicode_decode_error_handler="replace",
)
NAMESPACE_NOT_FOUND = 26
#: The server's own databases: no application's.
SERVERS_OWN = frozenset({"admin", "config", "local"})


def collections(
    database: Database[Any],
    condition: Mapping[str, Any] | None = None,
    *,
    options: CodecOptions[Any] = LENIENT,
) -> list[dict[str, Any]]:
    """Return what ``listCollections`` says, of all or of those that match *condition*."""
    return _all(database, {"listCollections": 1, "filter": dict(condition or {})}, options)


def collection(database: Database[Any], name: str) -> dict[str, Any]:
    """Return what ``listCollections`` says of *name*; nothing where there is nothing."""
    return next(iter(collections(database, {"name": name})), {})


def options_of(place: Collection[Any]) -> dict[str, Any]:
    """Return the options of a collection, such as its validator; nothing where there is none."""
    given: dict[str, Any] = collection(place.database, place.name).get("options", {})
    return given


def indexes(
    database: Database[Any],
    name: str,
    *,
    options: CodecOptions[Any] = LENIENT,
    **more: Any,
) -> list[dict[str, Any]]:
    """Return what ``listIndexes`` says of the collection *name*; nothing where there is none."""
    try:
        return _all(database, {"listIndexes": name, **more}, options)
    except OperationFailure as error:
        if error.code != NAMESPACE_NOT_FOUND:
            raise
        return []


def about_how_many(database: Database[Any], name: str) -> int:
    """Return how many documents the server believes that the collection *name* has.

    By its name alone: of one that ends in a dot, which the server takes, the driver makes none.
    """
    return int(database.command({"count": name}, codec_options=LENIENT)["n"])


def _all(
    database: Database[Any], command: dict[str, Any], options: CodecOptions[Any]
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    command = {**command, "cursor": {}}
    with database.client.start_session(causal_consistency=False) as session:
        while True:
            reply = database.command(command, codec_options=options, session=session)
            cursor = dict(reply["cursor"].items())
            batch = cursor.get("firstBatch") or cursor.get("nextBatch") or []
            found += [dict(one.items()) for one in batch]
            if not cursor["id"]:
                return found
            place = cursor["ns"].partition(".")[2]
            command = {"getMore": cursor["id"], "collection": place}
