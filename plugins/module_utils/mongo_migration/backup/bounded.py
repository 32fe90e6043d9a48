"""Reading what nobody vouches for yet: of bounded size, number of values and depth."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import IO, Any

# The manifest of 10,000 collections is half as large.
MOST_BYTES = 32 << 20
_MOST_VALUES = 2_000_000


def read(file: IO[bytes], most: int = MOST_BYTES) -> bytes:
    """Return all of *file*.

    Raises:
        ValueError: it is longer than *most* bytes.
    """
    content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it is longer than {most >> 20 or 1} MiB")
    return content


def parse_json(text: bytes, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Return what the JSON *text* says; *hook* is told of each object.

    Raises:
        ValueError: it isn't JSON, or more of it than anything of ours.
    """
    if len(text) > MOST_BYTES:
        raise ValueError(f"it is longer than {MOST_BYTES >> 20} MiB")
    if sum(text.count(mark) for mark in (b",", b"[", b"{")) > _MOST_VALUES:
        raise ValueError(f"it holds more than {_MOST_VALUES:,} values")
    try:
        return json.loads(text, object_hook=hook)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
