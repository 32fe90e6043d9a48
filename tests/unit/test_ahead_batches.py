"""Batches are handed out in order, and the next page is read while the last one is written."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from mongo_migration.operations.read_ahead import Ahead, Position


@dataclass
class Batch:
    """Numbers up to *last*."""

    last: int

    @property
    def after(self) -> dict[str, Any]:
        return {"last": self.last}


class Numbers:
    """Reads the numbers up to 7, three a page, or one where it has to be fresh."""

    def __init__(self) -> None:
        self.read: list[tuple[int, bool]] = []
        self.reading = threading.Event()

    def __call__(self, position: Position, fresh: bool) -> list[Batch]:
        first = position.get("last", 0) + 1
        self.read.append((first, fresh))
        self.reading.set()
        return [Batch(one) for one in range(first, min(8, first + (1 if fresh else 3)))]


def test_all_batches_come_in_order_and_then_none():
    with closing(Ahead(Numbers(), {})) as batches:
        assert [batch.last for batch in iter(batches.next, None)] == [1, 2, 3, 4, 5, 6, 7]
        assert batches.next() is None


def test_the_next_page_is_read_when_the_last_batch_of_a_page_is_handed_out():
    numbers = Numbers()
    with closing(Ahead(numbers, {})) as batches:
        batches.next()
        batches.next()
        assert numbers.read == [(1, False)]
        numbers.reading.clear()
        batches.next()
        assert numbers.reading.wait(5)
        assert numbers.read == [(1, False), (4, False)]


def test_after_a_restart_one_fresh_batch_and_pages_from_there():
    numbers = Numbers()
    with closing(Ahead(numbers, {})) as batches:
        assert [batches.next(), batches.next()] == [Batch(1), Batch(2)]
        batches.restart({"last": 1}, fresh=True)
        assert [batches.next(), batches.next()] == [Batch(2), Batch(3)]
    assert numbers.read[-2:] == [(2, True), (3, False)]


def test_an_error_of_reading_reaches_the_one_who_asks():
    def broken(position: Position, fresh: bool) -> list[Batch]:
        raise ValueError("no server")

    with closing(Ahead(broken, {})) as batches, pytest.raises(ValueError, match="no server"):
        batches.next()
