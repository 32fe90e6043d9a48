"""What other tools and servers leave in a database is backed up, restored, and drilled."""

from __future__ import annotations

import datetime
import struct
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128, Int64, ObjectId, Timestamp
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from mongo_migration.backup import dump, open_source, restore
from mongo_migration.errors import ArchiveError
from pymongo import MongoClient
from pymongo.database import Database

from tests.support import backups

Client = MongoClient[dict[str, Any]]
FAR = 2**55  # milliseconds: the year 1,143,705


def raw(body: bytes) -> RawBSONDocument:
    return RawBSONDocument(struct.pack("<i", len(body) + 5) + body + b"\0")


@pytest.fixture
def functions(database: Database[dict[str, Any]]) -> Database[dict[str, Any]]:
    database["items"].insert_many([{"_id": n} for n in range(10)])
    database["system.js"].insert_many([{"_id": "f", "value": 1}, {"_id": "g", "value": 2}])
    return database


def test_stored_functions_are_restored_where_there_are_some(
    replica_set: Any,
    functions: Database[dict[str, Any]],
    independent: Client,
    tmp_path: Path,
) -> None:
    """The server neither drops nor renames that collection."""
    before = backups.facts(independent[functions.name])
    with MongoClient[dict[str, Any]](replica_set.uri("migrator"), tz_aware=True) as migrator:
        archive = Path(backups.take(migrator, functions.name, tmp_path)["archive"])
        functions["system.js"].update_one({"_id": "f"}, {"$set": {"value": 3}})
        functions["system.js"].delete_one({"_id": "g"})
        functions["system.js"].insert_one({"_id": "h"})
        functions["items"].delete_many({})
        backups.put_back(migrator, functions.name, archive)
        assert backups.facts(independent[functions.name]) == before
        backups.put_back(migrator, functions.name, archive)  # over an equal copy

    assert backups.facts(independent[functions.name]) == before


def test_stored_functions_that_the_backup_doesnt_have_go(
    client: Client, functions: Database[dict[str, Any]], independent: Client, tmp_path: Path
) -> None:
    kept = list(functions["system.js"].find())
    functions["system.js"].delete_many({})
    archive = Path(backups.take(client, functions.name, tmp_path)["archive"])
    functions["system.js"].insert_many(kept)

    backups.put_back(client, functions.name, archive)
    assert independent[functions.name]["system.js"].count_documents({}) == 0

    copy = f"{functions.name}_copy"
    independent[copy]["system.js"].insert_one({"_id": "another one's"})
    independent[copy]["other"].insert_one({})
    with open_source.open_source(archive) as source:  # type: ignore[union-attr]
        source.manifest.collections[:] = [
            one for one in source.manifest.collections if one.name != "system.js"
        ]
        restore.restore(
            client,
            source,
            restore.Settings(database=copy, source_database=functions.name, confirm=copy),
            hold=backups.lease_of("restore"),
            progress=lambda event: None,
        )
    assert independent[copy]["system.js"].count_documents({}) == 0
    assert "other" not in independent[copy].list_collection_names()


def test_a_full_capped_collection_that_is_written_during_the_backup_is_restored(
    client: Client,
    database: Database[dict[str, Any]],
    independent: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The archive has more than the collection can hold: of that, the newest fit."""
    log = database.create_collection("log", capped=True, size=1 << 20, max=200)
    log.insert_many([{"_id": n} for n in range(200)])
    original = dump.raw_batches

    def reading(where: Any, name: str, **options: Any) -> Any:
        for number, batch in enumerate(original(where, name, **{**options, "batch_size": 50})):
            yield batch
            if name == "log":
                log.insert_many([{"_id": 1000 + 20 * number + n} for n in range(20)])

    monkeypatch.setattr(dump, "raw_batches", reading)
    result = backups.take(client, database.name, tmp_path)
    monkeypatch.undo()
    archived = result["manifest"]["collections"][0]["count"]
    assert archived > 200

    restored = backups.put_back(client, database.name, Path(result["archive"]))

    ids = [one["_id"] for one in independent[database.name]["log"].find()]
    assert len(ids) == 200
    assert ids == [*range(archived - len(ids), 200), *range(1000, 1000 + archived - 200)][-200:]
    assert any("the newest 200 fit it" in warning for warning in restored["warnings"])


def test_a_capped_collection_that_lost_other_documents_isnt_called_restored(
    client: Client,
    database: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = database.create_collection("log", capped=True, size=1 << 20, max=200)
    log.insert_many([{"_id": n} for n in range(200)])
    archive = Path(backups.take(client, database.name, tmp_path)["archive"])
    original = restore.Loader.await_majority

    def lose(loader: Any) -> None:
        original(loader)
        name = next(one for one in database.list_collection_names() if one.endswith(".0"))
        database[name].delete_one({"_id": 100})

    monkeypatch.setattr(restore.Loader, "await_majority", lose)
    with pytest.raises(ArchiveError, match="log has 199 documents"):
        backups.put_back(client, database.name, archive)


def test_a_capped_collection_that_is_overtaken_while_it_is_read_is_backed_up(
    client: Client, database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    log = database.create_collection("log", capped=True, size=1 << 16, max=300)
    log.insert_many([{"_id": n} for n in range(300)])
    told = []

    def overtake(event: dict[str, Any]) -> None:
        told.append(event)
        if len(told) < 3:
            log.insert_many([{"_id": 1000 * len(told) + n} for n in range(400)])

    settings = dump_settings(tmp_path)
    result = backups.create.back_up(client, database.name, settings, progress=overtake)

    backups.put_back(client, database.name, Path(result["archive"]))
    assert log.count_documents({}) == 300


def dump_settings(folder: Path) -> Any:
    return backups.create.Settings(folder=folder)


def test_values_that_no_driver_decodes_come_back(
    client: Client, database: Database[dict[str, Any]], independent: Client, tmp_path: Path
) -> None:
    zero = b"\x11t\0" + bytes(8)
    far, year_zero = struct.pack("<q", FAR), struct.pack("<q", -62_167_219_200_001)
    documents: list[Any] = [
        {"_id": ObjectId("11" * 4 + "00" * 8), "zero": 0.0, "far": DatetimeMS(FAR)},
        {"_id": ObjectId("65a000000000000000000011"), "a": 0.0, "b": Int64(0)},
        raw(b"\x10_id\0\x01\0\0\0" + b"\x02s\0\x03\0\0\0\xff\xfe\0" + zero),
        raw(b"\x10_id\0\x02\0\0\0" + b"\x09d\0" + far + zero),
        raw(b"\x10_id\0\x03\0\0\0" + b"\x09d\0" + year_zero + zero + b"\x11u\0" + bytes(8)),
        raw(b"\x09_id\0" + far + zero),
        raw(b"\x02_id\0\x02\0\0\0\xff\0" + zero),
        raw(b"\x10_id\0\x04\0\0\0" + b"\x0cp\0\x02\0\0\0x\0" + bytes(12) + b"\x06u\0" + zero),
        {"_id": Decimal128("1.0"), "t": Timestamp(0, 1)},
    ]
    for one in documents:
        database.command({"insert": "odd", "documents": [one]})
    # The server set the zero timestamps to its clock; a pipeline keeps them.
    for field in ("t", "u", "zero"):
        there = {field: {"$type": "timestamp"}}
        zero_again = {"$set": {field: {"$literal": Timestamp(0, 0)}}}
        updates = [{"q": there, "u": [zero_again], "multi": True}]
        database.command({"update": "odd", "updates": updates})
    database.command(
        {"insert": "_migrations", "documents": [raw(b"\x10_id\0\x09\0\0\0\x02s\0\x02\0\0\0\xff\0")]}
    )
    before = backups.facts(independent[database.name])
    assert sum(zero in one for one in before["odd"]["documents"]) == 6
    archive = Path(backups.take(client, database.name, tmp_path)["archive"])
    database["odd"].drop()

    backups.put_back(client, database.name, archive)

    assert backups.facts(independent[database.name]) == before
    backups.put_back(client, f"{database.name}_copy", archive)
    assert backups.facts(independent[f"{database.name}_copy"]) == before


def test_odd_definitions_come_back(
    client: Client, database: Database[dict[str, Any]], independent: Client, tmp_path: Path
) -> None:
    """Names that the driver refuses, and a partial index with a date that it can't decode."""
    where = independent[database.name]
    for name in ("trail.", "a..b", "system", " ", "a\nb\x1b[2J", "q'\"`$".replace("$", "")):
        database.command({"create": name})
        database.command({"insert": name, "documents": [{"_id": 1, "t": Timestamp(0, 0)}]})
        database.command(
            {"createIndexes": name, "indexes": [{"key": {"x": 1}, "name": "x", "v": 1}]}
        )
    database.command({"create": "ts..t.", "timeseries": {"timeField": "t"}})
    database.command({"create": "view.", "viewOn": "a..b", "pipeline": []})
    far = {"at": {"$gt": DatetimeMS(FAR)}}
    database["items"].create_index("at", name="far", partialFilterExpression=far)
    database.create_collection("checked", validator={"at": {"$lt": DatetimeMS(FAR)}})
    before = backups.facts(where)
    archive = Path(backups.take(client, database.name, tmp_path)["archive"])
    for name in ("trail.", "a..b", "ts..t.", "view.", "items"):
        database.command({"drop": name})
    database.command({"create": "new..", "viewOn": "a..b", "pipeline": []})

    backups.put_back(client, database.name, archive)

    assert backups.facts(where) == before


def test_what_has_expired_comes_back_and_the_server_may_remove_it_afterwards(
    client: Client, database: Database[dict[str, Any]], independent: Client, tmp_path: Path
) -> None:
    """Until all is compared, a time series or a clustered collection has no expiry."""
    old = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
    ttl: dict[str, Any] = {"expireAfterSeconds": 3600}
    client.admin.command({"setParameter": 1, "ttlMonitorEnabled": False})
    try:
        database.create_collection("ts", timeseries={"timeField": "t"}, **ttl)
        database["ts"].insert_many([{"t": old, "n": n} for n in range(20)])
        index = {"key": {"_id": 1}, "unique": True}
        database.create_collection("clustered", clusteredIndex=index, **ttl)
        database["clustered"].insert_one({"_id": old})
        before = backups.facts(independent[database.name])
        archive = Path(backups.take(client, database.name, tmp_path)["archive"])

        backups.put_back(client, database.name, archive)

        assert backups.facts(independent[database.name]) == before
        assert independent[database.name]["ts"].count_documents({}) == 20
    finally:
        client.admin.command({"setParameter": 1, "ttlMonitorEnabled": True})


def test_records_that_an_index_refuses_are_found_before_anything_is_replaced(
    client: Client, database: Database[dict[str, Any]], independent: Client, tmp_path: Path
) -> None:
    database["items"].insert_one({"_id": 1})
    database["_migrations"].insert_many([{"_id": "a", "n": 1}, {"_id": "b", "n": 1}])
    archive = Path(backups.take(client, database.name, tmp_path)["archive"])
    database["_migrations"].delete_one({"_id": "b"})
    database["_migrations"].create_index("n", unique=True, sparse=True)
    database["items"].insert_one({"_id": 2})
    before = backups.facts(independent[database.name])

    with pytest.raises(ArchiveError, match="don't fit an index of _migrations"):
        backups.put_back(client, database.name, archive)

    assert backups.facts(independent[database.name]) == before
