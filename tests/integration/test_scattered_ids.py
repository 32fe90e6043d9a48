"""The plan says where a migration is slow: random ids in a collection larger than the cache."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from bson import ObjectId
from mongo_migration.procedures import scattered

from tests.support.migrations import Deployment

DOCUMENT = (
    """
id: "907"
name: currency
summary: Every item gets a currency.
downtime: none
steps:
  - set_field: {collections: [items], field: currency, type: string, value: {value: EUR}}
""",
    "907-currency.yml",
)
COUNT = 300
CHANCE = random.Random(7)
RANDOM = [CHANCE.randbytes(12) for _ in range(COUNT)]


@pytest.mark.parametrize(
    ("ids", "scattered_"),
    [
        (range(COUNT), False),
        (range(COUNT, 0, -1), False),
        ([ObjectId() for _ in range(COUNT)], False),
        # Two processes that insert in turn.
        ([f"{number % 2}-{number:06}" for number in range(COUNT)], True),
        (RANDOM, True),
        ([{"a": one} for one in RANDOM], True),
        ([1], False),
    ],
    ids=["numbers", "downwards", "ObjectIds", "in turn", "random", "documents", "one"],
)
def test_the_order_of_insertion_against_that_of_ids(
    deployment: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    ids: Sequence[Any],
    scattered_: bool,
) -> None:
    deployment.data["items"].insert_many([{"_id": one} for one in ids])
    assert scattered.cache_bytes(deployment.client[deployment.data.name]) > 100 << 20
    assert not any("in no order" in text for text in deployment.plan(DOCUMENT)["warnings"])

    monkeypatch.setattr(scattered, "cache_bytes", lambda database: 10)  # a collection of gigabytes
    told = [text for text in deployment.plan(DOCUMENT)["warnings"] if "in no order" in text]
    assert len(told) == scattered_
    assert all(text.startswith("items: ") for text in told)
