"""What the documents of a journal entry hold by now, read for all of its groups at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bson
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from ...support.chunks import chunks
from ...support.prefetch import ahead
from ...values.compare import ABSENT, hashable, same
from ...values.raw import raw_batches, with_ids
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
    for some in _ids(groups):
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


def differing(
    collection: Collection[dict[str, Any]],
    field: str,
    groups: list[Group],
    *,
    comment: str | None = None,
) -> list[Any]:
    """Return the ids of documents that are there and hold another value by now, or none.

    Nearly all hold what was written: the bytes that come are compared with those that must, which
    spares decoding them, and the server reads the next meanwhile.
    """
    written = {raw for group in groups for raw in with_ids(group["ids"], {"now": group["value"]})}
    rows = ahead(_rows(collection, field, groups, comment))
    others = [raw for batch in rows for raw in batch if raw not in written]
    if not others:
        return []
    values = {hashable(identity): group["value"] for group in groups for identity in group["ids"]}
    found = []
    for row in (bson.decode(raw, collection.codec_options) for raw in others):
        wanted = values.get(hashable(row["_id"]), ABSENT)
        if wanted is not ABSENT and not same(row.get("now", ABSENT), wanted):
            found.append(row["_id"])
    return found


def _rows(
    collection: Collection[dict[str, Any]], field: str, groups: list[Group], comment: str | None
) -> Iterator[list[bytes]]:
    """Yield the documents of *groups* as ``{_id, now: value}``."""
    for some in _ids(groups):
        yield from raw_batches(
            collection.database,
            collection.name,
            filter={"_id": {"$in": some}},
            projection={"now": f"${field}"},
            batch_size=_TOGETHER + 1,
            comment=comment,
        )


def _ids(groups: list[Group]) -> Iterator[list[Any]]:
    return chunks((identity for group in groups for identity in group["ids"]), _TOGETHER)
