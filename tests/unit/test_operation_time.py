"""A set that has just begun gives no time with its replies: it is waited for, and not for ever."""

from __future__ import annotations

from typing import Any

import pytest
from bson.timestamp import Timestamp
from mongo_migration.errors import ConnectionFailedError
from mongo_migration.server import operation_time

TIME = Timestamp(1_795_395_933, 1)


class Replies:
    """Answers `ping` as a server does that comes to give its time after some replies."""

    def __init__(self, without: int) -> None:
        self.admin = self
        self.now = 0.0
        self._without = without

    def command(self, _name: str) -> dict[str, Any]:
        self._without -= 1
        return {"ok": 1} if self._without >= 0 else {"ok": 1, "operationTime": TIME}

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def present(replies: Any) -> Timestamp:
    return operation_time.present(replies, clock=lambda: replies.now, sleep=replies.sleep)


def test_it_is_waited_for():
    replies = Replies(without=5)
    assert present(replies) == TIME
    assert replies.now > 0


def test_not_for_ever():
    replies = Replies(without=10_000)
    with pytest.raises(ConnectionFailedError, match="no time with its replies for 30 s"):
        present(replies)
    assert replies.now <= operation_time.WAIT_SECONDS + 1
