"""What one batch carries, and how the journal keeps it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bson
from bson.binary import Binary
from bson.codec_options import CodecOptions

from ...ledger import shapes
from ...ledger.journal import Entry
from ...values import edits, elements
from ...values.compare import hashable
from ...values.raw import split
from ..update.packing import packed
from ..update.reader import Row

OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True, datetime_conversion=bson.codec_options.DatetimeConversion.DATETIME_AUTO
)
_MOST_UNPACKED = 1 << 28


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One document that goes elsewhere.

    Args:
        source: its ``_id``, as a raw document ``{_id: …}``.
        removed: all of it, where it goes from its collection.
        documents: what comes of it, raw.
    """

    source: bytes
    removed: bytes | None
    documents: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """Bytes that the journal keeps of it, unpacked."""
        return len(self.source) + len(self.removed or b"") + sum(map(len, self.documents))


@dataclass(frozen=True, kw_only=True, slots=True)
class Repointed:
    """Documents of one collection whose references follow.

    Args:
        collection: their collection.
        path: where they refer to what is carried.
        rows: the documents.
        counted: how many of them the step counts already, as they are carried themselves.
    """

    collection: str
    path: str
    rows: Sequence[Row]
    counted: int = 0

    @property
    def field(self) -> str:
        """The top-level field."""
        return self.path.split(".")[0]


@dataclass(kw_only=True)
class Load:
    """What one batch carries.

    Args:
        items: the documents.
        owners: by item, what becomes of the document that it is a part of; or none at all.
        fields: of the owners, those that are touched.
        references: what follows.
        pairs: old and new ``_id``, each a raw document, where other documents refer to them.
    """

    items: Sequence[Item]
    owners: Sequence[Row] = ()
    fields: Sequence[str] = ()
    references: Sequence[Repointed] = ()
    pairs: Sequence[tuple[bytes, bytes]] = field(default=())

    @property
    def size(self) -> int:
        """Bytes that the journal keeps of it, unpacked."""
        rows = [*self.owners, *(row for one in self.references for row in one.rows)]
        kept = sum(len(row.key) + len(row.before) for row in rows)
        return kept + sum(one.size for one in self.items)

    @property
    def followers(self) -> int:
        """How many other documents are changed with the items."""
        return len(self.owners) + sum(len(one.rows) - one.counted for one in self.references)

    def counts(self, *, removes: bool, within: bool) -> dict[str, int]:
        """Return what it adds to the counts of a run.

        Args:
            removes: whether the documents go from where they were.
            within: whether they stay in their collection, under another ``_id``.
        """
        if within:
            return {"modified": len(self.items) + self.followers}
        return {
            "modified": self.followers,
            "inserted": sum(len(item.documents) for item in self.items),
            "deleted": len(self.items) if removes else 0,
        }


def facts_of(load: Load) -> dict[str, Any]:
    """Return what an entry holds of *load*."""
    return {
        "items": pack(load.items),
        "owners": _owners(load) if load.owners else None,
        "references": [
            {
                "collection": one.collection,
                "path": one.path,
                **({"counted": one.counted} if one.counted else {}),
                **_images([one.field], one.rows),
            }
            for one in load.references
            if one.rows
        ],
        "pairs": Binary(b"".join(part for pair in load.pairs for part in pair)),
    }


def _owners(load: Load) -> dict[str, Any]:
    # Without transactions, what was begun is finished by it.
    after = Binary(zlib.compress(b"".join(row.after for row in load.owners), 1))
    return {**_images(load.fields, load.owners), "becomes": after}


def _images(fields: Sequence[str], rows: Sequence[Row]) -> dict[str, Any]:
    return {"fields": list(fields), **packed(fields, rows)}


def pack(items: Iterable[Item]) -> Binary:
    """Return *items* compressed: what came of a document stands right behind it."""
    parts: list[bytes] = []
    for item in items:
        head = {"n": len(item.documents), "r": item.removed is not None}
        parts += [item.source, bson.encode(head)]
        parts += [item.removed] if item.removed is not None else []
        parts += item.documents
    return Binary(zlib.compress(b"".join(parts), 1))


def unpack(binary: bytes) -> list[Item]:
    """Return the items in *binary*.

    Raises:
        ValueError: it isn't what :func:`pack` made.
    """
    parts, found, at = split(_unzipped(binary)), list[Item](), 0
    while at < len(parts):
        source, head = parts[at], bson.decode(parts[at + 1]) if at + 1 < len(parts) else {}
        removes: Any = head.get("r")
        coming: Any = head.get("n")
        stop = at + 2 + bool(removes) + (coming if shapes.count(coming) else len(parts))
        if stop > len(parts) or not isinstance(removes, bool):
            raise ValueError("it ends too early")
        rest = parts[at + 2 : stop]
        removed = rest.pop(0) if removes else None
        found.append(Item(source=source, removed=removed, documents=tuple(rest)))
        at = stop
    return found


def afters_of(images: Mapping[str, Any]) -> list[bytes]:
    """Return what was written to each owner, raw.

    Raises:
        ValueError: it isn't there.
    """
    return split(_unzipped(images["becomes"]))


def _unzipped(binary: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(binary, _MOST_UNPACKED)
    except (TypeError, zlib.error) as error:
        raise ValueError("not compressed") from error


def items_of(entry: Entry) -> list[Item]:
    """Return the items of an entry."""
    return unpack(entry["items"])


def pairs_of(entry: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """Return the old and the new ``_id``s of an entry, each a raw document."""
    parts = split(entry["pairs"])
    return list(zip(parts[::2], parts[1::2], strict=True))


def are_items(value: Any) -> bool:
    """Return whether *value* is what :func:`pack` makes, for the shape of an entry."""
    try:
        items = unpack(value)
    except (TypeError, ValueError, bson.errors.BSONError):
        return False
    return all(
        _are_ids([one.source, *one.documents, *([one.removed] if one.removed else [])])
        and (one.removed is None or key_of(one.removed) == key_of(one.source))
        for one in items
    )


def _are_ids(documents: Iterable[bytes]) -> bool:
    """Return whether each of *documents* has an ``_id`` that can't be taken for a filter."""
    try:
        return all(
            elements.field(raw, b"_id") is not None and shapes.identity(id_of(raw))
            for raw in documents
        )
    except (ValueError, bson.errors.BSONError):
        return False


def are_pairs(value: Any) -> bool:
    """Return whether *value* is a list of pairs of ids, for the shape of an entry."""
    try:
        parts = split(value)
    except (TypeError, ValueError):
        return False
    return len(parts) % 2 == 0 and _are_ids(parts)


def id_of(raw: bytes) -> Any:
    """Return the ``_id`` of a raw document."""
    return bson.decode(key_of(raw), OPTIONS)["_id"]


def key_of(raw: bytes) -> bytes:
    """Return the raw document of the ``_id`` alone."""
    found = elements.field(raw, b"_id")
    if found is None:
        raise AssertionError("an item that was found is read")
    return edits.document([edits.whole_field(raw, found)])


def token_of(raw: bytes) -> bytes:
    """Return the ``_id`` of a raw document as a set can hold it."""
    return hashable(id_of(raw))


def raw_items(items: Iterable[Item]) -> Iterator[bytes]:
    """Yield all documents that come."""
    for item in items:
        yield from item.documents
