"""What the database held before: the ground for the proof that nothing else changed.

While writers are stopped, every collection gets a digest over all its documents without the
fields that the migration touches, and a second, small one over those fields where they exist.
Equal first digests before and after prove that no other field of any document changed; both equal
after a rollback prove that the state is the one from before, byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bson
from pymongo.database import Database

from ..document.collections import OURS
from ..operations import Touched
from ..support.prefetch import ahead
from ..support.progress import Meter
from ..values.digest import Digest
from ..values.raw import raw_batches, raw_documents


def take(
    database: Database[dict[str, Any]],
    touched: Iterable[Touched],
    *,
    meter: Meter,
    comment: str,
    whole: bool = True,
) -> list[dict[str, Any]]:
    """Return the digests of every ordinary collection.

    Args:
        database: the database; writers must be stopped.
        touched: what the migration writes to.
        meter: told of every batch read.
        comment: what the server's operations carry.
        whole: also digest the touched fields themselves.
    """
    fields: dict[str, set[str]] = {}
    for item in touched:
        if item.field is not None:
            fields.setdefault(item.collection, set()).add(item.field)
    taken = []
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="fields") as other:
        for name in sorted(ordinary(database)):
            without = sorted(fields.get(name, ()))
            # The server works on both at once, and this process hashes meanwhile.
            own = other.submit(_fields, database, name, without if whole else [], comment)
            rest = _rest(database, name, without, meter, comment)
            taken.append(
                {
                    "collection": name,
                    "without": without,
                    **rest.as_dict(),
                    "fields": own.result().as_dict(),
                }
            )
    return taken


def ordinary(database: Database[dict[str, Any]]) -> set[str]:
    """Return the names of the collections that can be digested: no views, no time series."""
    return {
        item["name"]
        for item in database.list_collections()
        if item["type"] == "collection"
        and item["name"] not in OURS
        and not item["name"].startswith("system.")
    }


def without_inserted(whole: Digest, inserted: Iterable[Mapping[str, Any]]) -> Digest:
    """Return *whole* less the documents that the migration inserted, as it inserted them.

    One that was changed since leaves a difference, as one that was deleted does.
    """
    return whole - Digest.of(bson.encode(document) for document in inserted)


def _rest(
    database: Database[dict[str, Any]], name: str, without: list[str], meter: Meter, comment: str
) -> Digest:
    digest = Digest()
    projection = dict.fromkeys(without, 0) if without else None
    batches = raw_batches(database, name, projection=projection, comment=comment)
    for batch in ahead(batches):
        digest.add_many(batch)
        meter.advance(len(batch), collection=name)
    return digest


def _fields(
    database: Database[dict[str, Any]], name: str, without: list[str], comment: str
) -> Digest:
    if not without:
        return Digest()
    return Digest.of(
        raw_documents(
            database,
            name,
            filter={"$or": [{field: {"$exists": True}} for field in without]},
            projection=dict.fromkeys(without, 1),
            comment=comment,
        )
    )
