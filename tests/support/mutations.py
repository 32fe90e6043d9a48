"""One value of a document put wrong, in each way in which a hostile or clumsy hand could."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from random import Random
from typing import Any, Final

from bson import Int64, MinKey, ObjectId, Regex, Timestamp
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128

from .hostile import EVERYTHING

Path = tuple[str | int, ...]
MISSING: Final = object()
_DEEP = 80


def _nested(levels: int) -> Any:
    found: Any = 1
    for _level in range(levels):
        found = {"a": [found]}
    return found


VALUES: tuple[Any, ...] = (
    *(MISSING, None, "", "x", EVERYTHING.replace("\0", ""), "x" * 5000, "$$ROOT", "_migrations"),
    *(-1, 0, 1, 2**31, Int64(2**63 - 1), Int64(-(2**63)), 1.5, float("nan"), float("inf")),
    *(True, False, [], {}, [[]], [None], [1], ["x"], [{}], {"a": 1}, {"a.b": 1}, {"": 1}),
    *({"$where": "sleep(9999)"}, {"$gt": ""}, Regex(".*"), Code("while(1){}"), _nested(_DEEP)),
    *(Timestamp(1, 1), MinKey(), Binary(b"x"), Binary(b"", 4), ObjectId(), Decimal128("NaN")),
    *(DatetimeMS(2**62), DatetimeMS(-(2**62))),
)


def paths(value: Any, depth: int = 5, above: Path = ()) -> Iterator[Path]:
    """Yield the way to each part of a document, of lists to their first two items."""
    parts: Any = ()
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list):
        parts = enumerate(value[:2])
    for key, inner in parts if depth else ():
        yield (*above, key)
        yield from paths(inner, depth - 1, (*above, key))


def mutated(document: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """Return *document* with another *value* at *path*."""
    copied = copy.deepcopy(document)
    here: Any = copied
    for key in path[:-1]:
        here = here[key]
    if value is MISSING:
        del here[path[-1]]
    else:
        here[path[-1]] = value
    return copied


def one(document: dict[str, Any], random: Random, *, but: tuple[str, ...]) -> tuple[Any, str]:
    """Return *document* with one part put wrong, and in words what it is.

    Args:
        document: from the database.
        random: chooses.
        but: top-level keys that stay as they are.
    """
    path = random.choice([found for found in paths(document) if found[0] not in but])
    value = random.choice(VALUES)
    words = "missing" if value is MISSING else repr(value)[:60]
    return mutated(document, path, value), f"{'.'.join(map(str, path))}: {words}"
