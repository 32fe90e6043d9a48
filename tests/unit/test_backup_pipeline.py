from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from mongo_migration.backup.pipeline import in_order
from mongo_migration.support.prefetch import ahead


def readers() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "read-ahead"]


def test_items_come_in_order() -> None:
    assert list(ahead(range(1000))) == list(range(1000))
    assert list(ahead([])) == []


def test_an_error_comes_in_its_place_and_the_generator_is_closed() -> None:
    closed = []

    def items() -> Iterator[int]:
        try:
            yield 1
            yield 2
            raise OSError("the disk is gone")
        finally:
            closed.append(True)

    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        for item in ahead(items()):
            seen.append(item)

    assert seen == [1, 2]
    assert closed == [True]
    assert not readers()


def test_stopping_early_ends_the_thread_and_closes_the_generator() -> None:
    closed = []

    def items() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            closed.append(True)

    stream = ahead(items())
    assert next(stream) == 0
    stream.close()

    assert closed == [True]
    assert not readers()


def test_results_keep_their_order_whatever_takes_longer() -> None:
    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number

    with ThreadPoolExecutor(3) as pool:
        assert list(in_order(pool, work, range(30))) == list(range(30))


def test_no_more_than_depth_are_under_way() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(1) as pool:
        results = in_order(pool, lambda number: number, items(), depth=4)
        next(results)
        assert len(taken) == 4
        results.close()
