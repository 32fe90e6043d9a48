"""What writes a batch: a statement for each group of documents, or one for many small groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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
    small: list[Group] = []
    large: list[Group] = []
    for group in groups:
        few = "before" not in group and len(group["ids"]) <= _FEW
        (small if few else large).append(group)
    if len(small) < _MANY:
        small, large = [], groups
    return [
        *(_one(field, group) for group in large),
        *(_many(field, pairs) for pairs in chunks(_pairs(small), _TOGETHER)),
    ]


def _one(field: str, group: Group) -> UpdateMany:
    held = matching.holds(field, group.get("before", ABSENT))
    return UpdateMany({"_id": {"$in": group["ids"]}, **held}, {"$set": {field: group["value"]}})


def _many(field: str, pairs: list[tuple[Any, Any]]) -> UpdateMany:
    ids, values = [list(column) for column in zip(*pairs, strict=True)]
    place = {"$indexOfArray": [{"$literal": ids}, "$_id"]}
    return UpdateMany(
        {"_id": {"$in": ids}, **matching.holds(field, ABSENT)},
        [{"$set": {field: {"$arrayElemAt": [{"$literal": values}, place]}}}],
    )


def _pairs(groups: list[Group]) -> Iterable[tuple[Any, Any]]:
    return ((identity, group["value"]) for group in groups for identity in group["ids"])
