"""Whole documents, read as the server keeps them, and whether they could be put back so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import bson
from bson.codec_options import CodecOptions
from bson.timestamp import Timestamp
from pymongo.collection import Collection

from ...values.raw import raw_documents

# Of one journal entry, which is one document of at most 16 MiB.
MOST_BYTES = 4 << 20
_ZERO = Timestamp(0, 0)


def read(
    collection: Collection[dict[str, Any]],
    *,
    where: dict[str, Any],
    comment: str | None,
    **options: Any,
) -> Iterator[tuple[dict[str, Any], int, bool]]:
    """Yield documents with their size in bytes, and whether they can be written back exactly.

    What a driver reads as another type can't; nor a field twice, nor a timestamp of zero, in whose
    place the server puts its own time.
    """
    raws = raw_documents(
        collection.database, collection.name, filter=where, comment=comment, **options
    )
    yield from judged(raws, collection.codec_options)


def judged(
    raws: Iterable[bytes], codec: CodecOptions[dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], int, bool]]:
    """Yield the same of documents that were read otherwise."""
    for raw in raws:
        document = bson.decode(raw, codec)
        exact = bson.encode(document, codec_options=codec) == raw
        zero = any(type(value) is Timestamp and value == _ZERO for value in document.values())
        yield document, len(raw), exact and not zero
