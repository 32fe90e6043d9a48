"""The server's table of timezones against Python's: the server computes, and its table gets old."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pymongo.database import Database

_TICK = datetime.timedelta(milliseconds=1)
# Before, offsets were of local mean time, to the second.
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def zone(name: str) -> ZoneInfo | None:
    """Return the timezone *name* as Python knows it, if it does."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        return None


def instants_of(tree: Any) -> set[datetime.datetime]:
    """Return the instants in *tree*, and those that begin where one of them ends."""
    if isinstance(tree, Mapping):
        tree = list(tree.values())
    if isinstance(tree, list):
        return {instant for item in tree for instant in instants_of(item)}
    if not isinstance(tree, datetime.datetime) or tree < _EPOCH:
        return set()
    return {tree, tree + _TICK} if tree.microsecond else {tree}


def differences(
    database: Database[dict[str, Any]],
    name: str,
    instants: Iterable[datetime.datetime],
    *,
    comment: str | None,
) -> list[tuple[datetime.datetime, int]]:
    """Return the instants at which the server is off in timezone *name*, with the minutes."""
    if (known := zone(name)) is None:
        return []
    rows = database.aggregate(
        [
            {"$documents": [{"at": instant} for instant in sorted(instants)]},
            {
                "$set": {
                    "offset": {"$dateToString": {"date": "$at", "format": "%Z", "timezone": name}}
                }
            },
        ],
        comment=comment,
    )
    found = []
    for row in rows:
        offset = row["at"].astimezone(known).utcoffset()
        if offset is None:
            raise AssertionError("a date with a zone has an offset")
        minutes = int(row["offset"]) - int(offset.total_seconds() // 60)
        if minutes:
            found.append((row["at"], minutes))
    return found
