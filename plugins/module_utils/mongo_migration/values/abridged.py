"""Values of the database, made small enough to be shown and kept as samples.

A sample may be a document of 16 MB. A plan holds dozens of them, and is itself kept in a document.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Bytes of text, and numbers of elements, that a person may want to read of one sample.
_BUDGET = 4_000
_PLAIN = 8  # what a number, a date, or an id costs


def abridge(value: Any, budget: int = _BUDGET) -> Any:
    """Return *value* with what exceeds *budget* replaced by a word on how much is missing.

    Args:
        value: any BSON value; what is small comes back as it was.
        budget: bytes, roughly.
    """
    return _cut(value, [budget])


def _cut(value: Any, left: list[int]) -> Any:
    if isinstance(value, str):
        return _text(value, left)
    if isinstance(value, (bytes, bytearray)) and len(value) > max(left[0], 0):
        return f"({len(value):,} bytes)"
    if isinstance(value, Mapping):
        return _mapping(value, left)
    if isinstance(value, (list, tuple)):
        return _list(value, left)
    left[0] -= len(value) if isinstance(value, (bytes, bytearray)) else _PLAIN
    return value


def _text(value: str, left: list[int]) -> str:
    room = max(left[0], 0)
    left[0] -= len(value)
    if len(value) <= room:
        return value
    return f"{value[:room]}… ({len(value):,} characters)"


def _mapping(value: Mapping[str, Any], left: list[int]) -> dict[str, Any]:
    cut: dict[str, Any] = {}
    for number, (key, item) in enumerate(value.items()):
        if left[0] <= 0:
            cut["…"] = f"{len(value) - number:,} more fields"
            break
        left[0] -= len(key)
        cut[key] = _cut(item, left)
    return cut


def _list(value: list[Any] | tuple[Any, ...], left: list[int]) -> list[Any]:
    cut: list[Any] = []
    for number, item in enumerate(value):
        if left[0] <= 0:
            cut.append(f"… {len(value) - number:,} more")
            break
        cut.append(_cut(item, left))
    return cut
