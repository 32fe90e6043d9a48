"""What is made of a server's numbers."""

from __future__ import annotations

from collections import Counter

import pytest
from mongo_migration.pace import sampler


def test_a_percentile_needs_enough_operations() -> None:
    assert sampler.percentile(Counter({100: 19})) is None
    assert sampler.percentile(Counter({100: 20})) == 100


def test_the_slowest_operations_decide_the_percentile() -> None:
    assert sampler.percentile(Counter({100: 90, 4096: 10})) == 4096
    assert sampler.percentile(Counter({100: 96, 4096: 4})) == 100


def test_our_own_slow_operations_are_left_out() -> None:
    seen = Counter({100: 100, 65536: 12})
    assert sampler.percentile(seen) == 65536
    assert sampler.percentile(seen, without_slowest=12) == 100


def test_a_server_that_only_serves_us_says_nothing_about_others() -> None:
    assert sampler.percentile(Counter({65536: 30}), without_slowest=40) is None


@pytest.mark.parametrize(
    "status",
    [
        {"wiredTiger": {"concurrentTransactions": {
            "read": {"out": 1, "available": 127, "totalTickets": 128},
            "write": {"out": 96, "available": 32, "totalTickets": 128},
        }}},
        {"queues": {"execution": {
            "read": {"available": 9, "totalTickets": 10},
            "write": {"available": 5, "totalTickets": 20},
        }}},
    ],
    ids=["up to 7.0", "8.0"],
)  # fmt: skip
def test_the_scarcer_tickets_count(status: dict[str, object]) -> None:
    assert sampler.free_tickets(status) == 0.25


def test_dirty_bytes_are_a_share_of_the_cache() -> None:
    cache = {"tracked dirty bytes in the cache": 50, "maximum bytes configured": 200}
    assert sampler.dirty_ratio({"wiredTiger": {"cache": cache}}) == 0.25


def test_a_router_has_no_storage_engine_to_look_at() -> None:
    assert sampler.free_tickets({}) is None
    assert sampler.dirty_ratio({}) is None
