"""Entries of an update: what the touched fields held, and a digest of what was written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import UpdateOne
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database
from xxhash import xxh3_64_digest

from ...document.definition import Step
from ...ledger.batches import Writer
from ...ledger.journal import Entry
from ...ledger.shapes import Shape
from ...support.chunks import chunks
from ...values import twice
from ...values.compare import hashable
from ...values.digest import Digest
from ...values.elements import elements
from ...values.raw import raw_documents
from .. import futures
from ..base import Touched
from ..entries import Effect, EntryKind, Remaining, Revert, revert_in_parts
from .packing import DIGEST, OPTIONS, SHAPE, by_field, mistake, packed, unpacked
from .reader import TWICE, Row, held_by

KIND = "update"
_ALL = slice(None)
_COMMENT = "migration-playbooks verify"


def entry_of(step: int, collection: str, fields: Sequence[str], rows: Sequence[Row]) -> Entry:
    """Return the journal entry of *rows*, which are about to be written."""
    return {
        "kind": KIND,
        "step": step,
        "collection": collection,
        "fields": list(fields),
        **packed(fields, rows),
    }


class Images(EntryKind):
    """Documents of one collection were updated."""

    kind = KIND
    #: Whether fields that are there may have changed their places.
    reorders: ClassVar[bool] = False
    shape: ClassVar[Shape] = SHAPE

    def mistake(self, entry: Entry) -> str:
        """Return in what its parts contradict one another."""
        return mistake(entry)

    def touched(self, entry: Entry) -> Touched:
        """Return the first of the fields; see :meth:`touches`."""
        return self.touches(entry)[0]

    def touches(self, entry: Entry) -> list[Touched]:
        """Return all fields."""
        return [
            Touched(collection=entry["collection"], field=name, places=True)
            for name in entry["fields"]
        ]

    def ids(self, entry: Entry) -> list[Any]:
        """Return the documents that were written."""
        return [identity for identity, _key, _raw in unpacked(entry)]

    def before(self, entry: Entry) -> list[tuple[Any, bytes]]:
        """Return the documents, with what their fields held, as raw BSON."""
        return [(identity, raw) for identity, _key, raw in unpacked(entry)]

    def size(self, entry: Entry) -> int:
        """Return how many there are."""
        return int(entry["count"])

    def preview(self, entry: Entry) -> dict[str, Any]:
        """Each of them gets back what it held."""
        return {"restore": self.size(entry) - int(entry.get("undone", 0))}

    def reconcile(self, writer: Writer, entry: Entry) -> dict[str, int]:
        """Keep those that hold what was to be written."""
        kept = still_written(writer, entry)
        writer.journal.amend(entry["seq"], **kept)
        return {"modified": kept["count"]}

    def remaining(self, database: Database[dict[str, Any]], entry: Entry) -> Remaining:
        """Return those that hold what was written, where they held something else before."""
        now = now_of(database[entry["collection"]], entry, comment=_COMMENT)
        return Remaining(
            what=f"{entry['collection']}: nothing is left of {entry['kind']}",
            examined=self.size(entry),
            left=[
                identity
                for (identity, _key, raw), written in pairs(entry)
                if (row := now.get(hashable(identity))) is not None
                and xxh3_64_digest(row.before) == written
                and row.before != raw
            ],
        )

    def changed_since(self, database: Database[dict[str, Any]], entry: Entry) -> list[Any]:
        """Return those that hold something else by now."""
        now = now_of(database[entry["collection"]], entry, comment=_COMMENT)
        return [
            identity
            for (identity, _key, _raw), written in pairs(entry)
            if (row := now.get(hashable(identity))) is not None
            and xxh3_64_digest(row.before) != written
        ]

    def undone_through(
        self,
        database: Database[dict[str, Any]],
        entry: Entry,
        stages: Sequence[Mapping[str, Any]],
        *,
        force: bool,
    ) -> Iterator[Mapping[str, Any]]:
        """Yield what *stages* make of the documents with their fields from before."""
        collection, fields = database[entry["collection"]], set(entry["fields"])
        wanted = {hashable(identity): (raw, w) for (identity, _k, raw), w in pairs(entry)}
        now = now_of(collection, entry, comment=_COMMENT)
        ids = [
            row.identity
            for token, row in now.items()
            if force or xxh3_64_digest(row.before) == wanted[token][1]
        ]

        def earlier() -> Iterator[bytes]:
            for some in chunks(ids, 1000):
                for raw in raw_documents(
                    database, collection.name, filter={"_id": {"$in": some}}, comment=_COMMENT
                ):
                    document = RawBSONDocument(raw)
                    kept = {name: value for name, value in document.items() if name not in fields}
                    before = RawBSONDocument(wanted[hashable(identity_of(raw))][0])
                    yield bson.encode({**kept, **before})

        yield from futures.through(database, earlier(), list(map(dict, stages)), comment=_COMMENT)

    def effect(self, entry: Entry) -> Effect:
        """Return the digests of each field before and after."""
        return Effect(collection=entry["collection"], fields=digests(entry))

    def revert(self, writer: Writer, entry: Entry, on_conflict: str, step: Step | None) -> None:
        """Give each document back what it held, at its place, if it holds what was written."""
        del step
        collection = writer.database[entry["collection"]]

        def revert(
            whole: Entry, start: int, end: int, undone_then: int | None
        ) -> Mapping[str, Any]:
            undone, part = Revert(writer, whole, "restored"), slice(start, end)

            def write(session: ClientSession | None) -> None:
                undone.reset()
                now = now_of(collection, entry, session=session, comment=writer.comment, part=part)
                found = _statements(
                    undone,
                    entry,
                    now,
                    on_conflict,
                    guarded=session is None,
                    reorders=self.reorders,
                    part=part,
                )
                undone.refuse_if(on_conflict == "fail")
                if found:
                    writer.write(collection, found, session, back=True, ordered=False)

            size = end - start
            undone.commit(
                write if size else lambda _session: None, documents=size, undone=undone_then
            )
            return undone.facts()

        revert_in_parts(writer, entry, self.size(entry), revert)


def digests(entry: Mapping[str, Any]) -> dict[str, tuple[Digest, Digest]]:
    """Return the digests of each field of an entry, before and after."""
    names = entry["fields"]
    before = by_field(names, ((key, raw) for _id, key, raw in unpacked(entry)))
    after = {item["field"]: Digest.parse(item["digest"], item["count"]) for item in entry["after"]}
    return {name: (before[name], after.get(name, Digest())) for name in names}


def still_written(writer: Writer, entry: Entry) -> dict[str, Any]:
    """Return what an entry says when only those documents are left that hold what was written."""
    collection = writer.database[entry["collection"]]
    now = now_of(collection, entry, comment=writer.comment)
    orders, order_of = entry.get("orders"), entry.get("order_of")
    rows = []
    for number, ((identity, key, raw), written) in enumerate(pairs(entry)):
        row = now.get(hashable(identity))
        if row is None or xxh3_64_digest(row.before) != written:
            continue
        names = tuple(orders[order_of[number]]) if orders and order_of else ()
        if row.before == raw and row.names == names:
            continue  # what was to change are the places of fields alone
        rows.append(Row(identity=identity, key=key, before=raw, after=row.before, names=names))
    # Of no documents there are no orders: those of before must not stay.
    return {**dict.fromkeys({"orders", "order_of"} & entry.keys()), **packed(entry["fields"], rows)}


def before_of(entry: Entry) -> list[tuple[Any, bytes, list[str]]]:
    """Return each document with what its fields held, and the order of all its fields."""
    orders, order_of = entry.get("orders") or [], entry.get("order_of") or []
    return [
        (identity, raw, orders[order_of[number]] if orders else [])
        for number, (identity, _key, raw) in enumerate(unpacked(entry))
    ]


def identity_of(raw: bytes) -> Any:
    """Return the ``_id`` of a document."""
    return bson.decode(raw, OPTIONS)["_id"]


def pairs(entry: Mapping[str, Any]) -> Iterable[tuple[tuple[Any, bytes, bytes], bytes]]:
    """Return for each document its id, its raw key and what it held, and what was written."""
    written = entry["written"]
    digests = [written[at : at + DIGEST] for at in range(0, len(written), DIGEST)]
    return zip(unpacked(entry), digests, strict=True)


def now_of(
    collection: Collection[dict[str, Any]],
    entry: Mapping[str, Any],
    *,
    comment: str,
    session: ClientSession | None = None,
    part: slice = _ALL,
) -> dict[bytes, Row]:
    """Return what the documents of an entry, or of a *part*, hold now, by their hashable ids."""
    ids = [identity for identity, _key, _raw in unpacked(entry)[part]]
    return held_by(
        collection,
        entry["fields"],
        ids,
        comment=comment,
        session=session,
        places=bool(entry.get("orders")),
    )


def _statements(
    undone: Revert,
    entry: Entry,
    now: Mapping[bytes, Row],
    on_conflict: str,
    *,
    guarded: bool,
    reorders: bool,
    part: slice,
) -> list[UpdateOne]:
    found = []
    orders, order_of = entry.get("orders"), entry.get("order_of")
    for number, ((identity, _key, raw), written) in list(enumerate(pairs(entry)))[part]:
        row = now.get(hashable(identity))
        told = "what the migration wrote"
        if row is None:
            undone.conflict(identity, told, None, "deleted since the migration")
            continue
        order = orders[order_of[number]] if orders and order_of else []
        if row.before == raw and (not order or list(row.names) == order):
            undone.count += 1  # undone already, before a kill
            continue
        if xxh3_64_digest(row.before) != written and on_conflict != "restore":
            observed = bson.decode(row.before, OPTIONS)
            undone.conflict(identity, told, observed, "changed since the migration")
            continue
        change = put(row.before, raw, order, row.names, reorders=reorders)
        if isinstance(change, list) and (row.troubles or twice.within(raw)):
            undone.conflict(identity, told, None, f"a field {TWICE}")
            continue
        undone.count += 1
        selector = holding(identity, entry["fields"], row.before) if guarded else {"_id": identity}
        found.append(UpdateOne(selector, change))
    return found


def holding(identity: Any, fields: Sequence[str], raw: bytes) -> dict[str, Any]:
    """Return a filter for the document *identity* as long as its *fields* hold *raw*."""
    whole = {name: f"${name}" for name in fields}
    literal = {"$literal": RawBSONDocument(raw)}
    return {"_id": identity, "$expr": {"$eq": [whole, literal]}}


def put(
    now: bytes,
    wanted: bytes,
    order: Sequence[str] = (),
    names: Sequence[str] = (),
    *,
    reorders: bool = False,
) -> dict[str, Any] | list[dict[str, Any]]:
    """Return the change from the touched fields *now* to *wanted*.

    Args:
        now: raw, as the document has them.
        wanted: raw, as it is to have them.
        order: all names of the document in the order that it is to have; none: new ones go last.
        names: all names that the document has now.
        reorders: whether those that stay may have other places by now than in *order*.
    """
    have = [one.name.decode() for one in elements(now)]
    want = [one.name.decode() for one in elements(wanted)]
    gone = [name for name in have if name not in want]
    new = [name for name in want if name not in have]
    moved = reorders and [n for n in names if n in order] != [n for n in order if n in names]
    if not moved and (not new or (len(new) == 1 and not order)):
        change: dict[str, Any] = {}
        if want:
            change["$set"] = RawBSONDocument(wanted)
        if gone:
            change["$unset"] = dict.fromkeys(gone, "")
        return change
    stay = {*names, *want}
    places = {"$literal": {name: None for name in order if name in stay}}
    parts = [*([places] if order else []), "$$ROOT", {"$literal": RawBSONDocument(wanted)}]
    stages: list[dict[str, Any]] = [{"$replaceWith": {"$mergeObjects": parts}}]
    return [*stages, *([{"$unset": gone}] if gone else [])]
