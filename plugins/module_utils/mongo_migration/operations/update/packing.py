"""Before-images in a journal entry: packed, unpacked within bounds, and checked.

``images`` holds for each document its key and its touched fields, as raw BSON, compressed;
``written`` a digest of what was written to each; ``orders`` and ``order_of`` the names of all
fields, where their places matter.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import bson
from bson.binary import Binary
from bson.errors import BSONError
from xxhash import xxh3_64_digest

from ...ledger import shapes
from ...ledger.shapes import Shape
from ...values.digest import Digest
from ...values.elements import elements
from ...values.raw import split
from .reader import Row

DIGEST = 8
_INT32 = struct.Struct("<i")
# One document may be as large as the server allows, with its key; several are fewer bytes.
_MOST_UNPACKED = 40 << 20
OPTIONS: bson.CodecOptions[dict[str, Any]] = bson.CodecOptions(
    tz_aware=True, datetime_conversion=bson.DatetimeConversion.DATETIME_AUTO
)


def packed(fields: Sequence[str], rows: Sequence[Row]) -> dict[str, Any]:
    """Return what an entry keeps of *rows*: what they held, and digests of what is written."""
    orders: dict[tuple[str, ...], int] = {}
    order_of = [orders.setdefault(row.names, len(orders)) for row in rows]
    return {
        "count": len(rows),
        "images": Binary(compressed(rows)),
        "written": Binary(b"".join(xxh3_64_digest(row.after) for row in rows)),
        "after": [
            {"field": name, **digest.as_dict()}
            for name, digest in by_field(fields, ((row.key, row.after) for row in rows)).items()
        ],
        **(
            {"orders": [list(names) for names in orders], "order_of": order_of}
            if any(orders)
            else {}
        ),
    }


def compressed(rows: Iterable[Row]) -> bytes:
    """Return what *rows* held, as an entry keeps it."""
    return zlib.compress(b"".join(row.key + row.before for row in rows), 1)


def by_field(fields: Sequence[str], documents: Iterable[tuple[bytes, bytes]]) -> dict[str, Digest]:
    """Return the digest over ``{_id, field}`` of each field that documents hold."""
    parts: dict[str, list[bytes]] = {name: [] for name in fields}
    for key, raw in documents:
        for one in elements(raw):
            body = bytes([one.kind]) + one.name + b"\0" + raw[one.start : one.stop]
            whole = key[4:-1] + body + b"\0"
            parts[one.name.decode()].append(_INT32.pack(4 + len(whole)) + whole)
    return {name: Digest.of(found) for name, found in parts.items()}


def unpacked(entry: Mapping[str, Any]) -> list[tuple[Any, bytes, bytes]]:
    """Return the id, the raw key and the raw fields of each document.

    Raises:
        ValueError, KeyError, zlib.error, BSONError: they aren't packed as :func:`packed` does.
    """
    raw = zlib.decompressobj().decompress(entry["images"], _MOST_UNPACKED)
    whole = split(raw, most=2 * entry["count"])
    keys, before = whole[::2], whole[1::2]
    return [
        (bson.decode(key, OPTIONS)["_id"], key, raw) for key, raw in zip(keys, before, strict=True)
    ]


def is_fields(value: Any) -> bool:
    """Return whether *value* is a list of top-level fields, and of one at least."""
    return isinstance(value, list) and bool(value) and all(map(_is_field, value))


def _is_field(value: Any) -> bool:
    return shapes.field(value) and "." not in value


#: What is kept of the documents of one collection that were changed; see :func:`packed`.
SHAPE: Shape = {
    "fields": is_fields,
    "count": shapes.count,
    "images": bytes,
    "written": bytes,
    "after": shapes.each({"field": str, "digest": shapes.digest, "count": shapes.count}),
    "orders": shapes.optional(shapes.each_is(shapes.texts)),
    "order_of": shapes.optional(shapes.each_is(shapes.count)),
}


def mistake(entry: Mapping[str, Any]) -> str:
    """Return in what the parts of an entry contradict one another; nothing if they don't."""
    if len(entry["written"]) != entry["count"] * DIGEST:
        return "it has not one digest for each document"
    if not {item["field"] for item in entry["after"]} <= set(entry["fields"]):
        return "its digests are of other fields"
    orders, order_of = entry.get("orders") or (), entry.get("order_of") or ()
    wanted = entry["count"] if orders else 0
    # Of a batch that was never begun, earlier versions left the orders.
    odd = bool(entry["count"]) and len(order_of) != wanted
    if odd or any(number >= len(orders) for number in order_of):
        return "its order_of isn't of its documents"
    return _wrong_images(entry)


def _wrong_images(entry: Mapping[str, Any]) -> str:
    fields = set(entry["fields"])
    try:
        rows = unpacked(entry)
        odd = len(rows) != entry["count"] or any(
            not shapes.identity(identity)
            or not fields.issuperset(one.name.decode() for one in elements(raw))
            for identity, _key, raw in rows
        )
    except (ValueError, KeyError, IndexError, struct.error, zlib.error, BSONError):
        return "its images can't be read"
    return "its images are of other documents or fields" if odd else ""
