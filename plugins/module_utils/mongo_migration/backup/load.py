"""Puts documents, options and indexes into a database, exactly as they were."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bson.binary import Binary
from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import OperationFailure

from ..errors import ArchiveError
from ..support import majority
from ..support.listing import NAMESPACE_NOT_FOUND
from ..values import elements
from ..values.digest import Digest
from ..values.raw import raw_batches
from . import catalog
from .names import SPECIAL

# The server replaces a zero timestamp at the top level of an inserted document by its own time.
_ZERO = bytes(8)
_NINE_ZEROS = bytes(9)
_ZERO_FIELD = re.compile(rb"\x11[^\x00]+\x00{9}", re.DOTALL)
# What one command may hold; the driver adds its own fields to the 48 MB of a message.
_MOST_BYTES, _MOST_DOCUMENTS = 32 << 20, 50_000
_TTL = "expireAfterSeconds"
# Said to each command, so that no default of the server's waits for members without an end: a
# majority is waited for once for all (:meth:`.loading.Loader.await_majority`).
PRIMARY_ALONE = {"writeConcern": {"w": 1}}


def create(database: Database[Any], name: str, options: Mapping[str, Any]) -> None:
    """Make the collection, time series or view *name* with *options*.

    Nothing expires in it yet: what is loaded is compared before the server may remove any of it.
    See :func:`let_expire`.
    """
    kept = {key: value for key, value in options.items() if key != _TTL}
    database.command({"create": name, **kept, **PRIMARY_ALONE})


def drop(database: Database[Any], name: str, uuid: Binary | None = None) -> None:
    """Drop what *name* is; with *uuid*, only the collection of that UUID."""
    try:
        database.command({"drop": name, **_bound(uuid), **PRIMARY_ALONE})
    except OperationFailure as error:
        if error.code != NAMESPACE_NOT_FOUND:
            raise


def let_expire(database: Database[Any], name: str, options: Mapping[str, Any]) -> None:
    """Let a time series or a clustered collection expire as *options* say."""
    if _TTL in options:
        database.command({"collMod": name, _TTL: options[_TTL], **PRIMARY_ALONE})


def insert(
    database: Database[Any],
    name: str,
    batches: Iterable[list[bytes]],
    *,
    loaded: Callable[[int], None],
    uuid: Binary | None = None,
    session: ClientSession | None = None,
) -> Digest:
    """Insert raw documents in their order, unseen by validators; return their digest.

    Args:
        database: where the collection is.
        name: the collection.
        batches: the documents.
        loaded: told of how many were inserted.
        uuid: of the collection, where the server can hold the insert to it: if another one has
            taken its place meanwhile, nothing is inserted into that.
        session: of the transaction that this is a part of.

    Raises:
        ArchiveError: the server refused one of them.
    """
    digest = Digest()
    for batch in batches:
        for documents in _commands(batch):
            _insert(database, name, documents, uuid, session)
            repairs = [raw for raw in documents if _NINE_ZEROS in raw and _ZERO_FIELD.search(raw)]
            _keep_zero_timestamps(database, name, repairs, uuid, session)
            digest.add_many(documents)
            loaded(len(documents))
    return digest


def build_indexes(
    database: Database[Any],
    name: str,
    options: Mapping[str, Any],
    indexes: Iterable[Mapping[str, Any]],
) -> list[str]:
    """Build all but the index on ``_id``; return their names."""
    specs = []
    for index in indexes:
        if index["name"] == "_id_" or index.get("clustered"):
            continue
        spec = dict(index)
        if "collation" in options and "collation" not in spec:
            # Otherwise it would inherit the collection's.
            spec["collation"] = {"locale": "simple"}
        specs.append(spec)
    if specs:
        database.command(
            {
                "createIndexes": name,
                "indexes": specs,
                # As long as a member is down, others would wait for it.
                **({"commitQuorum": 1} if majority.is_set(database.client) else {}),
                **PRIMARY_ALONE,
            }
        )
    return [spec["name"] for spec in specs]


def digest_of(database: Database[Any], name: str, *, read: Callable[[int], None]) -> Digest:
    """Return the digest of what a majority of members hold."""
    digest = Digest()
    for documents in raw_batches(
        database, name, read_concern={"level": "majority"}, comment="mongo_restore"
    ):
        digest.add_many(documents)
        read(len(documents))
    return digest


def digest_of_last(batches: Iterable[list[bytes]], total: int, count: int) -> Digest:
    """Return the digest of the last *count* of *total* documents."""
    skip, digest = total - count, Digest()
    for batch in batches:
        digest.add_many(batch[skip:] if skip > 0 else batch)
        skip -= len(batch)
    return digest


def differences(found: catalog.Found, expected: catalog.Found) -> list[str]:
    """Return what differs in options and indexes, as sentences."""
    problems = []
    if found.options != expected.options:
        problems.append(f"options are {found.options}, expected {expected.options}")
    there = {index["name"]: index for index in found.indexes}
    wanted = {index["name"]: index for index in expected.indexes}
    problems += [f"index {name} is missing" for name in sorted(wanted.keys() - there.keys())]
    problems += [f"index {name} is new" for name in sorted(there.keys() - wanted.keys())]
    problems += [
        f"index {name} is {there[name]}, expected {wanted[name]}"
        for name in sorted(wanted.keys() & there.keys())
        # The order of an index's keys matters, that of its options doesn't.
        if there[name] != wanted[name] or list(there[name]["key"]) != list(wanted[name]["key"])
    ]
    return problems


def identity(raw: bytes) -> elements.Element:
    """Return where the ``_id`` of *raw* lies.

    Raises:
        ArchiveError: it has none, or it isn't BSON.
    """
    try:
        found = elements.field(raw, b"_id")
    except ValueError as error:
        raise ArchiveError(f"A document of the backup isn't BSON: {error}.") from error
    if found is None:
        raise ArchiveError("A document of the backup has no _id.")
    return found


def by_identity(raw: bytes) -> dict[str, Any]:
    """Return the condition that finds the document *raw* by its ``_id``, never decoded."""
    return {"_id": RawBSONDocument(elements.alone(raw, identity(raw), b"$eq"))}


def _commands(batch: list[bytes]) -> Iterable[list[bytes]]:
    """Cut *batch* so that each part fits one command."""
    part: list[bytes] = []
    size = 0
    for raw in batch:
        if part and (size + len(raw) > _MOST_BYTES or len(part) >= _MOST_DOCUMENTS):
            yield part
            part, size = [], 0
        part.append(raw)
        size += len(raw)
    if part:
        yield part


def _insert(
    database: Database[Any],
    name: str,
    documents: list[bytes],
    uuid: Binary | None,
    session: ClientSession | None,
) -> None:
    reply = database.command(
        {
            "insert": name,
            "ordered": True,
            **_unseen(name),
            "documents": [RawBSONDocument(raw) for raw in documents],
            "comment": "mongo_restore",
            **_bound(uuid),
            **_concern(session),
        },
        session=session,
    )
    if reply.get("writeErrors") or reply["n"] != len(documents):
        raise _refused(database, name, reply, f"{reply['n']} of {len(documents)} documents")


def _keep_zero_timestamps(
    database: Database[Any],
    name: str,
    documents: list[bytes],
    uuid: Binary | None,
    session: ClientSession | None,
) -> None:
    """Write the documents again that have a zero timestamp, in a way that keeps it."""
    updates = [
        {
            "q": by_identity(raw),
            "u": [{"$replaceWith": {"$literal": RawBSONDocument(raw)}}],
        }
        for raw in documents
        if any(
            one.kind == elements.TIMESTAMP
            and one.name != b"_id"
            and raw[one.start : one.stop] == _ZERO
            for one in elements.elements(raw)
        )
    ]
    if not updates:
        return
    reply = database.command(
        {
            "update": name,
            "updates": updates,
            **_unseen(name),
            "comment": "mongo_restore",
            **_bound(uuid),
            **_concern(session),
        },
        session=session,
    )
    if reply.get("writeErrors"):
        raise _refused(database, name, reply, "no zero timestamp")


def _unseen(name: str) -> dict[str, Any]:
    """Return what keeps validators from looking; where there are none, no role allows it."""
    return {} if name in SPECIAL else {"bypassDocumentValidation": True}


def _concern(session: ClientSession | None) -> dict[str, Any]:
    """Return it but in a transaction, whose commit has one."""
    return PRIMARY_ALONE if session is None else {}


def _bound(uuid: Binary | None) -> dict[str, Any]:
    return {} if uuid is None else {"collectionUUID": uuid}


def _refused(
    database: Database[Any], name: str, reply: Mapping[str, Any], what: str
) -> ArchiveError:
    error = (reply.get("writeErrors") or [{}])[0]
    return ArchiveError(
        f"The server took {what} into {database.name}.{name}: "
        f"{error.get('errmsg', 'no reason given')}.",
        collection=name,
    )
