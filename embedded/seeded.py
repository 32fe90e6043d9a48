"""What a seeded database is said to hold, and the ids of its documents."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

from bson import ObjectId

# A day that never changes, so that tests see the same data every year.
TODAY = datetime(2026, 10, 31, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """The documents of one dirty case."""

    collection: str
    ids: list[Any]


@dataclass
class Company:
    """What was made."""

    organizations: list[ObjectId]
    users: dict[ObjectId, list[ObjectId]]  # by organization
    counts: dict[str, int] = field(default_factory=dict)  # documents by collection
    cases: dict[str, Case] = field(default_factory=dict)  # by name, see dirty.py
    today: datetime = TODAY

    @property
    def total(self) -> int:
        """All documents."""
        return sum(self.counts.values())


class Identifiers:
    """ObjectIds that are the same in every run and ascend as real ones do."""

    def __init__(self, dice: random.Random, since: datetime):
        self._second = int(since.timestamp())
        self._process = dice.randbytes(5)
        self._next = count()

    def __call__(self) -> ObjectId:
        """Return the next one."""
        number = next(self._next)
        return ObjectId(
            (self._second + number // 50).to_bytes(4, "big")
            + self._process
            + (number % 2**24).to_bytes(3, "big")
        )
