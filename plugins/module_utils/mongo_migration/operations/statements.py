"""What writes a batch, or takes it back: a statement for each group, one for many small groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import bson
from bson.objectid import ObjectId
from pymongo import UpdateMany

from ..support.chunks import chunks
from ..values import compare
from ..values.compare import ABSENT

# A statement costs the server as much as the writing of some documents, and the groups of a batch
# lie scattered. Groups of at most so few documents, where there are so many groups, are written
# together: along ``_id``, so many documents a statement.
_FEW, _MANY, _TOGETHER = 100, 4, 128
# For each of them, such a statement holds the value: values of at most this many bytes.
_SMALL = 1024
# At most this many ids are searched one after the other.
_LISTED = 16

Group = dict[str, Any]  # value; before, unless the field was absent; ids


def of(field: str, groups: list[Group]) -> list[UpdateMany]:
    """Return what sets *field* in the *groups*, as long as documents hold what they held."""

    def one(group: Group) -> UpdateMany:
        held = compare.holds(field, group.get("before", ABSENT))
        return UpdateMany({"_id": {"$in": group["ids"]}, **held}, {"$set": {field: group["value"]}})

    def many(ids: list[Any], value: dict[str, Any]) -> UpdateMany:
        absent = compare.holds(field, ABSENT)
        return UpdateMany({"_id": {"$in": ids}, **absent}, [{"$set": {field: value}}])

    return _statements(groups, one, many, _is_small)


def undo(field: str, groups: list[Group]) -> list[UpdateMany]:
    """Return what gives *field* back what it held, as long as documents hold what was set."""

    def one(group: Group) -> UpdateMany:
        held = compare.holds(field, group["value"])
        return UpdateMany({"_id": {"$in": group["ids"]}, **held}, back(field, group))

    def many(ids: list[Any], value: dict[str, Any]) -> UpdateMany:
        held = {"$expr": {"$eq": [f"${field}", value]}}
        return UpdateMany({"_id": {"$in": ids}, **held}, {"$unset": {field: ""}})

    # To an expression, 1 equals 1.0; an ObjectId equals nothing but itself.
    return _statements(groups, one, many, lambda value: isinstance(value, ObjectId))


def _is_small(value: Any) -> bool:
    return isinstance(value, ObjectId) or len(bson.encode({"v": value})) <= _SMALL


def back(field: str, group: Group) -> dict[str, Any]:
    """Return the change that gives *field* back what it held in the documents of *group*."""
    if "before" in group:
        return {"$set": {field: group["before"]}}
    return {"$unset": {field: ""}}


def _statements(
    groups: list[Group],
    one: Callable[[Group], UpdateMany],
    many: Callable[[list[Any], dict[str, Any]], UpdateMany],
    fits: Callable[[Any], bool],
) -> list[UpdateMany]:
    """Return the statements for *groups*.

    Args:
        groups: of one batch.
        one: makes the statement of a group.
        many: makes one of some documents, and an expression that gives the value for each.
        fits: whether a value may be written by the latter.
    """
    small: list[Group] = []
    large: list[Group] = []
    for group in groups:
        few = "before" not in group and len(group["ids"]) <= _FEW and fits(group["value"])
        (small if few else large).append(group)
    if len(small) < _MANY:
        small, large = [], groups
    ids = [identity for group in small for identity in group["ids"]]
    values = [group["value"] for group in small for _ in group["ids"]]
    order: Sequence[int] = range(len(ids))
    find = _listed
    if all(isinstance(identity, ObjectId) for identity in ids):  # whose order is beyond question
        keys = [identity.binary for identity in ids]
        order, find = sorted(order, key=keys.__getitem__), _searched
    found = list(map(one, large))
    for places in chunks(order, _TOGETHER):
        some = [ids[place] for place in places]
        found.append(many(some, find(some, [values[place] for place in places])))
    return found


def _searched(ids: list[Any], values: list[Any]) -> dict[str, Any]:
    """Return an expression for the one of *values* whose place is that of ``_id`` in *ids*.

    A binary search, for which *ids* are in their order.
    """
    if len(ids) <= _LISTED:
        return _listed(ids, values)
    half = len(ids) // 2
    before, after = _searched(ids[:half], values[:half]), _searched(ids[half:], values[half:])
    return {"$cond": [{"$lt": ["$_id", ids[half]]}, before, after]}


def _listed(ids: list[Any], values: list[Any]) -> dict[str, Any]:
    """Return such an expression for *ids* in any order, which looks at one after the other."""
    place = {"$indexOfArray": [{"$literal": ids}, "$_id"]}
    return {"$arrayElemAt": [{"$literal": values}, place]}
