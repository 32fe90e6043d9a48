"""Documents that hold a field twice, as a server keeps them and no driver makes them.

A server that changes one by an expression fails an invariant of its own and ends: of a replica set,
one primary after the other (SERVER, `document_diff_serialization.cpp`, seen with 6.0).
"""

from __future__ import annotations

from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError

from .elements import ARRAY, DOCUMENT, elements

_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
_NESTS = frozenset({ARRAY, DOCUMENT})


def within(raw: bytes) -> str | None:
    """Return a field that *raw*, or a document in it, holds twice; None if there is none."""
    try:
        decoded: dict[str, Any] = bson.decode(raw, _OPTIONS)
        if bson.encode(decoded) == raw:
            return None  # a dictionary has each key once
    except (BSONError, ValueError, OverflowError):
        pass  # what a driver can't read is looked at byte by byte
    found = _within(raw, 0, counts=True)
    return None if found is None else found.decode(errors="replace")


def _within(raw: bytes, start: int, *, counts: bool) -> bytes | None:
    seen: set[bytes] = set()
    for one in elements(raw, start):
        if counts and one.name in seen:
            return one.name
        seen.add(one.name)
        if one.kind in _NESTS:
            # The keys of an array mean nothing.
            found = _within(raw, one.start, counts=one.kind == DOCUMENT)
            if found is not None:
                return found
    return None
