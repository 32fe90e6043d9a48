"""Entries of documents that became others as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from bson.raw_bson import RawBSONDocument
from pymongo import ReplaceOne
from pymongo.client_session import ClientSession

from ...ledger import shapes
from ...ledger.batches import Writer
from ...ledger.journal import Entry
from ...ledger.shapes import Shape
from ...values.compare import hashable
from ...values.digest import Digest
from ...values.raw import raw_documents
from ..base import Touched
from ..entries import Effect
from . import images, packing
from .images import Images
from .reader import Row
from .whole import WholeReader, cut, rebuilt, without

KIND = "update_document"


def entry_of(
    step: int, collection: str, rows: Sequence[Row], *, left_out: Sequence[str] | None
) -> Entry:
    """Return the journal entry of *rows*, which are about to be written.

    Args:
        step: its index.
        collection: its real name.
        rows: whole documents before and after.
        left_out: the fields that the baseline's digest of documents leaves out; None: there is no
            baseline.
    """
    fields, parts = cut(rows)
    entry = images.entry_of(step, collection, fields, parts)
    pairs = [(row.before, row.after) for row in rows]
    more = {} if left_out is None else {"rest": _rest(pairs, left_out)}
    return {**entry, "kind": KIND, **more}


def _rest(pairs: Sequence[tuple[bytes, bytes]], left_out: Sequence[str]) -> dict[str, Any]:
    before, after = (
        Digest.of(without(pair[place], left_out) for pair in pairs).as_dict() for place in (0, 1)
    )
    return {"without": list(left_out), "before": before, "after": after}


def _is_names(value: Any) -> bool:
    return value == [] or packing.is_fields(value)


def _is_digest(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("digest"), str)
        and shapes.count(value.get("count"))
    )


def _is_rest(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict)
        and isinstance(value.get("without"), list)
        and _is_digest(value.get("before"))
        and _is_digest(value.get("after"))
    )


class WholeImages(Images):
    """Documents of one collection became others."""

    kind = KIND
    # Of a batch of which nothing was left to write there are no fields.
    shape: ClassVar[Shape] = {**Images.shape, "fields": _is_names, "rest": _is_rest}
    reorders: ClassVar[bool] = True

    def touches(self, entry: Entry) -> list[Touched]:
        """Return that any field may have changed."""
        return [Touched(collection=entry["collection"], any_field=True, places=True)]

    def reconcile(self, writer: Writer, entry: Entry) -> dict[str, int]:
        """Keep those that hold what was to be written."""
        kept = still_written(writer, entry)
        writer.journal.amend(entry["seq"], **kept)
        return {"modified": kept["count"]}

    def effect(self, entry: Entry) -> Effect:
        """Return the digests of documents before and after, and of fields."""
        found = super().effect(entry)
        if rest := entry.get("rest"):
            before, after = (Digest.parse(**_named(rest[key])) for key in ("before", "after"))
            found.rest = before, after
        return found


def still_written(writer: Writer, entry: Entry) -> dict[str, Any]:
    """Return what an entry says when only those documents are left that hold what was written."""
    kept = images.still_written(writer, entry)
    if not entry.get("rest"):
        return kept
    before = images.before_of({**entry, "orders": None, "order_of": None, **kept})
    rows = raw_documents(
        writer.database,
        entry["collection"],
        filter={"_id": {"$in": [identity for identity, _raw, _order in before]}},
        comment=writer.comment,
    )
    now = {hashable(images.identity_of(raw)): raw for raw in rows}
    pairs = [
        (rebuilt(now[token], raw, order, entry["fields"]), now[token])
        for identity, raw, order in before
        if (token := hashable(identity)) in now
    ]
    return {**kept, "rest": _rest(pairs, entry["rest"]["without"])}


def _named(digest: Mapping[str, Any]) -> dict[str, Any]:
    return {"hexdigest": digest["digest"], "count": digest["count"]}


@dataclass(frozen=True, kw_only=True)
class WholeWriting:
    """Writes whole documents."""

    reader: WholeReader
    writer: Writer
    step: int
    kind: str = KIND

    def entry(self, rows: Sequence[Row]) -> Entry:
        """Return an entry with what the fields held in which documents differ."""
        name = self.reader.collection.name
        taken = self.writer.run.document.get("baseline")
        left_out: list[str] | None = None
        if taken is not None:
            left_out = next((one["without"] for one in taken if one["collection"] == name), [])
        return entry_of(self.step, name, rows, left_out=left_out)

    def still_written(self, entry: Entry) -> dict[str, Any]:
        """Return what *entry* says of those alone that hold what was written."""
        return still_written(self.writer, entry)

    def update(self, rows: Sequence[Row], session: ClientSession | None) -> int:
        """Write documents that are as they were read; return how many were."""
        if not rows:
            return 0
        statements = [
            ReplaceOne[Any](
                {"_id": row.identity}
                if session is not None
                else {"_id": row.identity, "$expr": _is(row.before)},
                RawBSONDocument(row.after),
            )
            for row in rows
        ]
        return self.writer.write(self.reader.collection, statements, session, ordered=False)

    def expected(self, rows: Sequence[Row], session: ClientSession | None) -> Digest:
        """Return what the documents must be once they are written."""
        del session
        return Digest.of(row.after for row in rows)

    def observed(self, rows: Sequence[Row], session: ClientSession | None) -> Digest:
        """Return what they are."""
        collection = self.reader.collection
        return Digest.of(
            raw_documents(
                collection.database,
                collection.name,
                filter={"_id": {"$in": [row.identity for row in rows]}},
                batch_size=len(rows) + 1,
                session=session,
                comment=self.writer.comment,
            )
        )


def _is(raw: bytes) -> dict[str, Any]:
    return {"$eq": ["$$ROOT", {"$literal": RawBSONDocument(raw)}]}
