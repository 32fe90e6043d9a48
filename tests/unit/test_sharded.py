"""What the plan refuses behind a router, by the shard key and what a step writes."""

from __future__ import annotations

from typing import Any

import pytest
from mongo_migration.operations.base import Touched
from mongo_migration.procedures import sharded
from mongo_migration.server import sharding

KEYS = {"invoices": ["tenant", "number"], "items": ["_id"], "users": ["address.city"]}


NEEDED = ("invoices", "tenant_1_number_1")


def problems(*touched: Touched, doubled: Any = None) -> list[str]:
    found = sharded.judge(
        KEYS, touched, doubled=lambda name: doubled, needed=lambda *index: index == NEEDED
    )
    return [f"{each['collection']}: {each['what']}" for each in found]


@pytest.mark.parametrize(
    ("touched", "words"),
    [
        (Touched(collection="invoices", field="tenant"), "a part of its shard key"),
        (Touched(collection="users", field="address"), "a part of its shard key"),
        (Touched(collection="users", field="address.city"), "a part of its shard key"),
        (Touched(collection="invoices", any_field=True), "doesn't tell which fields"),
        (Touched(collection="invoices", removes=True), "can't send to one shard"),
        (Touched(collection="invoices", inserts=True), "can't send to one shard"),
        (Touched(collection="items", whole=True), "would come back without that"),
        (Touched(collection="items", other_ids=True), "would come back without that"),
        (Touched(collection="items", into="archive"), "would come back without that"),
        (Touched(collection="items", field="_id"), "a part of its shard key"),
        (Touched(collection="invoices", index="n", unique=("number",)), "must begin with that"),
        (Touched(collection="invoices", index="t", unique=("tenant",)), "must begin with that"),
        (Touched(collection="invoices", index=NEEDED[1], unusable=True), "the last index"),
    ],
)
def test_what_cant_be_exact_is_refused(touched: Touched, words: str) -> None:
    (problem,) = problems(touched)
    assert words in problem


@pytest.mark.parametrize(
    "touched",
    [
        Touched(collection="customers", any_field=True, removes=True),  # it isn't sharded
        Touched(collection="invoices", field="currency"),
        Touched(collection="users", field="address.street"),
        Touched(collection="items", inserts=True),
        Touched(collection="invoices", index="currency_1"),
        Touched(collection="invoices", index="u", unique=("tenant", "number", "line")),
        Touched(collection="customers", index="u", unique=("mail",)),
        Touched(collection="invoices", index="number_1", unusable=True),
        Touched(collection="invoices", index=NEEDED[1]),
    ],
)
def test_what_can_be_is_not(touched: Touched) -> None:
    assert problems(touched) == []


def test_ids_that_occur_twice_are_found_once_for_a_collection_and_not_behind_ids() -> None:
    twice = {"_id": 7, "count": 2}
    written = [Touched(collection="invoices", field=name) for name in ("currency", "rate")]
    (problem,) = problems(*written, doubled=twice)
    assert "an _id occurs more than once" in problem
    assert problems(Touched(collection="items", field="price"), doubled=twice) == []


def test_the_state_must_not_be_sharded() -> None:
    (found,) = sharded.judge(
        {"_migrations": ["_id"]}, [], doubled=lambda name: None, needed=lambda *index: False
    )
    assert found["collection"] == "_migrations"


@pytest.mark.parametrize(
    ("index", "serves"),
    [
        ({"key": {"a": 1, "b": 1}}, True),
        ({"key": {"a": 1, "b": 1, "c": -1}, "unique": True}, True),
        ({"key": {"a": 1}}, False),
        ({"key": {"b": 1, "a": 1}}, False),
        ({"key": {"a": 1, "b": 1}, "sparse": True}, False),
        ({"key": {"a": 1, "b": 1}, "hidden": True}, False),
        ({"key": {"a": 1, "b": 1}, "partialFilterExpression": {"a": 1}}, False),
        ({"key": {"a": 1, "b": 1}, "collation": {"locale": "de"}}, False),
    ],
)
def test_which_index_a_shard_key_can_use(index: dict[str, Any], serves: bool) -> None:
    assert sharding.serves(index, ["a", "b"]) is serves


def test_only_what_is_sharded_counts() -> None:
    def key(**row: Any) -> Any:
        return sharding._key({"_id": "shop.items", "key": {"a": 1, "b": 1}, **row}, "shop.")

    assert key() == [("items", ["a", "b"])]
    assert key(unsplittable=True) == key(dropped=True) == key(key={}) == []
