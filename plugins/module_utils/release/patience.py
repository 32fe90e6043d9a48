"""Asking again where the other side asks for patience, within a bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_LONGEST_PAUSE = 8.0


def patiently(
    attempt: Callable[[], tuple[T, float | None]],
    *,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Return what *attempt* gives in the end.

    Args:
        attempt: gives its result, and after how many seconds it may be repeated: 0 leaves that to
            this function, None means that it is final.
        seconds: that all pauses together may take; one that doesn't fit isn't begun.
        clock: seconds that only grow.
        sleep: waits for seconds.
    """
    end = clock() + seconds
    pause = 1.0
    while True:
        result, asked = attempt()
        if asked is None or clock() + (asked or pause) > end:
            return result
        sleep(asked or pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
