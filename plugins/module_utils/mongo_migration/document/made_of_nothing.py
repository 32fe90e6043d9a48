"""Expressions of an ``update`` that make a value where a document has none.

MongoDB's conversions and sums give null for a missing field, and ``$toLower`` empty text. Who
writes ``set: {price: {expression: {$toDecimal: $price}}}`` rarely wants a price of null in
documents without one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import reads

_MAKES = frozenset(
    [
        "$toBool",
        "$toDate",
        "$toDecimal",
        "$toDouble",
        "$toInt",
        "$toLong",
        "$toObjectId",
        "$toString",
        "$convert",
        "$dateFromString",
        "$dateToString",
        "$dateTrunc",
        "$dateAdd",
        "$dateSubtract",
        "$add",
        "$subtract",
        "$multiply",
        "$divide",
        "$abs",
        "$ceil",
        "$floor",
        "$round",
        "$trunc",
        "$mod",
        "$toLower",
        "$toUpper",
        "$trim",
        "$ltrim",
        "$rtrim",
        "$concat",
        "$substr",
        "$substrCP",
        "$substrBytes",
        "$replaceAll",
        "$replaceOne",
        "$split",
        "$map",
        "$filter",
        "$reverseArray",
        "$sortArray",
        "$setUnion",
        "$concatArrays",
    ]
)
# The part of an operator with names that may be the field itself.
_INPUTS = ("input", "date", "dateString", "startDate")


def places(options: Mapping[str, Any], where: str) -> Iterator[str]:
    """Yield the places of expressions that turn a missing field of the same path into a value.

    Args:
        options: of an ``update``.
        where: of the step.
    """
    for place, level in reads.levels(options, where):
        root = "$" if level is options else "$$this."
        for path, source in level.get("set", {}).items():
            if level is options and _asks_for(options.get("where", {}), path):
                continue
            if "only_if" not in options and _makes(source.get("expression"), root + path):
                yield f"{place}.set.{path}"


def _makes(expression: Any, field: str) -> bool:
    """Return whether *expression* is one of null, or of empty text, for a missing *field*."""
    if not isinstance(expression, dict) or len(expression) != 1:
        return False
    ((operator, body),) = expression.items()
    if operator not in _MAKES:
        return False
    parts = body if isinstance(body, list) else [body]
    if isinstance(body, dict) and not str(next(iter(body), "")).startswith("$"):
        if "onNull" in body:
            return False
        parts = [body[name] for name in _INPUTS if name in body]
    return any(part == field or _makes(part, field) for part in parts)


def _asks_for(tree: Any, path: str) -> bool:
    """Return whether a filter says anything of *path*, or of what it lies in or holds."""
    if isinstance(tree, list):
        return any(_asks_for(part, path) for part in tree)
    if not isinstance(tree, Mapping):
        return False
    return any(
        key == "$expr"
        or (not key.startswith("$") and key.split(".")[0] == path.split(".", maxsplit=1)[0])
        or _asks_for(value, path)
        for key, value in tree.items()
    )
