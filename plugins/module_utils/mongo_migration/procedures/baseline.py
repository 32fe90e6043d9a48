"""What the database held before: the ground for the proof that nothing else changed.

While writers are stopped, every collection gets a digest over all its documents without the
fields that the migration touches, and one over ``{_id, field}`` for each of those fields. Digests
add up: what a field's must be after the migration is its digest from before, less what the journal
holds as before, plus what it holds as written. So equal digests prove that no other field of any
document changed, and that the touched ones hold what the journal says; after a rollback, that the
state is the one from before.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import bson
from pymongo.database import Database

from ..document.collections import is_ours
from ..operations.base import Touched
from ..operations.entries import Document, Effect
from ..support import background, listing
from ..support.prefetch import ahead
from ..support.progress import Meter
from ..values import edits, elements
from ..values.digest import Digest
from ..values.raw import raw_batches
from .expiring import due


def take(
    database: Database[dict[str, Any]],
    touched: Iterable[Touched],
    *,
    meter: Meter,
    comment: str,
    expiring: Mapping[str, datetime.datetime] | None = None,
) -> list[dict[str, Any]]:
    """Return the digests of every ordinary collection.

    Args:
        database: the database; writers must be stopped.
        touched: what the migration writes to.
        meter: told of every batch read.
        comment: what the server's operations carry.
        expiring: collections that aren't touched and whose documents the server deletes by itself;
            those that it does before this instant are left out.
    """
    expiring = expiring or {}
    touched = list(touched)
    fields: dict[str, set[str]] = {}
    places = {item.collection for item in touched if item.places}
    for item in touched:
        if item.field is not None:
            fields.setdefault(item.collection, set()).add(item.field)
    taken = []
    for name in sorted(ordinary(database)):
        without = sorted(fields.get(name, ()))
        # The server works on both at once, and this process hashes meanwhile.
        with background.running(partial(_fields, database, name, without, comment)) as own:
            until = expiring.get(name)
            gone = due(database, name, until) if until else None
            rest = Digest()
            for batch in ahead(
                raw_batches(
                    database,
                    name,
                    filter={"$nor": [gone]} if gone else None,
                    projection=dict.fromkeys(without, 0) if without else None,
                    comment=comment,
                )
            ):
                rest.add_many(batch)
                meter.advance(len(batch), collection=name)
            taken.append(
                {
                    "collection": name,
                    "without": without,
                    **({"until": until} if until else {}),
                    **rest.as_dict(),
                    **(_whole(database, name, comment, meter) if name in places else {}),
                    "fields": {name: one.as_dict() for name, one in own.result().items()},
                }
            )
    return taken


def ordinary(database: Database[dict[str, Any]]) -> set[str]:
    """Return the names of the collections that can be digested: no views, no time series."""
    return {
        item["name"]
        for item in listing.collections(database)
        if item["type"] == "collection"
        and not is_ours(item["name"])
        and not item["name"].startswith("system.")
    }


class Expected:
    """What the digests of one collection must be, entry by entry: of the rest, and by field.

    Args:
        before: what :func:`take` returned for the collection; None where there was none.
        fields: those that are touched.
    """

    def __init__(self, before: Mapping[str, Any] | None, fields: Sequence[str]) -> None:
        self.rest = digest(before)
        self.removed = 0
        known = _by_field(before)
        #: Without a field of which it isn't known what it held before.
        self.fields = {
            name: digest(known.get(name)) for name in fields if before is None or name in known
        }
        self.touched = fields

    def add(self, effect: Effect) -> None:
        """Take in what an entry did."""
        self.removed += len(effect.removed)
        self.rest += _rests(effect.inserted, self.touched)
        self.rest -= _rests(effect.removed, self.touched)
        if effect.rest is not None:
            self.rest += effect.rest[1] - effect.rest[0]
        for name in self.fields:
            old, new = effect.fields.get(name, (Digest(), Digest()))
            self.fields[name] += new - old
            self.fields[name] += _of(effect.inserted, name) - _of(effect.removed, name)


def digest(item: Mapping[str, Any] | None) -> Digest:
    """Return the digest in *item*; an empty one where there is none."""
    return Digest() if item is None else Digest.parse(item["digest"], item["count"])


def _by_field(taken: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the digests of fields in *taken*; 1.0 had one for all fields of a collection."""
    if taken is None:
        return {}
    fields, without = taken["fields"], taken["without"]
    if "digest" not in fields:
        return dict(fields)
    return {without[0]: fields} if len(without) == 1 else {}


def _rests(documents: Iterable[Document], fields: Sequence[str]) -> Digest:
    return Digest.of(edits.without(raw, fields) for raw in map(_raw, documents))


def _of(documents: Iterable[Document], name: str) -> Digest:
    return Digest.of(
        edits.only(raw, ("_id", name))
        for raw in map(_raw, documents)
        if elements.field(raw, name.encode())
    )


def _raw(document: Document) -> bytes:
    return document if isinstance(document, bytes) else bson.encode(document)


def _fields(
    database: Database[dict[str, Any]],
    name: str,
    without: list[str],
    comment: str,
    check: Callable[[], None],
) -> dict[str, Digest]:
    found = {field: Digest() for field in without}
    for field, digest in found.items():
        for batch in raw_batches(
            database,
            name,
            filter={field: {"$exists": True}},
            projection={field: 1},
            comment=comment,
        ):
            check()
            digest.add_many(batch)
    return found


def _whole(
    database: Database[dict[str, Any]], name: str, comment: str, meter: Meter
) -> dict[str, Any]:
    """Return the digest of whole documents, which alone tells the places of touched fields."""
    found = Digest()
    for batch in raw_batches(database, name, comment=comment):
        found.add_many(batch)
        meter.advance(0, collection=name)  # counted already; a stop is heard
    return {"whole": found.as_dict()}
