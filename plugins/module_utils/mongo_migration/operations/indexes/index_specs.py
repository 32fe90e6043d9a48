"""When two specifications are of one index, whatever the server or an old tool made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...ledger import shapes
from ...values.compare import equal_token

# What a server adds to a specification by itself.
_OWN = {"v", "ns", "key", "name", "background", "buildUUID"}
_TEXT = equal_token("text")
_TEXT_DEFAULTS = {"default_language": "english", "language_override": "language"}
# Chosen by the server where nobody asks for one.
_VERSIONS = ("textIndexVersion", "2dsphereIndexVersion")
_FLAGS = ("unique", "sparse", "hidden")
# https://www.mongodb.com/docs/manual/reference/collation/
_DEFAULTS = {
    "strength": 3,
    "caseLevel": False,
    "caseFirst": "off",
    "numericOrdering": False,
    "alternate": "non-ignorable",
    "maxVariable": "punct",
    "normalization": False,
    "backwards": False,
}
# The one locale whose defaults are others.
_CANADIAN = {"locale": "fr_CA", "backwards": True}


def keys(spec: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    """Return the keys in their order: 1 and 1.0 are the same direction, true is none."""
    found: list[tuple[str, bytes]] = []
    for field, direction in spec["key"].items():
        if field == "_ftsx":
            continue
        if direction != "text":
            found.append((field, equal_token(direction)))
        elif ("_fts", _TEXT) not in found:
            # As the server keeps it: all fields of text stand together, with their weights.
            found += [("_fts", _TEXT), ("_ftsx", equal_token(1))]
    return found


def options(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return all else that was asked for, as something to compare."""
    found = {name: value for name, value in spec.items() if name not in _OWN}
    found |= {flag: bool(found.get(flag)) for flag in _FLAGS}
    found["collation"] = collation(found.get("collation"))
    if "expireAfterSeconds" in found:
        found["expireAfterSeconds"] = equal_token(found["expireAfterSeconds"])
    if "text" in spec["key"].values():
        fields = [field for field, kind in spec["key"].items() if kind == "text"]
        named = [field for field in fields if field != "_fts"]
        weights = {**dict.fromkeys(named, 1), **found.get("weights", {})}
        found["weights"] = {field: equal_token(weight) for field, weight in weights.items()}
        for name, value in _TEXT_DEFAULTS.items():
            found.setdefault(name, value)
    for name in _VERSIONS:
        found.pop(name, None)
    return found


def may_stand_beside(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether a server allows two indexes of the same keys under two names."""
    apart = ("collation", "partialFilterExpression")
    mine, others = options(one), options(other)
    return any(mine.get(name) != others.get(name) for name in apart)


def collation(asked: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a collation with all its defaults, as a server completes it; None for none."""
    if not asked or asked["locale"] == "simple":
        return None
    canadian = _CANADIAN if asked["locale"] == _CANADIAN["locale"] else {}
    whole = {**_DEFAULTS, **canadian, **asked}
    return {name: value for name, value in whole.items() if name != "version"}


def is_spec(value: Any) -> bool:
    """Return whether *value* is of the shape of an index's specification."""
    return (
        isinstance(value, dict)
        and type(value.get("name")) is str
        and bool(value.get("key"))
        and shapes.mapped((int, float, str, bool))(value["key"])
    )
