"""The fields of a raw document, found by walking over its bytes.

A driver refuses to decode what a server keeps without complaint: dates beyond the year 9999, the
year 0, text that isn't UTF-8. Whoever only needs to know where a field lies needn't decode.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_INT32 = struct.Struct("<i")
_INT64 = struct.Struct("<q")

DOCUMENT, ARRAY, DATE, TIMESTAMP = 0x03, 0x04, 0x09, 0x11
_BINARY, _REGEX, _POINTER = 0x05, 0x0B, 0x0C
# The length of values that don't tell it, https://bsonspec.org/spec.html
_FIXED = {
    0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, DATE: 8, 0x0A: 0, 0x10: 4, TIMESTAMP: 8, 0x12: 8,
    0x13: 16, 0x7F: 0, 0xFF: 0,
}  # fmt: skip
_STRINGS = frozenset({0x02, 0x0D, 0x0E})
_WHOLE = frozenset({DOCUMENT, ARRAY, 0x0F})  # their length counts itself
_BEHIND_TYPE = 1


@dataclass(frozen=True, slots=True)
class Element:
    """A field: its type, its name, and where its value lies."""

    kind: int
    name: bytes
    start: int
    stop: int


def elements(raw: bytes, start: int = 0) -> Iterator[Element]:
    """Yield the fields of the document (or array) that begins at *start*, none from within them.

    Raises:
        ValueError: it isn't BSON.
    """
    try:
        end = start + _INT32.unpack_from(raw, start)[0] - 1
        if end >= len(raw) or end < start + 4 or raw[end]:
            raise ValueError(f"no whole document at byte {start}")
        position = start + 4
        while position < end:
            kind = raw[position]
            zero = raw.index(0, position + _BEHIND_TYPE, end)
            stop = zero + 1 + _length(raw, kind, zero + 1)
            if not zero < stop <= end:
                raise ValueError(f"the value at byte {zero + 1} is longer than its document")
            yield Element(kind, raw[position + _BEHIND_TYPE : zero], zero + 1, stop)
            position = stop
    except struct.error as error:
        raise ValueError(f"no whole document at byte {start}") from error


def field(raw: bytes, name: bytes) -> Element | None:
    """Return the field *name* of *raw*, or None."""
    return next((one for one in elements(raw) if one.name == name), None)


def alone(raw: bytes, element: Element, name: bytes) -> bytes:
    """Return a document whose only field is the value of *element*, under the name *name*."""
    body = bytes([element.kind]) + name + b"\0" + raw[element.start : element.stop] + b"\0"
    return _INT32.pack(4 + len(body)) + body


def dates(raw: bytes, path: list[bytes], start: int = 0) -> Iterator[int]:
    """Yield the dates at *path*, through arrays, in milliseconds since 1970."""
    for one in elements(raw, start):
        if one.name == path[0]:
            yield from _dates(raw, one, path[1:])


def _dates(raw: bytes, element: Element, rest: list[bytes]) -> Iterator[int]:
    if element.kind == DATE and not rest:
        yield _INT64.unpack_from(raw, element.start)[0]
    elif element.kind == ARRAY:
        for one in elements(raw, element.start):
            if rest and one.name == rest[0]:  # a.0 names a place in the array
                yield from _dates(raw, one, rest[1:])
            elif one.kind != ARRAY:  # an array within an array isn't looked into
                yield from _dates(raw, one, rest)
    elif element.kind == DOCUMENT and rest:
        yield from dates(raw, rest, element.start)


def _length(raw: bytes, kind: int, start: int) -> int:
    if kind in _FIXED:
        return _FIXED[kind]
    if kind == _REGEX:
        return raw.index(0, raw.index(0, start) + 1) + 1 - start
    length: int = _INT32.unpack_from(raw, start)[0]
    if length < 0:
        raise ValueError(f"the length at byte {start} is negative")
    if kind in _WHOLE:
        return length
    if kind in _STRINGS:
        return 4 + length
    if kind == _BINARY:
        return 5 + length
    if kind == _POINTER:
        return 16 + length
    raise ValueError(f"the value at byte {start} has the unknown type {kind}")
