"""Computing that overlaps: in a few threads, with the results in order."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# A thread that is back from compressing waits so long for the interpreter, while another one cuts
# replies into documents. Python's own 5 ms are as long as the compressing of a chunk.
_SWITCH_SECONDS = 0.0005


@contextmanager
def switching_often() -> Iterator[None]:
    """Let the interpreter change between threads more often than usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def in_order(
    pool: ThreadPoolExecutor,
    work: Callable[[Item], Result],
    items: Iterable[Item],
    depth: int = 4,
) -> Generator[Result, None, None]:
    """Yield ``work(item)`` for each item in order, with up to *depth* of them under way."""
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) >= depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
