"""Documents that the server itself deletes: TTL indexes go on while a migration runs.

Such a deletion is nobody's fault, and a digest can't tell it from one that is. So what expires soon
is left out of the digests from before and after, and said.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

from pymongo.database import Database

from ..document.value_sources import Scope
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
    for index in listing.indexes(database, name):
        if _TTL in index:
            where = index.get("partialFilterExpression", {})
            found.append(
                {"field": next(iter(index["key"])), "seconds": index[_TTL], "where": dict(where)}
            )
    return found


def due(
    database: Database[dict[str, Any]], name: str, until: datetime.datetime
) -> dict[str, Any] | None:
    """Return a filter for what expires in *name* before *until*; None where nothing ever does."""
    found = []
    for rule in rules(database, name):
        try:
            latest = until - datetime.timedelta(seconds=float(rule["seconds"]))
        except (OverflowError, ValueError):  # not in our time
            continue
        found.append({"$and": [{rule["field"]: {"$lt": latest}}, rule["where"]]})
    return {"$or": found} if found else None


def warnings(scope: Scope, touched: Iterable[str]) -> list[str]:
    """Return what a plan says of collections whose documents may expire during the run.

    Args:
        scope: the database, and now.
        touched: the real names of the collections that the migration writes to.
    """
    said = []
    for name in sorted(touched):
        database = scope.collections.database
        if (selector := due(database, name, scope.now + SOON)) is None:
            continue
        count = database[name].count_documents(selector, comment=scope.comment)
        said.append(
            f"{name}: a TTL index deletes documents by itself, about {count:,} until this time "
            "tomorrow. What goes while the migration runs is missing in the verification, and a "
            "rollback doesn't bring it back: stop it meanwhile (setParameter ttlMonitorEnabled: "
            "false), or run where nothing is due"
        )
    return said


def horizons(
    database: Database[dict[str, Any]], names: set[str], now: datetime.datetime
) -> dict[str, datetime.datetime]:
    """Return those of *names* whose documents may expire, with the instant up to which they do."""
    return {name: now + SOON for name in names if rules(database, name)}
