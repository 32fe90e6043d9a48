"""Rules for what documents of ours look like: whether a value is right, and what is wrong.

A rule is a type, several, or a function. A type is meant exactly: to Python, True is a number and
JavaScript code is text, and to nobody else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from bson import Int64, ObjectId, Regex

from ..support import neutral
from ..values import ejson

Rule = type | tuple[type, ...] | Callable[[Any], bool]
Shape = Mapping[str, Rule]

# What JSON and every driver hold exactly. Whatever we count stays far below.
MOST = 1 << 53
# Of ids, looked at first: there are a million of them.
_COMMON = frozenset({ObjectId, Int64, int, str})
_LONGEST_WORD = 200
_DIGEST = re.compile(r"[0-9a-f]{32}\Z")


def keeps(value: Any, rule: Rule) -> bool:
    """Return whether *value* is as *rule* says."""
    if isinstance(rule, tuple):
        return any(keeps(value, one) for one in rule)
    if rule is str:
        return type(value) is str
    if rule is int:
        return number(value)
    if isinstance(rule, type):
        return isinstance(value, rule)
    return bool(rule(value))


def wrong(found: Any, rules: Shape) -> str:
    """Return the first thing in which *found* isn't of a shape, or nothing."""
    if not isinstance(found, Mapping):
        return "it is not a document"
    for key, rule in rules.items():
        if not keeps(found.get(key), rule):
            return f"its {key} is {ejson.short(found[key])}" if key in found else f"it has no {key}"
    return ""


def number(value: Any) -> bool:
    """Return whether *value* is a whole number, below or above zero."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MOST


def count(value: Any) -> bool:
    """Return whether *value* is a number of things."""
    return number(value) and value >= 0


def seconds(value: Any) -> bool:
    """Return whether *value* is a duration."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST


def digest(value: Any) -> bool:
    """Return whether *value* is a digest over documents, as :mod:`..values.digest` writes it."""
    return type(value) is str and bool(_DIGEST.match(value))


def word(value: Any) -> bool:
    """Return whether *value* is a short text on one line, as names of ours are."""
    return type(value) is str and 0 < len(value) <= _LONGEST_WORD and neutral.line(value) == value


def field(value: Any) -> bool:
    """Return whether *value* can be the name or path of a field that is written to."""
    return (
        type(value) is str
        and value != "_id"
        and all(part and part[0] != "$" for part in value.split("."))
    )


def identity(value: Any) -> bool:
    """Return whether *value* can be a document's ``_id``; what can't might be taken for a filter.

    https://www.mongodb.com/docs/manual/core/document/#the-_id-field
    """
    if type(value) in _COMMON:
        return True
    if isinstance(value, Mapping):
        return not any(str(key).startswith("$") for key in value)
    return not isinstance(value, list | tuple | Regex | re.Pattern)


def documents(value: Any) -> bool:
    """Return whether *value* is a list of documents that each have an ``_id``."""
    return isinstance(value, list) and all(
        isinstance(one, dict) and "_id" in one and identity(one["_id"]) for one in value
    )


def each(rules: Shape) -> Callable[[Any], bool]:
    """Return a rule for a list of documents of one shape."""
    return lambda value: isinstance(value, list) and not any(wrong(one, rules) for one in value)


def each_is(rule: Rule) -> Callable[[Any], bool]:
    """Return a rule for a list of values that all keep *rule*."""
    return lambda value: isinstance(value, list) and all(keeps(one, rule) for one in value)


texts = each_is(str)


def mapped(rule: Rule) -> Callable[[Any], bool]:
    """Return a rule for a document whose values all keep *rule*, whatever their keys are."""
    return lambda value: (
        isinstance(value, Mapping) and all(keeps(one, rule) for one in value.values())
    )


def shaped(rules: Shape) -> Callable[[Any], bool]:
    """Return a rule for a document of a shape."""
    return lambda value: not wrong(value, rules)


def optional(rule: Rule) -> Callable[[Any], bool]:
    """Return *rule*, kept by a key that is missing or null as well."""
    return lambda value: value is None or keeps(value, rule)
