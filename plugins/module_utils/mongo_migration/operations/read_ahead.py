"""Batches in their order, read a page at a time while the ones before are written."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

Position = Mapping[str, Any]


class Placed(Protocol):
    """A batch that knows the position behind it."""

    @property
    def after(self) -> dict[str, Any]:
        """Return where the next one begins."""


T = TypeVar("T", bound=Placed)

# Reads the batches of a page from a position on; of one batch only, if it has to be fresh.
Read = Callable[[Position, bool], list[T]]


class Ahead(Generic[T]):
    """Hands out batches; the server reads the next page while it writes the last of this one.

    Args:
        read: reads a page; an empty one is the end. It is called in a thread of its own.
        start: where to begin.
    """

    def __init__(self, read: Read[T], start: Position) -> None:
        self._read = read
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader")
        self._pending: deque[T] = deque()
        self._coming: Future[list[T]]
        self.restart(start)

    def close(self) -> None:
        """End the thread, once it has read what it is reading."""
        self._reader.shutdown(cancel_futures=True)

    def restart(self, position: Position, *, fresh: bool = False) -> None:
        """Forget what was read, and go on from *position*; with one *fresh* batch, if asked."""
        self._pending.clear()
        self._coming = self._reader.submit(self._read, position, fresh)

    def next(self) -> T | None:
        """Return the next batch, or None at the end."""
        if not self._pending:
            self._pending.extend(self._coming.result())
            if not self._pending:
                return None
        batch = self._pending.popleft()
        if not self._pending:
            self._coming = self._reader.submit(self._read, batch.after, False)
        return batch
