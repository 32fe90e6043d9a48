"""How much the server takes at once: found out by what it refuses, and tried again later.

A transaction whose changes don't fit the server's cache, or that outlives its limit, is refused at
every attempt alike, by one of several codes, by words of the storage engine, or as a conflict with
nobody. Smaller ones are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from ..server import transactions
from ..support import retry

T = TypeVar("T")

# For how long a conflict is tried again where less could be tried instead.
DIVISIBLE_SECONDS = 1.0
# TransactionTooLarge, TransactionTooLargeForCache (twice, by the version of the server):
# https://github.com/mongodb/mongo/blob/r6.0.5/src/mongo/base/error_codes.yml
_TOO_LARGE = {257, 359, 388}
_TOO_LARGE_WORDS = "will not fit in the storage engine cache"
# NoSuchTransaction, TransactionExceededLifetimeLimitSeconds: by the size of the batch, if it was at
# work for so long. The server's own limit is a minute, and can be set lower.
_ENDED = {251, 290}
_LONG_SECONDS = 10.0
# After so many batches that fitted, a larger one is tried again.
_FITTING = 20


class SmallerBatchError(Exception):
    """The server couldn't take so much at once: nothing was written, try less of it."""


class Capacity:
    """What the server took at once, after it once couldn't."""

    def __init__(self) -> None:
        self._most: int | None = None
        self._fitted = 0

    def at_once(self, documents: int) -> int:
        """Return how many of so many *documents* to try at once."""
        return documents if self._most is None else min(documents, self._most)

    def refused(self, documents: int) -> int:
        """Take note that so many were too much; return how many are tried from now on."""
        self._most, self._fitted = max(1, documents // 2), 0
        return self._most

    def fitted(self) -> None:
        """Take note of a batch that was taken."""
        self._fitted += 1
        if self._most is not None and self._fitted >= _FITTING:
            self._most, self._fitted = self._most * 2, 0

    def in_parts(self, items: Sequence[T], do: Callable[[Sequence[T]], None]) -> None:
        """Do all *items*, in as few parts as the server takes, in their order.

        Args:
            items: documents.
            do: writes some of them; raises SmallerBatchError where that is too much.
        """
        start = 0
        while start < len(items):
            part = items[start : start + self.at_once(len(items) - start)]
            try:
                do(part)
            except SmallerBatchError:
                continue
            start += len(part)


def is_too_much(client: MongoClient[Any], error: OperationFailure, seconds: float) -> bool:
    """Return whether the server may take fewer documents than it refused after *seconds*."""
    codes = retry.codes(error)
    if codes & _TOO_LARGE or _TOO_LARGE_WORDS in f"{error} {error.details}":
        return True
    if codes & _ENDED:
        return seconds >= _LONG_SECONDS
    if not retry.is_conflict(error):
        return False
    # What somebody holds, and has forgotten, is held from smaller batches, too.
    return not any(one.idle_seconds >= DIVISIBLE_SECONDS for one in transactions.look(client))
