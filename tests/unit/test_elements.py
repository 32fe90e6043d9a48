"""The fields of a raw document are found without decoding any of it."""

from __future__ import annotations

import datetime
import struct

import bson
import pytest
from mongo_migration.values import elements
from mongo_migration.values.elements import Element

from tests.support.backups import EVERY_TYPE


def test_every_type_of_value_is_walked_over() -> None:
    raw = bson.encode(EVERY_TYPE)

    found = list(elements.elements(raw))

    assert [one.name.decode() for one in found] == list(EVERY_TYPE)
    for one in found:
        value = EVERY_TYPE[one.name.decode()]
        assert elements.alone(raw, one, b"v") == bson.encode({"v": value})


def test_what_python_cant_decode_is_walked_over() -> None:
    """Bad UTF-8, a date far beyond the year 9999, an old DBPointer, undefined."""
    body = b"\x02a\0\x03\0\0\0\xff\xfe\0" + b"\x09b\0" + struct.pack("<q", 2**62)
    body += b"\x0cc\0\x02\0\0\0x\0" + bytes(12) + b"\x06d\0" + b"\x09e\xff\0" + bytes(8)
    raw = struct.pack("<i", len(body) + 5) + body + b"\0"

    assert [one.name for one in elements.elements(raw)] == [b"a", b"b", b"c", b"d", b"e\xff"]
    assert list(elements.dates(raw, [b"b"])) == [2**62]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x05\0\0\0",
        b"\x05\0\0\0\1",
        b"\xff\xff\xff\x7f\0",
        b"\x0c\0\0\0\x10a\0\1\0\0\0\1",
        b"\x08\0\0\0\x99a\0\0",
        b"\x0c\0\0\0\x02a\0\xff\xff\xff\xff\0",
        b"\x0c\0\0\0\x03a\0\x7f\0\0\0\0",
        b"\x08\0\0\0\x10aaa",
    ],
)
def test_what_isnt_bson_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"whole|longer|unknown|negative|not found"):
        list(elements.elements(raw))


def test_dates_are_found_through_arrays_and_documents() -> None:
    moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    later = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)
    raw = bson.encode(
        {"at": moment, "many": [later, moment, 3], "in": {"at": moment}, "of": [{"at": later}, {}]}
    )
    first, second = (int(one.timestamp() * 1000) for one in (moment, later))

    assert list(elements.dates(raw, [b"at"])) == [first]
    assert list(elements.dates(raw, [b"many"])) == [second, first]
    assert list(elements.dates(raw, [b"in", b"at"])) == [first]
    assert list(elements.dates(raw, [b"of", b"at"])) == [second]
    assert list(elements.dates(raw, [b"of", b"0", b"at"])) == [second]
    assert list(elements.dates(raw, [b"none"])) == []
    assert elements.field(raw, b"none") is None
    assert isinstance(elements.field(raw, b"at"), Element)
