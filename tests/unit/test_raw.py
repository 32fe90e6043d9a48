"""Raw BSON is cut by its length prefixes, exactly."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from bson import Decimal128, Int64, ObjectId
from bson.codec_options import DEFAULT_CODEC_OPTIONS
from mongo_migration.values import raw

DOCUMENTS: list[dict[str, Any]] = [{}, {"a": 1}, {"b": "x" * 300, "c": [{"d": None}]}]


@pytest.mark.parametrize("names", [["wanted", "rest"], ["rest", "wanted"], ["ä"], []])
def test_the_documents_in_a_document_are_found_by_name(names: list[str]):
    content = dict(zip(names, DOCUMENTS[1:], strict=False))
    found = raw.embedded(bson.encode(content))
    assert {name: bson.decode(one) for name, one in found.items()} == content


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 99, 100, 101, 1000, 10_001])
def test_documents_end_to_end_come_apart(count: int):
    documents = [bson.encode(DOCUMENTS[number % 3]) for number in range(count)]
    assert raw.split(b"".join(documents)) == documents


@pytest.mark.parametrize("damage", [b"\x05\0\0", b"\x04\0\0\0", b"\x06\0\0\0\0", b"\x05\0\0\0\1"])
def test_what_is_no_whole_document_is_refused(damage: bytes):
    with pytest.raises(ValueError, match="no whole document at byte 5"):
        raw.split(bson.encode({}) + damage)


@pytest.mark.parametrize("identity", [ObjectId(), 7, "x", None, {"a": [1]}, Int64(7), b"x"])
@pytest.mark.parametrize("others", [{}, {"before": ""}, {"before": 1, "key": [None, {"_id": 1}]}])
def test_a_document_without_its_id_tells_what_is_left(identity: Any, others: dict[str, Any]):
    document = bson.encode({"_id": identity, **others})
    found, rest = raw.take_id(document, DEFAULT_CODEC_OPTIONS)
    assert (found, type(found)) == (identity, type(identity))
    assert bson.decode(raw.whole(rest)) == others
    assert rest == raw.take_id(bson.encode({"_id": ObjectId(), **others}), DEFAULT_CODEC_OPTIONS)[1]


IDS = [ObjectId(), Int64(7), 7, 7.0, "x", None, {"a": [1]}, b"x", Decimal128("1.00"), True]


@pytest.mark.parametrize("fields", [{}, {"now": None}, {"now": {"a": [ObjectId()]}, "b": "ä"}])
def test_documents_of_ids_and_what_they_share_are_as_the_driver_encodes_them(
    fields: dict[str, Any],
):
    made = list(raw.with_ids(IDS, fields))
    assert made == [bson.encode({"_id": identity, **fields}) for identity in IDS]
