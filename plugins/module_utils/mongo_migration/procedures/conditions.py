"""The checks that a document states: ``none``, ``count``, ``unique`` and ``no_rows``.

No check passes by accident: one over a collection that doesn't exist fails, and so does one over
an empty collection that was not empty before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from ..document import variables as template
from ..document.value_sources import Scope
from ..errors import DefinitionError
from ..operations import left_alone
from ..operations.base import Check
from ..values import ejson
from ..values.compare import bind_now

_KINDS = ("none", "count", "unique", "no_rows")
_SAMPLES = 5


def evaluate(
    checks: Iterable[dict[str, Any]],
    scope: Scope,
    *,
    variables: Mapping[str, Any],
    before: Mapping[str, int],
    where: str,
    to_come: Collection[str] = (),
) -> Iterator[tuple[dict[str, Any], Check | str]]:
    """Yield each check's specification with its result, or with why it doesn't apply.

    Args:
        checks: specifications, as in the document.
        scope: what is read.
        variables: for ``when``, beside ``before``.
        before: documents per collection as the plan saw them.
        where: names the part of the document in messages.
        to_come: collections that needn't exist yet, because the migration itself makes them.
    """
    for index, spec in enumerate(checks):
        values = {**variables, "before": before}
        if not template.condition(spec.get("when", True), values, where=f"{where}[{index}]"):
            yield spec, "its condition doesn't hold"
            continue
        kind, body = body_of(spec, scope.now)
        name = body["in"]
        if scope.collections.absent(name):
            yield spec, f"the inventory maps {name} to null"
            continue
        if name in to_come and not scope.collections.exists(name):
            yield spec, f"{name} doesn't exist yet"
            continue
        try:
            check = _RUN[kind](spec["name"], body, scope)
        except DefinitionError as error:
            check = missing(spec, error)
        check.severity = spec.get("severity", "error")
        if kind == "unique" and check.samples and check.severity == "warning":
            check.left_alone = _twins(spec["name"], body, scope)
        if check.passed and not check.examined and before.get(name, 0):
            check.passed = False
            check.detail = f"{name} is empty, but had {before[name]:,} documents before"
        yield spec, check


def missing(spec: Mapping[str, Any], error: DefinitionError) -> Check:
    """Return what *spec* comes to where it looks at a collection that isn't there."""
    return Check(
        name=spec["name"],
        passed=False,
        expected="the collection exists",
        observed="it doesn't exist",
        examined=0,
        detail=error.message,
        severity=spec.get("severity", "error"),
    )


def body_of(spec: Mapping[str, Any], now: Any) -> tuple[str, dict[str, Any]]:
    """Return the kind of a check, and what it says at the instant *now*."""
    kind = next(kind for kind in _KINDS if kind in spec)
    return kind, bind_now(spec[kind], now)


def pipeline_of(kind: str, body: Mapping[str, Any], scope: Scope) -> list[dict[str, Any]]:
    """Return stages whose rows a check of *kind* doesn't want: all but ``count``."""
    if kind == "none":
        return [{"$match": body["where"]}, {"$project": {"_id": 1}}]
    if kind == "no_rows":
        return scope.collections.map_pipeline(body["pipeline"])
    return [
        {"$match": body.get("where", {})},
        {
            "$group": {
                "_id": {field: f"${field}" for field in body["by"]},
                "count": {"$sum": 1},
                "ids": {"$push": "$_id"},
            }
        },
        {"$match": {"count": {"$gt": 1}}},
        {"$set": {"ids": {"$slice": ["$ids", _SAMPLES]}}},
    ]


def names(checks: Iterable[dict[str, Any]]) -> set[str]:
    """Return the collections that checks look at."""
    return {spec[kind]["in"] for spec in checks for kind in _KINDS if kind in spec}


def _none(name: str, body: dict[str, Any], scope: Scope) -> Check:
    collection = scope.collections.get(body["in"])
    found = collection.count_documents(body["where"], comment=scope.comment)
    rows = collection.find(body["where"], {"_id": 1}, comment=scope.comment).limit(_SAMPLES)
    return Check(
        name=name,
        passed=found == 0,
        expected=0,
        observed=found,
        examined=collection.count_documents({}, comment=scope.comment),
        samples=[row["_id"] for row in rows] if found else [],
    )


def _count(name: str, body: dict[str, Any], scope: Scope) -> Check:
    collection = scope.collections.get(body["in"])
    found = collection.count_documents(body.get("where", {}), comment=scope.comment)
    examined = collection.count_documents({}, comment=scope.comment)
    if "at_least" in body:
        least = body["at_least"]
        return Check(
            name=name,
            passed=found >= least,
            expected=f"at least {least:,}",
            observed=found,
            examined=examined,
        )
    expected = body["equals"]
    if isinstance(expected, dict):
        other = scope.collections.get(expected["in"])
        expected = other.count_documents(expected.get("where", {}), comment=scope.comment)
    return Check(
        name=name,
        passed=found == expected,
        expected=expected,
        observed=found,
        examined=examined,
    )


def _unique(name: str, body: dict[str, Any], scope: Scope) -> Check:
    return _rows(name, body["in"], pipeline_of("unique", body, scope), scope)


def _twins(name: str, body: dict[str, Any], scope: Scope) -> list[dict[str, Any]]:
    """Return what stands in the evidence of documents that aren't unique and needn't be."""
    rows = scope.collections.get(body["in"]).aggregate(
        [*pipeline_of("unique", body, scope), {"$sort": {"_id": 1}}],
        allowDiskUse=True,
        comment=scope.comment,
    )
    ids = [row["_id"] for row in rows]
    return [left_alone.item(body["in"], name, policy="severity: warning", count=len(ids), ids=ids)]


def _no_rows(name: str, body: dict[str, Any], scope: Scope) -> Check:
    return _rows(name, body["in"], pipeline_of("no_rows", body, scope), scope)


def _rows(name: str, where: str, pipeline: list[dict[str, Any]], scope: Scope) -> Check:
    collection = scope.collections.get(where)
    rows: list[dict[str, Any]] = []
    found = 0
    for row in collection.aggregate(pipeline, allowDiskUse=True, comment=scope.comment):
        found += 1
        if len(rows) < _SAMPLES:
            rows.append(row)
    return Check(
        name=name,
        passed=found == 0,
        expected="no rows",
        observed=f"{found} rows" if found else "no rows",
        examined=collection.count_documents({}, comment=scope.comment),
        detail="; ".join(ejson.short(row) for row in rows[:2]),
        samples=rows,
    )


_RUN = {"none": _none, "count": _count, "unique": _unique, "no_rows": _no_rows}
