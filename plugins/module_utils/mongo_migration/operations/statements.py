"""What writes a batch, or takes it back: a statement for each group, one for many small groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from bson.objectid import ObjectId
from pymongo import UpdateMany

from .. import matching
from ..chunks import chunks
from ..matching import ABSENT

# A statement costs the server as much as the writing of some documents. Groups of at most so few
# documents, where there are so many, are written by one statement for so many documents together;
# it looks through the list for each, so that longer lists cost more than they save.
_FEW, _MANY, _TOGETHER = 8, 4, 128

Group = dict[str, Any]  # value; before, unless the field was absent; ids


def of(field: str, groups: list[Group]) -> list[UpdateMany]:
    """Return what sets *field* in the *groups*, as long as documents hold what they held."""

    def one(group: Group) -> UpdateMany:
        held = matching.holds(field, group.get("before", ABSENT))
        return UpdateMany({"_id": {"$in": group["ids"]}, **held}, {"$set": {field: group["value"]}})

    def many(ids: list[Any], value: dict[str, Any]) -> UpdateMany:
        absent = matching.holds(field, ABSENT)
        return UpdateMany({"_id": {"$in": ids}, **absent}, [{"$set": {field: value}}])

    return _statements(groups, one, many, lambda _value: True)


def undo(field: str, groups: list[Group]) -> list[UpdateMany]:
    """Return what gives *field* back what it held, as long as documents hold what was set."""

    def one(group: Group) -> UpdateMany:
        held = matching.holds(field, group["value"])
        return UpdateMany({"_id": {"$in": group["ids"]}, **held}, back(field, group))

    def many(ids: list[Any], value: dict[str, Any]) -> UpdateMany:
        held = {"$expr": {"$eq": [f"${field}", value]}}
        return UpdateMany({"_id": {"$in": ids}, **held}, {"$unset": {field: ""}})

    # To an expression, 1 equals 1.0; an ObjectId equals nothing but itself.
    return _statements(groups, one, many, lambda value: isinstance(value, ObjectId))


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
    return [
        *map(one, large),
        *(many(*_listed(pairs)) for pairs in chunks(_pairs(small), _TOGETHER)),
    ]


def _listed(pairs: list[tuple[Any, Any]]) -> tuple[list[Any], dict[str, Any]]:
    """Return the ids, and an expression for the value that belongs to a document's."""
    ids, values = [list(column) for column in zip(*pairs, strict=True)]
    place = {"$indexOfArray": [{"$literal": ids}, "$_id"]}
    return ids, {"$arrayElemAt": [{"$literal": values}, place]}


def _pairs(groups: list[Group]) -> Iterable[tuple[Any, Any]]:
    return ((identity, group["value"]) for group in groups for identity in group["ids"])
