"""What is shown of a document is bounded, whatever the document holds."""

from __future__ import annotations

import datetime

import bson
import pytest
from mongo_migration.values.abridged import abridge

LARGE = 14 << 20


@pytest.mark.parametrize(
    "value",
    [
        None,
        "Zoë",
        {"_id": bson.ObjectId(), "at": datetime.datetime(2026, 1, 1), "rows": [1, 2.5, {}]},
        b"\x00\x01",
        bson.Decimal128("1.10"),
        [],
    ],
)
def test_what_is_small_stays_as_it_is(value: object):
    assert abridge(value) == value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("x" * LARGE, f"({LARGE:,} characters)"),
        (b"x" * LARGE, f"({LARGE:,} bytes)"),
        ({"a": {"b": ["x" * LARGE]}}, f"({LARGE:,} characters)"),
        ([{"n": n} for n in range(1_000_000)], "more"),
        ({f"k{n}": n for n in range(1_000_000)}, "more fields"),
        ({"_id": 1, "texts": ["x" * 1000] * 14_000}, "more"),
    ],
)
def test_what_is_large_says_how_much_is_missing(value: object, said: str):
    cut = abridge(value)
    assert len(bson.encode({"": cut})) < 20_000
    assert said in str(cut)
