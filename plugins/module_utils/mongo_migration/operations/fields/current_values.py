"""What the documents of a journal entry hold by now, read for all of its groups at once."""

from __future__ import annotations

from typing import Any

from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from ...support.chunks import chunks
from ...values.compare import ABSENT, hashable
from ..statements import Group

# So many documents a query.
_TOGETHER = 1000


def held(
    collection: Collection[dict[str, Any]],
    field: str,
    groups: list[Group],
    *,
    session: ClientSession | None = None,
    comment: str | None = None,
) -> dict[bytes, Any]:
    """Return the value of *field*, or ABSENT, by a document's id; none for those that are gone.

    Args:
        collection: of the documents.
        field: that was set in them.
        groups: of the entry.
        session: of the transaction, if there is one.
        comment: for the server's operations.
    """
    found: dict[bytes, Any] = {}
    ids = (identity for group in groups for identity in group["ids"])
    for some in chunks(ids, _TOGETHER):
        for row in collection.find(
            {"_id": {"$in": some}}, {"now": f"${field}"}, session=session, comment=comment
        ):
            found[hashable(row["_id"])] = row.get("now", ABSENT)
    return found


def holding(
    collection: Collection[dict[str, Any]],
    field: str,
    groups: list[Group],
    *,
    comment: str | None = None,
) -> list[Group]:
    """Return *groups* with the documents that hold exactly what was written."""
    now = {
        identity: hashable(value)
        for identity, value in held(collection, field, groups, comment=comment).items()
        if value is not ABSENT
    }
    found = []
    for group in groups:
        written = hashable(group["value"])
        ids = [identity for identity in group["ids"] if now.get(hashable(identity)) == written]
        found.append({**group, "ids": ids})
    return found
