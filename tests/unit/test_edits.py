"""Raw documents with other fields: exactly what is meant changes, and every other byte stays."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from bson import Int64
from mongo_migration.values import edits
from mongo_migration.values.elements import ARRAY

# Holds a symbol and a field twice, which no driver writes back.
ODD = b"\x0es\0\2\0\0\0x\0" + b"\x10n\0\1\0\0\0" + b"\x10n\0\2\0\0\0"
ROW = {"_id": 1, "a": {"b": [1, {"c": 2}], "d": 1.0}, "e": Int64(3)}


def raw(document: dict[str, Any]) -> bytes:
    return bson.encode(document)


def negated(kind: int, value: bytes) -> tuple[int, bytes]:
    """Return an int with its bits turned around, and all else as it is."""
    return (kind, bytes(255 - one for one in value)) if kind == 0x10 else (kind, value)


def test_what_isn_t_meant_keeps_every_byte():
    odd = edits.document([ODD])
    assert edits.merged(odd, {"z"}, raw({"z": 1})) == edits.document([ODD, b"\x10z\0\1\0\0\0"])
    assert edits.without(odd, {"z"}) == odd
    assert edits.only(odd, {"s", "n"}) == odd
    assert edits.replaced(odd, [b"z"], negated) == odd
    assert edits.dropped(odd, [b"z", b"y"]) == odd


def test_a_touched_field_keeps_its_place_goes_or_comes_last():
    after = raw({"new": 1, "e": 4})
    assert bson.decode(edits.merged(raw(ROW), {"a", "e", "new"}, after)) == {
        "_id": 1,
        "e": 4,
        "new": 1,
    }
    assert list(bson.decode(edits.merged(raw(ROW), {"a", "e", "new"}, after))) == [
        "_id",
        "e",
        "new",
    ]


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("_id", {**ROW, "_id": -2}),
        ("a.b", {**ROW, "a": {"b": [-2, {"c": 2}], "d": 1.0}}),
        ("a.b.c", {**ROW, "a": {"b": [1, {"c": -3}], "d": 1.0}}),
        ("a.d", ROW),
        ("e", ROW),
        ("a.b.c.x", ROW),
    ],
)
def test_values_are_changed_along_a_path_and_in_arrays(path: str, wanted: dict[str, Any]):
    assert edits.replaced(raw(ROW), path.encode().split(b"."), negated) == raw(wanted)


def test_an_array_within_an_array_is_not_looked_into():
    nested = raw({"a": [[1], 1]})
    assert bson.decode(edits.replaced(nested, [b"a"], negated)) == {"a": [[1], -2]}


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("a", {"_id": 1, "e": 3}),
        ("a.d", {"_id": 1, "a": {"b": [1, {"c": 2}]}, "e": 3}),
        ("a.b.c", ROW),
        ("x.y", ROW),
    ],
)
def test_a_value_goes_from_within_documents(path: str, wanted: dict[str, Any]):
    assert bson.decode(edits.dropped(raw(ROW), path.encode().split(b"."))) == wanted


def test_a_value_is_put_at_its_place_or_last():
    three = bson.encode({"v": 3})[7:-1]
    assert bson.decode(edits.put(raw(ROW), [b"a", b"b"], 0x10, three))["a"] == {"b": 3, "d": 1.0}
    assert list(bson.decode(edits.put(raw(ROW), [b"z"], 0x10, three))) == ["_id", "a", "e", "z"]
    assert edits.kind_at(raw(ROW), [b"a", b"b"]) == ARRAY
    assert edits.kind_at(raw(ROW), [b"a", b"z"]) is None
