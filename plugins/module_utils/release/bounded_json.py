"""JSON from the network: at most so long and so deep, whatever the other side sends."""

from __future__ import annotations

import json
from typing import Any, Protocol

LONGEST = 5_000_000
DEEPEST = 100


class Answer(Protocol):
    """What can be read."""

    def read(self, amount: int) -> bytes:
        """Return at most *amount* bytes."""


def read(answer: Answer, *, longest: int = LONGEST) -> Any:
    """Return what *answer* holds.

    Raises:
        ValueError: it is too long, too deep, or no JSON; the message says which.
    """
    data = answer.read(longest + 1)
    if len(data) > longest:
        raise ValueError(f"it is longer than {longest:,} bytes")
    return parse(data)


def parse(data: bytes | str, *, deepest: int = DEEPEST) -> Any:
    """Return the value in *data*.

    Raises:
        ValueError: it is deeper than *deepest* levels, or no JSON.
    """
    try:
        value = json.loads(data)
    except RecursionError:
        raise _too_deep(deepest) from None
    level = [value]
    for _depth in range(deepest):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return value
    raise _too_deep(deepest)


def _too_deep(deepest: int) -> ValueError:
    return ValueError(f"it is nested deeper than {deepest} levels")
