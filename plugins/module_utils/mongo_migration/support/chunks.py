"""Cutting a stream into lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def chunks(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of *size* rows; the last one may be shorter."""
    chunk: list[T] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def bounded(rows: Iterable[T], size_of: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Yield lists of rows whose sizes, by *size_of*, add up to at most *most*, or of one row."""
    chunk, size = list[T](), 0
    for row in rows:
        own = size_of(row)
        if chunk and size + own > most:
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += own
    if chunk:
        yield chunk
