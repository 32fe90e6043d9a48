"""Documents as the bytes that the server keeps: read without ever decoding them.

A driver's cursor builds an object per document. Here the reply of ``find`` and ``getMore`` is left
as it came and cut into documents by their length prefixes, which costs half the time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress
from typing import Any

import bson
from bson.codec_options import CodecOptions
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import PyMongoError
from pymongo.read_preferences import ReadPreference

from ..errors import MigrationError

RAW_CODEC: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)

# A first batch of moderate size tells how large documents are; the next ones are sized by that.
_FIRST_BATCH = 101
_MOST_PER_BATCH = 100_000

_INT32 = struct.Struct("<i")
_INT64 = struct.Struct("<q")
_TIMESTAMP = struct.Struct("<II")
# The BSON types that a cursor's reply holds at its top level; of those that have no length prefix,
# the length of their values.
_DOCUMENT, _ARRAY, _STRING, _BOOL, _TIME, _LONG = 0x03, 0x04, 0x02, 0x08, 0x11, 0x12
_OBJECT_ID = 0x07
_FIXED = {_BOOL: 1, _TIME: 8, _LONG: 8, 0x01: 8, 0x09: 8, 0x0A: 0, 0x10: 4, _OBJECT_ID: 12}
# A length and a type come before a first field's name, which ends in a zero byte.
_BEHIND_NAME = 5 + len(b"_id\0")
_BEHIND_OBJECT_ID = _BEHIND_NAME + _FIXED[_OBJECT_ID]


class SnapshotMissedError(MigrationError):
    """A reply was of another time than asked for, as from a collection that was dropped since."""


def raw_documents(database: Database[Any], collection: str, **options: Any) -> Iterator[bytes]:
    """Yield every matching document as raw BSON; *options* are those of :func:`raw_batches`."""
    for documents in raw_batches(database, collection, **options):
        yield from documents


def raw_batches(
    database: Database[Any],
    collection: str,
    *,
    filter: Mapping[str, Any] | None = None,  # noqa: A002 - the find command's own word
    projection: Mapping[str, Any] | None = None,
    sort: Mapping[str, Any] | None = None,
    limit: int | None = None,
    hint: Mapping[str, Any] | str | None = None,
    minimum: Mapping[str, Any] | None = None,
    collation: Mapping[str, Any] | None = None,
    comment: Any = None,
    session: ClientSession | None = None,
    read_concern: Mapping[str, Any] | None = None,
    at: Timestamp | None = None,
    batch_size: int | None = None,
    batch_bytes: int = 4 << 20,
) -> Generator[list[bytes], None, None]:
    """Yield lists of documents as raw BSON, read from the primary.

    Args:
        database: where the collection is.
        collection: its name.
        filter, projection, sort, limit, hint, collation, comment: as in the ``find`` command.
        minimum: its ``min``.
        session: an explicit session; without one, the pass makes its own.
        read_concern: for example ``{"level": "majority"}``.
        at: read the state of this cluster time; every reply is checked to be of that time.
        batch_size: documents a reply; by default, replies get about *batch_bytes*.
        batch_bytes: what a reply should hold; the server allows no more than 16 MiB.

    Raises:
        SnapshotMissedError: a reply isn't of the time *at*.
        pymongo.errors.PyMongoError: as from any command.
    """
    if at is not None:
        read_concern = {"level": "snapshot", "atClusterTime": at}
    optional = {
        "projection": projection,
        "sort": sort,
        "limit": limit,
        "hint": hint,
        "min": minimum,
        "collation": collation,
        "comment": comment,
        "readConcern": read_concern,
    }
    find = {
        "find": collection,
        "filter": filter or {},
        "batchSize": batch_size or _FIRST_BATCH,
        **{key: value for key, value in optional.items() if value is not None},
    }

    def following(cursor: int, documents: list[bytes]) -> dict[str, Any]:
        size = batch_size or _size_for(documents, batch_bytes)
        more = {"getMore": cursor, "collection": collection, "batchSize": size}
        return more if comment is None else {**more, "comment": comment}

    yield from _batches(database, find, following, session=session, at=at)


def _batches(
    database: Database[Any],
    find: Mapping[str, Any],
    following: Callable[[int, list[bytes]], dict[str, Any]],
    *,
    session: ClientSession | None,
    at: Timestamp | None,
) -> Generator[list[bytes], None, None]:
    """Yield what *find* gives, and what the commands *following* a reply give."""
    # A cursor belongs to the session that opened it, and an implicit one ends with its command.
    own = session or database.client.start_session(causal_consistency=False)
    with nullcontext() if session else own:
        cursor, documents = 0, list[bytes]()
        try:
            cursor, documents = _reply(database, find, own, at)
            while True:
                if documents:
                    yield documents
                if not cursor:
                    return
                cursor, documents = _reply(database, following(cursor, documents), own, at)
        finally:
            if cursor:  # the caller stopped early
                with suppress(PyMongoError):
                    database.command("killCursors", find["find"], cursors=[cursor], session=own)


def split(
    raw: bytes, start: int = 0, stop: int | None = None, *, most: int | None = None
) -> list[bytes]:
    """Return the documents that lie end to end in *raw*, as in a ``.bson`` file.

    Raises:
        ValueError: a length doesn't fit, a document doesn't end in a zero byte, or there are more
            than *most*.
    """
    stop = len(raw) if stop is None else stop
    documents: list[bytes] = []
    length = _INT32.unpack_from
    try:
        while start < stop:
            end = start + length(raw, start)[0]
            if end < start + 5 or end > stop or raw[end - 1] or len(documents) == most:
                break
            documents.append(raw[start:end])
            start = end
    except struct.error:
        pass
    if start != stop:
        raise ValueError(f"no whole document at byte {start} of {stop}")
    return documents


def embedded(raw: bytes) -> dict[str, bytes]:
    """Return the documents in *raw*, a document all of whose fields are documents."""
    found, position, end = {}, 4, len(raw) - 1
    while position < end:
        zero = raw.index(0, position + 1)
        start = zero + 1
        stop = start + _INT32.unpack_from(raw, start)[0]
        found[raw[position + 1 : zero].decode()] = raw[start:stop]
        position = stop
    return found


def take_id(raw: bytes, options: CodecOptions[dict[str, Any]]) -> tuple[Any, bytes]:
    """Return the ``_id`` of *raw*, which is its first field, and the bytes of all behind it."""
    if raw[4] == _OBJECT_ID:
        return ObjectId(raw[_BEHIND_NAME:_BEHIND_OBJECT_ID]), raw[_BEHIND_OBJECT_ID:]
    document = bson.decode(raw, options)
    identity = document.pop("_id")
    return identity, bson.encode(document, codec_options=options)[4:]


def with_ids(ids: Iterable[Any], fields: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield a document for each of *ids*, which holds it as ``_id`` and *fields* behind it."""
    behind = bson.encode(fields)[4:]
    # All of these have one length, and so the same bytes before and behind the ObjectId.
    start = _INT32.pack(_BEHIND_OBJECT_ID + len(behind)) + bytes([_OBJECT_ID]) + b"_id\0"
    for identity in ids:
        if type(identity) is ObjectId:
            yield start + identity.binary + behind
        else:
            yield whole(bson.encode({"_id": identity})[4:-1] + behind)


def whole(fields: bytes) -> bytes:
    """Return the document that :func:`take_id` left without its ``_id``."""
    return _INT32.pack(4 + len(fields)) + fields


def _reply(
    database: Database[Any],
    command: Mapping[str, Any],
    session: ClientSession,
    at: Timestamp | None,
) -> tuple[int, list[bytes]]:
    """Send a cursor command and return the cursor's id (0 at its end) and the documents."""
    reply = database.command(
        dict(command),
        codec_options=RAW_CODEC,
        session=session,
        # getMore must reach the member that has the cursor.
        read_preference=ReadPreference.PRIMARY,
    )
    cursor, documents, time = _cursor(bytes(reply["cursor"].raw))
    if at is not None and time != at:
        raise SnapshotMissedError(
            f"The server answered from the time {time}, not from {at} as asked: the read is not "
            "of one point in time. Nothing was kept of it."
        )
    return cursor, documents


def _cursor(raw: bytes) -> tuple[int, list[bytes], Timestamp | None]:
    """Cut the reply's ``cursor`` into its id, its batch and its cluster time."""
    cursor, documents, time = 0, list[bytes](), None
    position, end = 4, len(raw) - 1
    while position < end:
        kind = raw[position]
        zero = raw.index(0, position + 1)
        name, position = raw[position + 1 : zero], zero + 1
        if kind == _ARRAY and name in (b"firstBatch", b"nextBatch"):
            documents = _elements(raw, position)
        elif kind == _LONG and name == b"id":
            cursor = _INT64.unpack_from(raw, position)[0]
        elif kind == _TIME and name == b"atClusterTime":
            increment, seconds = _TIMESTAMP.unpack_from(raw, position)
            time = Timestamp(seconds, increment)
        if kind in _FIXED:
            position += _FIXED[kind]
        elif kind in (_DOCUMENT, _ARRAY):
            position += _INT32.unpack_from(raw, position)[0]
        elif kind == _STRING:
            position += 4 + _INT32.unpack_from(raw, position)[0]
        else:
            raise MigrationError(f"The server's cursor has a field '{name!r}' of unknown type.")
    return cursor, documents, time


def _elements(raw: bytes, start: int) -> list[bytes]:
    """Return the documents in the BSON array at *start*.

    The keys of an array are its indexes in decimal, so that their length is known without a look.
    """
    documents: list[bytes] = []
    keep, length = documents.append, _INT32.unpack_from
    end = start + length(raw, start)[0] - 1
    position, digits, next_digit = start + 4, 1, 10
    while position < end:
        if len(documents) == next_digit:
            digits, next_digit = digits + 1, next_digit * 10
        position += 2 + digits
        after = position + length(raw, position)[0]
        keep(raw[position:after])
        position = after
    return documents


def _size_for(documents: list[bytes], batch_bytes: int) -> int:
    """Return how many documents make a batch of about *batch_bytes*."""
    average = sum(map(len, documents)) / len(documents) if documents else 1024
    return max(1, min(_MOST_PER_BATCH, int(batch_bytes / average)))
