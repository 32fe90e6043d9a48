"""Keys of documents: as something to look up by, and as words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import bson

from ...values import ejson
from ...values.compare import one_of
from .contract import Key


def token(key: Key) -> bytes:
    """Return a hashable form in which values of different types differ (1, 1.0, true)."""
    return bson.encode({"k": list(key)})


def label(expression: Any) -> str:
    """Return how a message names an expression: a path by its name."""
    if isinstance(expression, str) and expression.startswith("$"):
        return expression[1:]
    return ejson.short(expression)


def selector(fields: Sequence[str], keys: Iterable[Key]) -> dict[str, Any]:
    """Return a filter for the documents whose *fields* hold one of *keys*."""
    if len(fields) == 1:
        return one_of(fields[0], (key[0] for key in keys))
    return {
        "$or": [
            {name: {"$eq": value} for name, value in zip(fields, key, strict=True)} for key in keys
        ]
    }
