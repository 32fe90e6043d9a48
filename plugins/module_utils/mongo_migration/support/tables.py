"""Aligned text for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

NOTHING = "-"
# How wide a paragraph is at most, and a table where nobody knows the screen.
WIDTH, _LOG = 100, 120
_width: ContextVar[int] = ContextVar("width", default=_LOG)


@contextmanager
def as_wide_as(columns: int) -> Iterator[None]:
    """Make lines of at most *columns* characters meanwhile, where that can be done."""
    token = _width.set(columns)
    try:
        yield
    finally:
        _width.reset(token)


def width() -> int:
    """Return how wide lines may be."""
    return _width.get()


def aligned(rows: Sequence[Sequence[str]], numeric_from: int = 99) -> list[str]:
    """Return *rows* as lines, the first being the heading.

    From the column *numeric_from* on, cells are flush right. Where a line would be too wide, what
    is the same in every row stands before the table, and columns of nothing are left out; where
    that isn't enough, each row becomes a paragraph of its own.
    """
    lines = _table(rows, numeric_from)
    if len(lines[0]) <= width():
        return lines
    same = _same(rows, numeric_from)
    empty = _empty(rows, numeric_from)
    kept = [
        [cell for column, cell in enumerate(row) if column not in same and column not in empty]
        for row in rows
    ]
    shown = [f"{rows[0][column]}: {cell}" for column, cell in same.items()]
    lines = _table(kept, numeric_from - len(same))
    if len(lines[0]) <= width():
        return [*shown, *lines]
    return [*shown, *_paragraphs(kept, numeric_from - len(same))]


def folded(words: Sequence[str], *, indent: str) -> list[str]:
    """Return *words* behind *indent* on as many lines as they need, no word divided."""
    lines = [indent + words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) + 2 > width():
            lines.append(indent + word)
        else:
            lines[-1] += f", {word}"
    return lines


def _same(rows: Sequence[Sequence[str]], numeric_from: int) -> dict[int, str]:
    """Return the columns of text, but for the first, that say the same in every row."""
    found = {}
    for column in range(1, min(numeric_from, len(rows[0]))):
        cells = {row[column] for row in rows[1:] if row[column]}
        if len(cells) == 1:
            found[column] = cells.pop()
    return found


def _empty(rows: Sequence[Sequence[str]], numeric_from: int) -> set[int]:
    """Return the columns of numbers in which there is none."""
    return {
        column
        for column in range(numeric_from, len(rows[0]))
        if all(row[column] in ("", NOTHING) for row in rows[1:])
    }


def _paragraphs(rows: Sequence[Sequence[str]], numeric_from: int) -> list[str]:
    heading, *others = rows
    lines = []
    for row in others:
        lines.append("  ".join(filter(None, row[:numeric_from])))
        named = zip(heading[numeric_from:], row[numeric_from:], strict=True)
        if words := [f"{name} {cell}" for name, cell in named if cell not in ("", NOTHING)]:
            lines += folded(words, indent="  ")
    return lines


def _table(rows: Sequence[Sequence[str]], numeric_from: int) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column >= numeric_from else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def place(row: Mapping[str, Any]) -> str:
    """Return what the database calls a plan row's collection, and the document if that differs."""
    name, real = str(row["collection"]), str(row.get("real_name", row["collection"]))
    return real if real.lower() == name.lower() else f"{real} ({name})"


def number(count: int) -> str:
    """Return *count* with separators, or a dash for none."""
    return f"{count:,}" if count else NOTHING
