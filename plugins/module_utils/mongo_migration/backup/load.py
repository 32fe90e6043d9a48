"""Puts documents, options and indexes into a database, exactly as they were."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo.database import Database
from pymongo.write_concern import WriteConcern

from ..errors import ArchiveError
from ..values.digest import Digest
from ..values.raw import raw_batches
from . import catalog

# The server replaces such a value at the top level of an inserted document by its own time.
_ZERO = Timestamp(0, 0)
_NINE_ZEROS = bytes(9)
_ZERO_FIELD = re.compile(rb"\x11[^\x00]+\x00{9}", re.DOTALL)
# What one command may hold; the driver adds its own fields to the 48 MB of a message.
_MOST_BYTES, _MOST_DOCUMENTS = 32 << 20, 50_000


def create(database: Database[Any], name: str, options: Mapping[str, Any]) -> None:
    """Make the collection, time series or view *name* with *options*."""
    # Servers before 4.0 kept this one; newer ones refuse it, and always have an index on _id.
    kept = {key: value for key, value in options.items() if key != "autoIndexId"}
    database.command({"create": name, **kept})


def insert(
    database: Database[Any],
    name: str,
    batches: Iterable[list[bytes]],
    *,
    loaded: Callable[[int], None],
) -> Digest:
    """Insert raw documents in their order, unseen by validators; return their digest.

    Raises:
        ArchiveError: the server refused one of them.
    """
    digest = Digest()
    for batch in batches:
        for documents in _commands(batch):
            _insert(database, name, documents)
            repairs = [raw for raw in documents if _NINE_ZEROS in raw and _ZERO_FIELD.search(raw)]
            _keep_zero_timestamps(database, name, repairs)
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
        database.command({"createIndexes": name, "indexes": specs})
    return [spec["name"] for spec in specs]


def digest_of(
    database: Database[Any],
    name: str,
    *,
    read: Callable[[int], None],
    without: frozenset[str] = frozenset(),
) -> Digest:
    """Return the digest of what a majority of members hold."""
    digest = Digest()
    condition = {"_id": {"$nin": sorted(without)}} if without else None
    for documents in raw_batches(
        database,
        name,
        filter=condition,
        read_concern={"level": "majority"},
        comment="mongo_restore",
    ):
        digest.add_many(documents)
        read(len(documents))
    return digest


def differences(found: catalog.Found, expected: catalog.Found) -> list[str]:
    """Return what differs in options and indexes, as sentences."""
    problems = []
    if dict(found.options) != dict(expected.options):
        problems.append(f"options are {dict(found.options)}, expected {dict(expected.options)}")
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


def _insert(database: Database[Any], name: str, documents: list[bytes]) -> None:
    reply = database.command(
        {
            "insert": name,
            "ordered": True,
            "bypassDocumentValidation": True,
            "documents": [RawBSONDocument(raw) for raw in documents],
            "comment": "mongo_restore",
        }
    )
    if reply.get("writeErrors") or reply["n"] != len(documents):
        error = (reply.get("writeErrors") or [{}])[0]
        raise ArchiveError(
            f"The server took {reply['n']} of {len(documents)} documents into "
            f"{database.name}.{name}: {error.get('errmsg', 'no reason given')}.",
            collection=name,
        )


def _keep_zero_timestamps(database: Database[Any], name: str, documents: list[bytes]) -> None:
    """Write the documents again that have a zero timestamp, in a way that keeps it."""
    collection = database[name].with_options(write_concern=WriteConcern(w=1))
    for raw in documents:
        document = bson.decode(raw)
        if _ZERO in (value for key, value in document.items() if key != "_id"):
            collection.update_one(
                {"_id": {"$eq": document["_id"]}},
                [{"$replaceWith": {"$literal": RawBSONDocument(raw)}}],
                bypass_document_validation=True,
            )
