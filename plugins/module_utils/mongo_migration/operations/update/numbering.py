"""Running numbers: the same after a kill and a resume, and never one of them twice."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any

from bson.decimal128 import Decimal128

from ...document import reads
from ...document.value_sources import Found
from ...errors import DefinitionError, MigrationError
from ...support import commands
from ...values.compare import hashable

Spec = Mapping[str, Any]
_NUMBERS = (int, float, Decimal128)


def check(spec: Spec, path: str, where: Mapping[str, Any], *, place: str) -> None:
    """Refuse to number anew what is chosen or ordered by the very number.

    Raises:
        DefinitionError: it is.
    """
    if not spec.get("renumber"):
        return
    read = reads.fields(filters=[where], sources=[{"number": spec}])
    if read is None or path.split(".", maxsplit=1)[0] in read:
        raise DefinitionError(
            f"{place}: with renumber, neither `where` nor `by` nor `order` may read '{path}': it "
            "changes as the numbers are given. Order by something that stays"
        )


def numbered(
    collection: Any, where: Mapping[str, Any], spec: Spec, path: str, mine: set[bytes]
) -> Iterator[tuple[Any, Found]]:
    """Yield the number of each document, as if none of *mine* had one yet.

    Where that would give one of *mine* another number than it has, documents have come since: then
    the others go on behind the largest.

    Raises:
        MigrationError: the same, where all numbers are given anew.
    """
    anew = bool(spec.get("renumber"))
    order = spec.get("order", ["_id"])
    keys = order if isinstance(order, dict) else dict.fromkeys(order, 1)
    by = spec.get("by", [])
    groups = list(by.values()) if isinstance(by, Mapping) else [f"${name}" for name in by]
    rows = list(
        collection.aggregate(
            [
                {"$match": where if anew else {"$or": [where, {path: {"$type": "number"}}]}},
                {"$sort": {**keys, "_id": keys.get("_id", 1)}},
                {"$project": {"g": groups, "n": f"${path}"}},
            ],
            allowDiskUse=True,
        )
    )
    given = dict(_given(rows, spec, {} if anew else _largest(rows, without=mine), mine))
    written = [row for row in rows if hashable(row["_id"]) in mine]
    if any(given[hashable(row["_id"])] != row.get("n") for row in written):
        if anew:
            raise MigrationError(
                f"{collection.name}: documents came or went while numbers were given anew, so that "
                f"they can't be right any more. Stop the writers ({commands.STOP_WRITERS}), roll "
                "back, and run it again."
            )
        given = dict(_given(rows, spec, _largest(rows), set()))
    for row in rows:
        number = given.get(hashable(row["_id"]), row.get("n"))
        if isinstance(number, _NUMBERS) and not isinstance(number, bool):
            yield row["_id"], Found(number, "number")


def _largest(rows: list[dict[str, Any]], *, without: Container[bytes] = ()) -> dict[bytes, int]:
    """Return the largest number that there is, by group."""
    found: dict[bytes, int] = {}
    for row in rows:
        number = row.get("n")
        if isinstance(number, (int, float)) and hashable(row["_id"]) not in without:
            group = hashable(row["g"])
            found[group] = max(found.get(group, int(number)), int(number))
    return found


def _given(
    rows: list[dict[str, Any]], spec: Spec, largest: dict[bytes, int], mine: set[bytes]
) -> Iterator[tuple[bytes, int]]:
    """Yield a number for each document that gets one: in order, behind the largest of its group."""
    for row in rows:
        token, group = hashable(row["_id"]), hashable(row["g"])
        if spec.get("renumber") or row.get("n") is None or token in mine:
            largest[group] = largest.get(group, spec.get("start", 1) - 1) + 1
            yield token, largest[group]
