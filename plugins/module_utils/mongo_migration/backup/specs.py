"""Options of collections and specifications of indexes: what can't be one, and what used to be.

Old servers took what today's refuse: ``{"a": true}`` for an ascending index, ``background: "1"``,
``safe: null``. What it meant is known, so that it is put in today's words; all else is refused by
name before anything is touched.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bson.decimal128 import Decimal128

# Fields of a command: options with such names would say something else to the server.
_COMMAND = frozenset(
    {
        "create", "lsid", "txnNumber", "autocommit", "startTransaction", "stmtId", "stmtIds",
        "writeConcern", "readConcern", "comment", "maxTimeMS", "apiVersion", "apiStrict",
        "apiDeprecationErrors", "idIndex",
    }
)  # fmt: skip
_OPTIONS = frozenset(
    {
        "capped", "size", "max", "storageEngine", "validator", "validationLevel",
        "validationAction", "indexOptionDefaults", "viewOn", "pipeline", "collation",
        "timeseries", "expireAfterSeconds", "clusteredIndex", "changeStreamPreAndPostImages",
        "recordPreImages", "encryptedFields",
    }
)  # fmt: skip
# What old servers kept with a collection and nothing reads any more.
_PAST_OPTIONS = frozenset(
    {
        "create", "autoIndexId", "flags", "temp", "uuid", "safe", "w", "wtimeout", "j", "fsync",
        "strict", "$nExtents", "initialNumExtents", "ns", "writeConcern", "background", "idIndex",
        "autoReIndex", "validate",
    }
)  # fmt: skip
_PAST_INDEX_OPTIONS = frozenset(
    {"ns", "safe", "w", "wtimeout", "j", "fsync", "dropDups", "writeConcern", "_id", "async"}
)
_FLAGS = ("background", "unique", "sparse", "hidden", "prepareUnique", "clustered")
_NUMBERS = ("bits", "min", "max", "bucketSize", "textIndexVersion", "2dsphereIndexVersion")
_INDEX_OPTIONS = frozenset(
    {
        "v", "key", "name", "expireAfterSeconds", "partialFilterExpression", "storageEngine",
        "weights", "default_language", "language_override", "collation", "wildcardProjection",
        "columnstoreProjection", *_FLAGS, *_NUMBERS,
    }
)  # fmt: skip
_PLUGINS = frozenset({"2d", "2dsphere", "text", "hashed", "wildcard", "columnstore"})
_OLDEST, _NEWEST = 1, 2  # versions of indexes that servers of today make
_LONGEST = (1 << 31) - 1
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def problem(options: Mapping[str, Any], indexes: Iterable[Mapping[str, Any]]) -> str | None:
    """Return why no collection can have *options* and *indexes*; None if it may."""
    for option in options:
        if option in _COMMAND or option.startswith("$"):
            return f"'{option}' isn't an option of a collection"
    seen = set[str]()
    for index in indexes:
        name, key = index.get("name"), index.get("key")
        if not isinstance(name, str) or not isinstance(key, Mapping) or not key:
            return f"the index {name!r} has no name or no key"
        if name in seen:
            return f"it has two indexes of the name {name!r}"
        seen.add(name)
    return None


def restorable(
    options: Mapping[str, Any], indexes: Iterable[Mapping[str, Any]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return both without what servers keep of the past, but refuse to make anew."""
    return (
        {key: value for key, value in options.items() if key not in ("autoIndexId", "temp")},
        [_restorable_index(one) for one in indexes],
    )


def _restorable_index(index: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in index.items() if key not in _PAST_INDEX_OPTIONS}
    key = {
        field: value if isinstance(value, str) else _direction("", field, value)
        for field, value in index["key"].items()
    }
    if any(not _same(key[field], value) for field, value in index["key"].items()):
        kept["key"] = key
    return kept


def normalized(
    options: Mapping[str, Any],
    indexes: Iterable[Mapping[str, Any]],
    told: Callable[[str], None],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return *options* and *indexes* of an old dump in the words of today's servers.

    Args:
        options: of the collection.
        indexes: of the collection.
        told: gets a sentence for whatever was changed.

    Raises:
        ValueError: something has no meaning that is known; the message names it.
    """
    kept = _options(options, told)
    return kept, [_index(one, told) for one in indexes]


def _options(options: Mapping[str, Any], told: Callable[[str], None]) -> dict[str, Any]:
    kept = {}
    for key, value in options.items():
        if key in _PAST_OPTIONS:
            if key not in ("create", "autoIndexId", "flags", "uuid", "idIndex"):
                told(f"the option {key} is left out: servers know it no more")
        elif key not in _OPTIONS:
            raise ValueError(f"the option '{key}' is none that a collection can have")
        else:
            kept[key] = value
    return _bounds(kept)


def _bounds(kept: dict[str, Any]) -> dict[str, Any]:
    """Return *kept* with the options of a capped collection as they mean something, or without."""
    if "capped" in kept:
        kept["capped"] = _flag("capped", kept["capped"])
    if not kept.get("capped"):
        for key in ("capped", "size", "max"):  # mean nothing by themselves
            kept.pop(key, None)
        return kept
    for key in ("size", "max"):
        if key in kept:
            kept[key] = _number(key, kept[key])
    if "size" not in kept:
        raise ValueError("it is capped, without a size")
    return kept


def _index(index: Mapping[str, Any], told: Callable[[str], None]) -> dict[str, Any]:
    name = index.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"an index has no name: {dict(index)}")
    where = f"the index {name}"
    kept: dict[str, Any] = {}
    for option, value in index.items():
        if option in _PAST_INDEX_OPTIONS:
            if option not in ("ns", "_id"):
                told(f"of {where}, {option} is left out: servers know it no more")
        elif option not in _INDEX_OPTIONS:
            raise ValueError(f"{where} has the option '{option}', which no index can have")
        elif option in _FLAGS:
            kept[option] = _flag(f"{where}: {option}", value)
        elif option in _NUMBERS:
            kept[option] = _number(f"{where}: {option}", value)
        else:
            kept[option] = value
    _set_version(where, kept, told)
    kept["key"] = _key(where, kept.get("key"), told)
    if "expireAfterSeconds" in kept:
        seconds = _number(f"{where}: expireAfterSeconds", kept["expireAfterSeconds"])
        if not 0 <= seconds <= _LONGEST:
            raise ValueError(f"{where}: expireAfterSeconds is {seconds}, which no server takes")
        kept["expireAfterSeconds"] = seconds
    return kept


def _set_version(where: str, kept: dict[str, Any], told: Callable[[str], None]) -> None:
    version = _number(f"{where}: v", kept.get("v", _NEWEST))
    if version < _OLDEST:
        told(f"{where} is of version {version}, which no server makes any more; it becomes 2")
        version = _NEWEST
    if version > _NEWEST:
        raise ValueError(f"{where} is of version {version}, which isn't known")
    kept["v"] = version


def _key(where: str, key: Any, told: Callable[[str], None]) -> dict[str, Any]:
    if not isinstance(key, Mapping) or not key:
        raise ValueError(f"{where} has no key")
    if "geoHaystack" in key.values():
        raise ValueError(f"{where} is a geoHaystack index, which no server makes any more")
    found = {field: _direction(where, field, value) for field, value in key.items()}
    changed = [field for field in key if not _same(key[field], found[field])]
    if changed:
        told(f"of {where}, the key's {', '.join(changed)} is written as servers of today have it")
    return found


def _direction(where: str, field: str, value: Any) -> Any:
    """Return how *field* is indexed. An old server took for ascending all but a negative number."""
    if isinstance(value, str):
        if value in _PLUGINS:
            return value
        if not _NUMBER.fullmatch(value):
            raise ValueError(f"{where} has the kind {value!r} for {field}, which isn't known")
        value = float(value)
        return -1 if value < 0 else 1
    if isinstance(value, Decimal128) and value.to_decimal():
        return value if value.to_decimal().is_finite() else 1
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 1
    if math.isnan(value) or value == 0:
        return 1
    return value


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def _flag(what: str, value: Any) -> bool:
    """Return whether *value* is true, in any of the words that were used."""
    if isinstance(value, str):
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "": False}
        if value.lower() not in words:
            raise ValueError(f"{what} is {value!r}, which is neither true nor false")
        return words[value.lower()]
    if value is None or isinstance(value, bool | int | float):
        return bool(value)
    raise ValueError(f"{what} is {value!r}, which is neither true nor false")


def _number(what: str, value: Any) -> int | float:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{what} is {value!r}, which isn't a number")
    return int(value) if value == int(value) else value
