"""Filters and expressions that tell one state of a field from another, exactly.

MongoDB's own equality is wider than it looks: ``null`` also finds missing fields, a value also
finds arrays that hold it, and ``1`` also finds ``1.0``. Undoing a change must not rest on that.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any, Final

import bson
from bson.binary import Binary, UuidRepresentation
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.errors import InvalidId
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.regex import Regex

EMPTY: Final = ("missing", "null", "empty_string")
INVALID: Final = ("wrong_type", "dangling")
# By the byte that stands for a type in BSON: https://bsonspec.org/spec.html
_TYPE_NAMES: Final = {
    1: "double",
    2: "string",
    3: "object",
    4: "array",
    5: "binData",
    7: "objectId",
    8: "bool",
    9: "date",
    10: "null",
    11: "regex",
    13: "javascript",
    15: "javascriptWithScope",
    16: "int",
    17: "timestamp",
    18: "long",
    19: "decimal",
    127: "maxKey",
    255: "minKey",
}
_NULLISH: Final = ["missing", "null"]
# Deprecated, and read by drivers as another type: what was read can't be written back.
OLD_TYPE: Final = "old_type"
_OLD_TYPES: Final = ["undefined", "symbol", "dbPointer"]
_ENCRYPTED: Final = 6  # a subtype of binary data
_LONG: Final = 1 << 63
_MOST_DIGITS: Final = 19  # a long has no more


class _Absent:
    """The state of a field that isn't there."""

    def __repr__(self) -> str:
        return "absent"


ABSENT: Final = _Absent()


def same(left: Any, right: Any) -> bool:
    """Return whether two values are the same BSON, type and order of keys included."""
    if left is ABSENT or right is ABSENT:
        return left is right
    return bson.encode({"v": left}) == bson.encode({"v": right})


def hashable(value: Any) -> bytes:
    """Return *value* in a form that a set can hold and in which no two types are equal."""
    return bson.encode({"v": value})


def holds(field: str, value: Any) -> dict[str, Any]:
    """Return a filter for documents whose *field* holds exactly *value* (or is ABSENT)."""
    if value is ABSENT:
        return {field: {"$exists": False}}
    if isinstance(value, ObjectId):
        # The common case, without $expr: a plain comparison that isn't an array.
        return {field: {"$eq": value, "$not": {"$type": "array"}}}
    path, kind = f"${field}", bson_type(value)
    same: dict[str, Any] = {"$eq": [path, {"$literal": value}]}
    if kind == "string":
        # A comparison would follow the collection's collation, for which "Tea" may be "tea".
        size = len(value.encode())
        begins = {"$eq": [{"$indexOfBytes": [path, {"$literal": value}]}, 0]}
        same = {"$and": [{"$eq": [{"$strLenBytes": path}, size]}, begins]}
    return {"$expr": {"$cond": [{"$eq": [{"$type": path}, kind]}, same, False]}}


def one_of(field: str, values: Iterable[Any]) -> dict[str, Any]:
    """Return a filter for documents whose *field* holds one of *values*, or a list with one.

    Whatever they look like: in ``$in``, a regular expression is a pattern, and a document that
    begins with an operator is refused.
    """
    plain, odd = list[Any](), list[Any]()
    for value in values:
        (odd if _reads_as_query(value) else plain).append(value)
    if not odd:
        return {field: {"$in": plain}}
    return {"$or": [{field: {"$in": plain}}, *({field: {"$eq": value}} for value in odd)]}


def _reads_as_query(value: Any) -> bool:
    if isinstance(value, Mapping):
        return str(next(iter(value), "")).startswith("$")
    return isinstance(value, Regex | re.Pattern | DBRef)


def bson_type(value: Any) -> str:
    """Return the name that ``$type`` gives to *value*, as the driver would store it."""
    if isinstance(value, ObjectId):  # the common case
        return "objectId"
    # The encoder alone knows: a Code is a str to Python, and an int may be one of two types.
    return _TYPE_NAMES[bson.encode({"v": value})[4]]


def candidate(field: str, kind: str | None, valid: list[Any] | None, keep_invalid: bool) -> Any:
    """Return a filter for documents whose *field* a ``set_field`` has to set.

    Args:
        field: the touched field.
        kind: the BSON type that it must have, if one was declared.
        valid: the values that it may have (the ids of what it refers to), if declared.
        keep_invalid: only empty fields count; values of another type stay.
    """
    if keep_invalid or (kind is None and valid is None):
        empty: list[Any] = [None] if kind == "string" and valid is None else [None, ""]
        return {field: {"$in": empty, "$not": {"$type": "array"}}}
    good: dict[str, Any] = {}
    if valid is not None:
        good["$in"] = valid
    else:
        good["$type"] = kind
        if kind == "string":
            good["$ne"] = ""
    if kind != "array":
        good["$not"] = {"$type": "array"}
    return {"$nor": [{field: good}]}


def category(field: str, kind: str | None) -> dict[str, Any]:
    """Return an expression that says why a candidate is one."""
    path = f"${field}"
    branches: list[dict[str, Any]] = [
        {"case": {"$in": [{"$type": path}, _OLD_TYPES]}, "then": OLD_TYPE},
        {"case": {"$eq": [{"$type": path}, "missing"]}, "then": "missing"},
        {"case": {"$in": [{"$type": path}, _NULLISH]}, "then": "null"},
        {"case": {"$eq": [path, ""]}, "then": "empty_string"},
    ]
    if kind is not None:
        branches.append({"case": {"$ne": [{"$type": path}, kind]}, "then": "wrong_type"})
    return {"$switch": {"branches": branches, "default": "dangling"}}


def ids_in(text: str) -> list[Any]:
    """Return the ids that *text* may stand for: an ObjectId, a UUID, a number."""
    found: list[Any] = []
    with suppress(InvalidId):
        found.append(ObjectId(text))
    with suppress(ValueError):
        found.append(Binary.from_uuid(uuid.UUID(text), UuidRepresentation.STANDARD))
    if text.isascii() and text.isdigit() and len(text) < _MOST_DIGITS:
        found.append(int(text))
    return found


def equal_token(value: Any) -> bytes:
    """Return *value* so that what the server calls equal is: 1, 1.0 and a decimal 1.00."""
    number = value.to_decimal() if isinstance(value, Decimal128) else value
    if isinstance(number, bool) or not isinstance(number, (int, float, Decimal)):
        return hashable(value)
    if math.isfinite(number) and number == int(number) and -_LONG < int(number) < _LONG:
        return hashable(Int64(int(number)))
    return hashable(float(number))


def is_encrypted(value: Any) -> bool:
    """Return whether *value* was encrypted by a client, so that only a client can judge it."""
    return isinstance(value, Binary) and value.subtype == _ENCRYPTED


def bind_now(tree: Any, now: Any) -> Any:
    """Return *tree* with every ``$$now`` replaced by the instant of the run."""
    if isinstance(tree, dict):
        return {key: bind_now(value, now) for key, value in tree.items()}
    if isinstance(tree, list):
        return [bind_now(value, now) for value in tree]
    return now if isinstance(tree, str) and tree == "$$now" else tree
