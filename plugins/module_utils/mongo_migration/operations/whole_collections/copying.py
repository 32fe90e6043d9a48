"""Documents of one collection brought into another, byte for byte, which nobody else writes to.

Both walks can be repeated from the start: what is right already is only read. First goes what the
target holds otherwise or too much, then comes what it lacks: so a unique index is never asked to
hold a value of before beside one of after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import DeleteMany, InsertOne
from pymongo.client_session import ClientSession
from pymongo.database import Database

from ...ledger.batches import Writer
from ...ledger.fence import Statement
from ...support.chunks import chunks
from ...values.compare import hashable
from ...values.raw import raw_batches, raw_documents

# Told of each document of the target that isn't, or isn't so, in the source; and the other way.
Told = Callable[[Any], None]
_OPTIONS: bson.CodecOptions[dict[str, Any]] = bson.CodecOptions(
    tz_aware=True, datetime_conversion=bson.DatetimeConversion.DATETIME_AUTO
)


def bring(
    writer: Writer,
    source: str,
    target: str,
    *,
    told: Told = lambda _identity: None,
    capped: bool = False,
) -> int:
    """Make *target* hold what *source* holds; return in how many documents they differed.

    Args:
        writer: checkpoints each batch.
        source: the collection to read.
        target: the one to write.
        told: gets the ``_id`` of each document before it is removed or inserted.
        capped: the target is, and so can't be written in a transaction.
    """
    changed = 0
    for raws in other(writer.database, target, source, comment=writer.comment):
        for some in chunks(map(identity_of, raws), writer.settings.batch_size):
            for identity in some:
                told(identity)
            _remove(writer, target, some, capped=capped)
            changed += len(some)
    for raws in other(writer.database, source, target, comment=writer.comment):
        for some in chunks(raws, writer.settings.batch_size):
            for raw in some:
                told(identity_of(raw))
            _insert(writer, target, some, capped=capped)
            changed += len(some)
            writer.meter.advance(len(some), collection=source, batch=len(some))
    return changed


def other(
    database: Database[dict[str, Any]], one: str, another: str, *, comment: str
) -> Iterator[list[bytes]]:
    """Yield the documents of *one* that *another* doesn't hold, or not so, some at a time."""
    for raws in raw_batches(database, one, comment=comment):
        ids = [identity_of(raw) for raw in raws]
        there = {
            hashable(identity_of(raw)): raw
            for raw in raw_documents(
                database, another, filter={"_id": {"$in": ids}}, comment=comment
            )
        }
        found = [
            raw
            for identity, raw in zip(ids, raws, strict=True)
            if there.get(hashable(identity)) != raw
        ]
        if found:
            yield found


def identity_of(raw: bytes) -> Any:
    """Return the ``_id`` of a document."""
    return bson.decode(raw, _OPTIONS)["_id"]


def _insert(writer: Writer, target: str, raws: list[bytes], *, capped: bool) -> None:
    collection = writer.database[target]

    def write(session: ClientSession | None) -> dict[str, int]:
        statements: list[Statement] = [InsertOne[Any](RawBSONDocument(raw)) for raw in raws]
        # What is there is brought along, whatever a validator says of it by now.
        writer.write(
            collection, statements, None if capped else session, ordered=False, bypass=True
        )
        return {"copied": len(raws)}

    writer.copy(write)


def _remove(writer: Writer, target: str, ids: list[Any], *, capped: bool) -> None:
    def write(session: ClientSession | None) -> dict[str, int]:
        gone: list[Statement] = [DeleteMany({"_id": {"$in": ids}})]
        writer.write(writer.database[target], gone, None if capped else session)
        return {"copied": len(ids)}

    writer.copy(write)
