"""Text in a value that looks as if something else were meant: a shell's call, an expression."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from typing import Any

_SHELL = re.compile(
    r"(new\s+)?(ObjectId|ISODate|Date|NumberLong|NumberInt|NumberDecimal|Decimal128|UUID|BinData|"
    r"Timestamp|RegExp)\(.*\)"
)
_PATTERN = re.compile(r"/.+/[a-z]*")
_QUOTES = ("\u201c", "\u201d", "\u2018", "\u2019", "\u201e")
_NOW = "$$now"
# Below which expressions and rules stand, and no values.
_NOT_VALUES = frozenset(
    {"expression", "pipeline", "$expr", "python", "$jsonSchema", "validator", "inputs", "within"}
)


def places(tree: Any, where: str, *, filters: bool = False) -> Iterator[str]:
    """Yield where *tree* holds such text, with what to write.

    Args:
        tree: of a document.
        where: its place.
        filters: whether this is a filter, in which text is a value to compare with.
    """
    if isinstance(tree, Mapping):
        for key, body in tree.items():
            inner = filters or key in ("where", "match") or (key == "value")
            if key in _NOT_VALUES:
                continue
            yield from places(body, f"{where}.{key}", filters=inner and key != "match")
            if isinstance(key, str) and key.startswith(_QUOTES):
                yield f"{where}: {key}: straight quotes"
    elif isinstance(tree, list):
        for index, one in enumerate(tree):
            yield from places(one, f"{where}[{index}]", filters=filters)
    elif isinstance(tree, datetime.date) and filters:
        # Whoever loads the document takes it for text; here alone it shows that it has no quotes.
        yield f"{where}: {tree}: {{$date: …}}, or text in quotes"
    elif isinstance(tree, str) and filters and (meant := _meant(tree)):
        yield f"{where}: {tree[:40]}: {meant}"


def _meant(text: str) -> str:
    if _SHELL.fullmatch(text.strip()):
        return "extended JSON, such as {$oid: …} or {$date: …}"
    if _PATTERN.fullmatch(text):
        return "{$regex: …, $options: …}"
    if text.startswith(_QUOTES):
        return "straight quotes"
    if text.startswith("$") and text != _NOW:
        return "expression:, or $expr in a filter"
    return ""


__all__ = ["places"]
