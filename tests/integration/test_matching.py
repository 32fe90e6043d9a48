"""The filters find exactly one state of a field, where MongoDB's own equality is wider."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import Binary
from bson.code import Code
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from mongo_migration.values import compare
from mongo_migration.values.compare import ABSENT
from pymongo.database import Database

Data = Database[dict[str, Any]]

STATES: list[Any] = [
    ABSENT,
    None,
    "",
    "a",
    "A",
    "$f",
    0,
    1,
    Int64(1),
    1.0,
    Decimal128("1"),
    True,
    False,
    float("nan"),
    2**40,
    [],
    [None],
    ["a"],
    [1],
    [[1]],
    {},
    {"a": 1},
    {"a": 1, "b": 2},
    {"b": 2, "a": 1},
    {"$a": 1},
    ObjectId("65f000000000000000000001"),
    [ObjectId("65f000000000000000000001")],
    datetime(2026, 4, 1, tzinfo=UTC),
    Timestamp(1, 1),
    Regex("^a"),
    Regex("^a", "i"),
    Binary(b"a"),
    Binary(b"a", 128),
    Code("f()"),
    Code("f()", {"x": 1}),
    DBRef("shops", 1),
    MinKey(),
    MaxKey(),
]


@pytest.fixture
def stored(database: Data) -> Data:
    """One document for each state, its _id the state's place in the list."""
    database["states"].insert_many(
        {"_id": place} if state is ABSENT else {"_id": place, "f": state}
        for place, state in enumerate(STATES)
    )
    return database


def test_a_filter_for_a_state_finds_that_state_alone(stored: Data):
    for place, state in enumerate(STATES):
        found = [row["_id"] for row in stored["states"].find(compare.holds("f", state))]
        assert found == [place], state


def test_two_states_are_the_same_only_if_they_are_one(stored: Data):
    rows = {row["_id"]: row.get("f", ABSENT) for row in stored["states"].find()}
    for place, state in enumerate(STATES):
        assert [other for other in rows if compare.same(rows[other], state)] == [place]


def test_types_have_the_server_s_names(stored: Data):
    named = stored["states"].aggregate([{"$project": {"type": {"$type": "$f"}}}])
    for row in named:
        state = STATES[row["_id"]]
        assert row["type"] == ("missing" if state is ABSENT else compare.bson_type(state))


@pytest.mark.parametrize("keep", [True, False])
def test_every_candidate_has_a_reason_and_nothing_else_is_one(stored: Data, keep: bool):
    valid = [ObjectId("65f000000000000000000001")]
    selector = compare.candidate("f", "objectId", valid, keep)
    rows = stored["states"].aggregate(
        [{"$match": selector}, {"$project": {"why": compare.category("f", "objectId")}}]
    )
    reasons = {row["_id"]: row["why"] for row in rows}
    expected = {0: "missing", 1: "null", 2: "empty_string"}
    if not keep:
        others = range(3, len(STATES))
        expected |= {place: "wrong_type" for place in others if STATES[place] != valid[0]}
    assert reasons == expected


def test_one_of_many_values_is_found_whatever_it_looks_like(database: Data):
    every = [state for state in STATES if state is not ABSENT and state is not None]
    database["x"].insert_many([{"_id": n, "f": value} for n, value in enumerate(every)])
    for value in every:
        found = {row["_id"] for row in database["x"].find(compare.one_of("f", [value, "nobody"]))}
        alike = {
            m
            for m, other in enumerate(every)
            if compare.same(other, value)
            or (isinstance(other, list) and any(compare.same(one, value) for one in other))
            # Numbers are equal across their types.
            or (_number(value) and any(map(_number, _each(other))))
        }
        assert found == alike, value
    assert len(list(database["x"].find(compare.one_of("f", every)))) == len(every)


def _each(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _number(value: Any) -> bool:
    """Return whether it is 1, of whatever type of number."""
    return type(value) in (int, Int64, float, Decimal128) and str(value) in ("1", "1.0")
