"""The server's table of timezones against Python's: the server computes, and its table gets old."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pymongo.database import Database

from ...support.chunks import chunks

# Instants that are asked for together.
_AT_ONCE = 10_000
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
    instants: Mapping[str, Iterable[datetime.datetime]],
    *,
    comment: str | None,
) -> dict[str, list[tuple[datetime.datetime, int]]]:
    """Return the *instants* at which the server is off, with the minutes, by timezone.

    Args:
        database: of the server.
        instants: by timezones that the server knows; one that Python doesn't know is left out.
        comment: by which the commands can be told.
    """
    zones = {name: here for name in instants if (here := zone(name)) is not None}
    pairs = (
        {"zone": name, "at": instant}
        for name in sorted(zones)
        for instant in sorted(instants[name])
    )
    told = {"$dateToString": {"date": "$at", "format": "%Z", "timezone": "$zone"}}
    found: dict[str, list[tuple[datetime.datetime, int]]] = {}
    for some in chunks(pairs, _AT_ONCE):
        stages: list[dict[str, Any]] = [{"$documents": some}, {"$set": {"offset": told}}]
        for row in database.aggregate(stages, comment=comment):
            offset = row["at"].astimezone(zones[row["zone"]]).utcoffset()
            if offset is None:
                raise AssertionError("a date with a zone has an offset")
            minutes = int(row["offset"]) - int(offset.total_seconds() // 60)
            if minutes:
                found.setdefault(row["zone"], []).append((row["at"], minutes))
    return found
