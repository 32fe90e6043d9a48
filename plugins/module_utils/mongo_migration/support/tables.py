"""Aligned text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NOTHING = "-"
WIDTH = 100


def aligned(rows: Sequence[Sequence[str]], numeric_from: int = 99) -> list[str]:
    """Return *rows* as lines; from the column *numeric_from* on, cells are flush right."""
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
