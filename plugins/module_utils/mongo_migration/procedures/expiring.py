"""Documents that the server itself deletes: TTL indexes go on while a migration runs.

Such a deletion is nobody's fault, and a digest can't tell it from one that is. So what expires soon
is left out of the digests from before and after, and said.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from pymongo.database import Database

from ..document.value_sources import Scope
from ..operations import futures
from ..support import listing

_TTL = "expireAfterSeconds"
# A run and its verification, or its rollback, are over by then.
SOON = datetime.timedelta(days=1)


def rules(database: Database[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Return what documents of *name* expire by: a field, after how long, and which ones."""
    found = []
    options = listing.collection(database, name).get("options", {})
    if _TTL in options:  # a clustered collection
        found.append({"field": "_id", "seconds": options[_TTL], "where": {}})
    found += [_rule(index) for index in listing.indexes(database, name) if _TTL in index]
    return found


def _rule(index: Mapping[str, Any]) -> dict[str, Any]:
    where = index.get("partialFilterExpression", {})
    return {"field": next(iter(index["key"])), "seconds": index[_TTL], "where": dict(where)}


def due(
    database: Database[dict[str, Any]], name: str, until: datetime.datetime
) -> dict[str, Any] | None:
    """Return a filter for what expires in *name* before *until*; None where nothing ever does."""
    return _due(rules(database, name), until)


def _due(known: Iterable[Mapping[str, Any]], until: datetime.datetime) -> dict[str, Any] | None:
    found = []
    for rule in known:
        try:
            latest = until - datetime.timedelta(seconds=float(rule["seconds"]))
        except (OverflowError, ValueError):  # not in our time
            continue
        found.append({"$and": [{rule["field"]: {"$lt": latest}}, rule["where"]]})
    return {"$or": found} if found else None


def warnings(
    scope: Scope, touched: Iterable[str], built: Iterable[tuple[str, Mapping[str, Any]]]
) -> list[str]:
    """Return what a plan says of collections whose documents may expire, by now or by the steps.

    Args:
        scope: the database, now, and what the steps make of the documents.
        touched: the real names of the collections that the migration writes to.
        built: the collections that get an index, each with its specification.
    """
    new: dict[str, list[dict[str, Any]]] = {}
    for name, spec in built:
        if _TTL in spec:
            new.setdefault(name, []).append(_rule(spec))
    said = []
    for name in sorted({*touched, *new}):
        database, until = scope.collections.database, scope.now + SOON
        present = rules(database, name)
        if not present and not new.get(name):
            continue
        selector = _due(present, until)
        count = 0
        if selector is not None:
            count = database[name].count_documents(selector, comment=scope.comment)
            said.append(
                f"{name}: a TTL index deletes documents by itself, about {count:,} until this time "
                "tomorrow. What goes while the migration runs is missing in the verification, and "
                "a rollback doesn't bring it back: stop it meanwhile (setParameter "
                "ttlMonitorEnabled: false), or run where nothing is due"
            )
        said += _by_the_steps(scope, name, _due([*present, *new.get(name, [])], until), count)
    return said


def _by_the_steps(
    scope: Scope, name: str, selector: dict[str, Any] | None, already: int
) -> list[str]:
    """Say how many documents expire because of what the steps write, or of an index they build."""
    collection = scope.collections.database[name]
    if selector is None:
        return []
    stages: list[dict[str, Any]] = [{"$match": selector}, {"$count": "count"}]
    rewrites = scope.rewrites.get(name, [])
    future = futures.of_server(collection, rewrites)
    if future is not None:
        rows = iter(list(collection.aggregate([*future, *stages], comment=scope.comment)))
    else:
        found = futures.in_parts(collection, rewrites, stages, comment=scope.comment)
        if found is None:
            return [
                f"{name}: how many documents expire by what the steps write can't be known before: "
                "a TTL index deletes them, and no rollback brings them back"
            ]
        rows = found
    more = sum(int(row["count"]) for row in rows) - already
    if more <= 0:
        return []
    return [
        f"{name}: about {more:,} documents expire by what the steps write or build: the server "
        "deletes them from a minute after that on, and no rollback brings them back. Look whether "
        "that is meant; a backup has them"
    ]


def horizons(
    database: Database[dict[str, Any]], names: set[str], now: datetime.datetime
) -> dict[str, datetime.datetime]:
    """Return those of *names* whose documents may expire, with the instant up to which they do."""
    return {name: now + SOON for name in names if rules(database, name)}
