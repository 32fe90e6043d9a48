"""Databases with everything that a backup has to carry, and facts to compare them by."""

from __future__ import annotations

import datetime
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bson
from bson import (
    Binary,
    Code,
    DBRef,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
)
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument
from mongo_migration.backup import create, open_source, restore
from mongo_migration.ledger import lease
from mongo_migration.support.progress import quiet
from pymongo import MongoClient
from pymongo.database import Database

Client = MongoClient[dict[str, Any]]
LENIENT: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
# How the documents of `_migrations` begin that tell of the present.
_PRESENT = tuple(bson.encode({"_id": name})[4:-1] for name in ("lease", "restore"))
LONG_NAME = "long" + "ä" * 45
OPERATOR = {"user": "operator", "host": "here", "pid": os.getpid()}

EVERY_TYPE: dict[str, Any] = {
    "_id": ObjectId("65a000000000000000000001"),
    "double": 1.5,
    "nan": float("nan"),
    "minus_zero": -0.0,
    "string": "text with \0 zero and ünïcode",
    "document": {"b": 1, "a": {"c": []}},
    "array": [1, "two", [3, {"four": 4}], None],
    "binary": Binary(b"\0\1\2", 0),
    "uuid": Binary.from_uuid(uuid.UUID(int=7)),
    "old_uuid": Binary(b"x" * 16, 3),
    "md5": Binary(b"y" * 16, 5),
    "user_defined": Binary(b"z", 0x80),
    "object_id": ObjectId("65a0000000000000000000ff"),
    "true": True,
    "date": datetime.datetime(2026, 11, 23, 2, 5, 33, 123000, tzinfo=datetime.UTC),
    "early": datetime.datetime(1901, 1, 1, tzinfo=datetime.UTC),
    "null": None,
    "regex": Regex("^a.*b$", "im"),
    "code": Code("function() { return 1; }"),
    "code_with_scope": Code("return x", {"x": 1}),
    "int32": -5,
    "timestamp": Timestamp(1_700_000_000, 7),
    "zero_timestamp": Timestamp(0, 0),
    "nested": {"zero_timestamp": Timestamp(0, 0)},
    "int64": Int64(5),
    "zero_int64": Int64(0),
    "zero_double": 0.0,
    "large": Int64(2**62),
    "decimal": Decimal128("1.2300"),
    "decimal_nan": Decimal128("NaN"),
    "min_key": MinKey(),
    "max_key": MaxKey(),
    "reference": DBRef("items", ObjectId("65a000000000000000000001")),
    "": "an empty field name",
    "with.dot": 1,
}

IDS: list[Any] = [
    1,
    Int64(2),
    3.5,
    "text",
    "",
    {"a": 1, "b": 2},
    {"b": 2, "a": 1},
    Binary(b"id", 0),
    True,
    None,
    datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    Decimal128("7.70"),
    MinKey(),
    MaxKey(),
    Timestamp(0, 0),
    Timestamp(5, 5),
]


def everything(database: Database[dict[str, Any]]) -> None:
    """Fill *database* with every type of value, collection, option and index."""
    database["types"].insert_one(EVERY_TYPE)
    # The server sets a zero timestamp to its clock on insert, and keeps it from a pipeline.
    database["types"].update_one({}, [{"$replaceWith": {"$literal": EVERY_TYPE}}])
    database["ids"].insert_many([{"_id": value, "n": n} for n, value in enumerate(IDS)])
    database["items"].insert_many(
        [
            {"_id": n, "name": f"item {n}", "tags": ["a", str(n)], "at": [n % 90, n % 45], "n": n}
            for n in range(2500)
        ]
    )
    _indexes(database)
    database.create_collection("empty")
    database.create_collection("log", capped=True, size=65536, max=500)
    database["log"].insert_many([{"_id": -n, "line": n} for n in range(100)])
    database.create_collection(
        "checked",
        validator={"n": {"$type": "int"}, "name": {"$regex": "^x"}},
        validationLevel="moderate",
        validationAction="error",
    )
    database["checked"].insert_one({"_id": 1, "n": 5, "name": "xyz"})
    database["checked"].insert_one({"_id": 2, "n": "no"}, bypass_document_validation=True)
    database.create_collection("collated", collation={"locale": "de", "strength": 2})
    database["collated"].insert_many([{"_id": "a", "w": "Ä"}, {"_id": "b", "w": "ä"}])
    database["collated"].create_index("w", name="inherits")
    database["collated"].create_index("w", name="simple", collation={"locale": "simple"})
    database["collated"].create_index("w", name="french", collation={"locale": "fr"})
    database.create_collection(
        "view",
        viewOn="items",
        pipeline=[{"$match": {"name": {"$regex": "^item 1", "$options": "i"}}}],
    )
    database.create_collection("view_of_view", viewOn="view", pipeline=[])
    database.create_collection(
        "weather",
        timeseries={"timeField": "t", "metaField": "where", "granularity": "minutes"},
        expireAfterSeconds=10**9,
    )
    start = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
    database["weather"].insert_many(
        [
            {"t": start + datetime.timedelta(minutes=n), "where": n % 3, "c": n / 7}
            for n in range(300)
        ]
    )
    database["weather"].create_index([("where", 1), ("t", -1)])
    database.create_collection(
        "clustered", clusteredIndex={"key": {"_id": 1}, "unique": True, "name": "by id"}
    )
    database["clustered"].insert_many([{"_id": n} for n in range(20)])
    database["a name/with ünïcode & more"].insert_one({"_id": 1})
    database[LONG_NAME].insert_one({"_id": 1})
    database["big"].insert_many([{"_id": n, "blob": b"\1" * (5 << 20)} for n in range(4)])
    database["_migrations"].insert_one(
        {"_id": "004-a", "kind": "run", "number": 1, "migration": "004", "phase": "applied"}
    )
    database["_migrations_journal"].insert_many([{"_id": n, "run": "004-a"} for n in range(5)])


def _indexes(database: Database[dict[str, Any]]) -> None:
    items = database["items"]
    items.create_index([("name", 1), ("n", -1)])
    items.create_index("n", unique=True, name="unique n")
    items.create_index("tags")
    items.create_index([("name", "text"), ("tags", "text")], weights={"name": 5}, name="text")
    items.create_index([("at", "2d")], bits=20, min=-100, max=100)
    items.create_index([("geo", "2dsphere")])
    items.create_index([("name", "hashed")])
    items.create_index("$**", name="wildcard", wildcardProjection={"n": 0})
    items.create_index("expires", expireAfterSeconds=3600)
    items.create_index("hidden", hidden=True)
    items.create_index("sparse", sparse=True)
    items.create_index(
        "partial",
        partialFilterExpression={
            "partial": {"$type": "date", "$gt": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)}
        },
    )


def facts(database: Database[dict[str, Any]]) -> dict[str, Any]:
    """Return documents (raw), options and indexes of all but the lease, through a plain client.

    A collection that holds nothing but the lease counts as none.
    """
    database = database.with_options(codec_options=LENIENT)
    found = {}
    # The driver's own helper decodes strictly.
    listing = {"listCollections": 1, "cursor": {"batchSize": 1000}}
    for listed in database.command(listing, codec_options=LENIENT)["cursor"]["firstBatch"]:
        name = listed["name"]
        if name == "system.views":
            continue
        documents: Any = []
        if listed["type"] == "collection":
            documents = _documents(database, name)
        indexes = []
        if listed["type"] != "view":
            reply = database.command("listIndexes", name, codec_options=LENIENT)
            indexes = reply["cursor"]["firstBatch"]
        found[name] = {
            "type": listed["type"],
            "options": listed.get("options", {}),
            "documents": sorted(
                bytes(one.raw)
                for one in documents
                if name != "_migrations" or not bytes(one.raw)[4:].startswith(_PRESENT)
            ),
            "indexes": {one["name"]: (list(one["key"].items()), one) for one in indexes},
        }
    if not found.get("_migrations", {}).get("documents"):
        found.pop("_migrations", None)
    return found


def _documents(database: Database[dict[str, Any]], name: str) -> Any:
    raw = LENIENT.with_options(document_class=RawBSONDocument)
    if name.endswith(".") or ".." in name:  # the driver refuses such names
        find = {"find": name, "batchSize": 1000}
        return database.command(find, codec_options=raw)["cursor"]["firstBatch"]
    return database.get_collection(name, codec_options=raw).find()


def take(client: Client, database: str, folder: Path, **options: Any) -> dict[str, Any]:
    """Take a backup."""
    settings = create.Settings(folder=folder, **options)
    return create.back_up(client, database, settings, progress=quiet)


def put_back(client: Client, database: str, archive: Path, **options: Any) -> dict[str, Any]:
    """Restore with a lease of its own, unless `hold` is given."""
    hold: Callable[[Any], Any] = options.pop("hold", lease_of("restore"))
    progress = options.pop("progress", quiet)
    stop = options.pop("stop", None)
    source = open_source.open_source(archive, options.pop("keys", None))
    settings = restore.Settings(
        **{
            "database": database,
            "source_database": source.manifest.database,
            "confirm": database,
            **options,
        }
    )
    return restore.restore(client, source, settings, hold=hold, progress=progress, stop=stop)


def lease_of(purpose: str, seconds: float = 30) -> Callable[[Any], Any]:
    """Return what takes the lease of a database for *purpose*."""
    return lambda database: lease.hold(database, purpose=purpose, holder=OPERATOR, seconds=seconds)
