"""What changed since a backup: with it, the database at the instant, byte by byte."""

from __future__ import annotations

import datetime
import threading
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128, Int64, ObjectId
from mongo_migration.backup import belief, changes, create, crypt, fold, footer, open_source, store
from mongo_migration.backup.reader import Reader
from mongo_migration.errors import ArchiveError
from mongo_migration.support.progress import quiet
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure
from pyrage import x25519

from tests.support import backups, databases

Client = MongoClient[dict[str, Any]]
LARGEST = (16 << 20) - 100


def on(client: Client, database: Database[dict[str, Any]], base: Path, **options: Any) -> Path:
    """Take a backup of what changed since *base*; it must be one."""
    result = backups.take(client, database.name, base.parent, base=base, **options)
    assert result["why_whole"] is None
    assert result["base"] == str(base)
    return Path(result["archive"])


def whole(client: Client, database: Database[dict[str, Any]], folder: Path, **options: Any) -> Path:
    return Path(backups.take(client, database.name, folder, **options)["archive"])


def change_everything(database: Database[dict[str, Any]]) -> None:
    """Write to what `backups.everything` has made, in every way."""
    database["types"].update_one({}, {"$set": {"string": "another"}})
    database["ids"].delete_many({"n": {"$lt": 5}})
    database["ids"].insert_one({"_id": 1.0, "n": "was an integer"})
    database["ids"].update_many({"n": {"$gt": 8}}, {"$inc": {"n": 100}})
    database["items"].delete_many({"n": {"$lt": 1000}})
    database["items"].insert_many([{"_id": n, "n": n, "again": True} for n in range(500)])
    database["items"].insert_many([{"_id": ObjectId(), "n": n} for n in range(3000, 3050)])
    database["items"].delete_many({"n": {"$gt": 3025}})
    database["empty"].insert_one({"_id": 1})
    database["empty"].delete_one({"_id": 1})
    database["log"].insert_many([{"_id": n, "line": n} for n in range(1, 600)])
    database["collated"].delete_one({"_id": "a"})
    database["collated"].insert_one({"_id": "A", "w": "x"})
    database["weather"].insert_one(
        {"t": datetime.datetime(2026, 11, 2, tzinfo=datetime.UTC), "where": 1, "c": 1.5}
    )
    database["clustered"].delete_one({"_id": 3})
    database["clustered"].insert_one({"_id": 100})
    database["a name/with ünïcode & more"].insert_one({"_id": 2})
    database[backups.LONG_NAME].delete_many({})
    database["big"].delete_one({"_id": 0})
    database["new"].insert_many([{"_id": n} for n in range(10)])
    database["new"].create_index("n", name="by n")
    database["items"].drop_index("tags_1")
    database.command({"insert": "trail.", "documents": [{"_id": 1}]})
    database["_migrations"].update_one({"_id": "004-a"}, {"$set": {"phase": "verified"}})


def restored(client: Client, archive: Path, database: Database[dict[str, Any]]) -> Any:
    """Return the facts about what *archive* is restored to, in another database."""
    with databases.fresh(client, roles=False) as other:
        backups.put_back(
            client, other.name, archive, source_database=database.name, keep_state=False
        )
        return backups.facts(other)


def test_every_kind_of_data_is_as_it_was_at_the_instant(
    client: Client, database: Database[dict[str, Any]], independent: Client, tmp_path: Path
) -> None:
    backups.everything(database)
    base = whole(client, database, tmp_path)
    change_everything(database)
    first = on(client, database, base)
    before = backups.facts(independent[database.name])
    database["items"].delete_many({"n": {"$lt": 100}})
    database["ids"].delete_one({"_id": 1})
    database["types"].delete_many({})
    second = on(client, database, first)
    after = backups.facts(independent[database.name])
    database["items"].delete_many({})

    assert restored(client, first, database) == before
    assert restored(client, second, database) == after
    assert (tmp_path / "latest.tar.gz").readlink() == Path(base.name)


def test_a_number_may_become_another_type_of_the_same_id(
    client: Client, database: Database[dict[str, Any]], independent: Client, tmp_path: Path
) -> None:
    """The server takes `1`, `1.0` and a decimal for one `_id`, and lets one replace the other."""
    numbers: list[Any] = [1, 2, 3, {"a": 4}, -0.0, float("nan"), Decimal128("1E+3"), Int64(2**62)]
    database["n"].insert_many([{"_id": value} for value in numbers])
    base = whole(client, database, tmp_path)
    for old, new in (
        (1, 1.0),
        (2, Decimal128("2.00")),
        ({"a": 4}, {"a": 4.0}),
        (0, Decimal128("0")),
        (1000, 1000),
        (2**62, float(2**62)),
    ):
        database["n"].replace_one({"_id": old}, {"_id": new, "v": 1})
    database["n"].delete_one({"_id": 3})
    database["n"].insert_one({"_id": Decimal128("3")})
    archive = on(client, database, base)
    now = backups.facts(independent[database.name])

    assert restored(client, archive, database) == now
    assert {type(one["_id"]) for one in independent[database.name]["n"].find()} > {Decimal128}


@pytest.mark.usefixtures("roomy")
def test_ids_and_documents_of_the_largest_size(
    client: Client, database: Database[dict[str, Any]], independent: Client, tmp_path: Path
) -> None:
    database["big"].insert_one({"_id": 1, "blob": b"1" * LARGEST})
    database["big"].insert_one({"_id": 2, "blob": b"2" * LARGEST})
    base = whole(client, database, tmp_path)
    database["big"].update_one({"_id": 1}, {"$set": {"blob": b"3" * LARGEST}})
    database["big"].insert_one({"_id": "x" * (3 << 20)})
    database["big"].insert_one({"_id": "y" * (3 << 20)})
    archive = on(client, database, base)
    now = backups.facts(independent[database.name])

    assert restored(client, archive, database) == now


@pytest.mark.usefixtures("roomy")
def test_an_id_too_large_for_a_change_stream_makes_it_whole(
    client: Client, database: Database[dict[str, Any]], independent: Client, tmp_path: Path
) -> None:
    database["big"].insert_one({"_id": 1})
    base = whole(client, database, tmp_path)
    database["big"].insert_one({"_id": "x" * (8 << 20)})
    result = backups.take(client, database.name, tmp_path, base=base)

    assert "longer than 16MB" in result["why_whole"]
    assert result["base"] is None
    assert restored(client, Path(result["archive"]), database) == backups.facts(
        independent[database.name]
    )
    assert independent[database.name]["_migrations"].count_documents({}) == 0


def test_writers_keep_their_invariant_up_to_the_instant(
    client: Client, database: Database[dict[str, Any]], independent: Client, tmp_path: Path
) -> None:
    """Each transaction moves one unit from one collection to the other."""
    for name in ("left", "right"):
        database[name].insert_many([{"_id": n, "held": 100} for n in range(200)])
    over = threading.Event()

    def move(seed: int) -> None:
        own, number = independent[database.name], seed
        with own.client.start_session() as session:
            while not over.is_set():
                number = (number * 31 + 7) % 200
                with session.start_transaction():
                    own["left"].update_one({"_id": number}, {"$inc": {"held": -1}}, session=session)
                    own["right"].update_one({"_id": number}, {"$inc": {"held": 1}}, session=session)
                    own["moves"].insert_one({"number": number}, session=session)

    def at_work() -> list[threading.Thread]:
        threads = [threading.Thread(target=move, args=(seed,)) for seed in (1,)]
        for one in threads:
            one.start()
        return threads

    threads = at_work()
    archives = [whole(client, database, tmp_path)]
    for _ in range(3):
        archives.append(on(client, database, archives[-1]))
    over.set()
    for one in threads:
        one.join()
    archives.append(on(client, database, archives[-1]))
    now = backups.facts(independent[database.name])

    assert restored(client, archives[-1], database) == now
    for archive in archives[1:]:
        with databases.fresh(client, roles=False) as other:
            backups.put_back(client, other.name, archive, source_database=database.name)
            held = [sum(one["held"] for one in other[name].find()) for name in ("left", "right")]
            moves = other["moves"].count_documents({})
        assert held == [20_000 - moves, 20_000 + moves]
        assert moves > 0


def test_a_folded_one_is_an_ordinary_archive(
    client: Client, database: Database[dict[str, Any]], independent: Client, tmp_path: Path
) -> None:
    backups.everything(database)
    base = whole(client, database, tmp_path)
    change_everything(database)
    archive = on(client, database, on(client, database, base))
    now = backups.facts(independent[database.name])
    with open_source.open_source(archive) as source:
        result = fold.fold(source, create.Settings(folder=tmp_path), progress=quiet)
    folded = Path(result["archive"])
    for one in (archive, base):
        one.unlink()

    assert restored(client, folded, database) == now
    with Reader(folded) as reader:
        assert reader.manifest.base is None
        assert reader.manifest.format == footer.FORMAT
        assert reader.manifest.documents == sum(len(one["documents"]) for one in now.values())
    with (
        open_source.open_source(folded) as source,
        pytest.raises(ArchiveError, match="nothing to fold"),
    ):
        fold.plan(source, create.Settings(folder=tmp_path))


def test_encrypted_ones_need_no_key_to_be_taken_and_one_to_be_restored(
    client: Client, database: Database[dict[str, Any]], independent: Client, tmp_path: Path
) -> None:
    mine = x25519.Identity.generate()
    lock = crypt.Lock(recipients=(str(mine.to_public()),))
    database["items"].insert_many([{"_id": n} for n in range(100)])
    base = whole(client, database, tmp_path, lock=lock)
    database["items"].delete_many({"_id": {"$lt": 50}})
    archive = on(client, database, base, lock=lock)
    now = backups.facts(independent[database.name])
    database["items"].drop()

    belief.require(client, database.name, archive, None, progress=quiet)
    with databases.fresh(client, roles=False) as other:
        keys = crypt.Keys(identity=str(mine))
        backups.put_back(
            client, other.name, archive, source_database=database.name, keys=keys, keep_state=False
        )
        assert backups.facts(other) == now
    assert "items" not in archive.with_name(f"{archive.name}.json").read_text()


def test_retention_keeps_what_a_kept_one_is_based_on(
    client: Client, database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    database["items"].insert_one({"_id": 1})
    base = whole(client, database, tmp_path)
    relied = on(client, database, base)
    other = whole(client, database, tmp_path)
    gone = on(client, database, other)
    run = {"_id": "004-1", "kind": "run", "phase": "applied", "backup": str(relied)}
    database["_migrations"].insert_one(run)
    keep = store.Retention(count=1)
    result = backups.take(client, database.name, tmp_path, retention=keep)

    assert set(result["removed"]) == {other.name, gone.name}
    assert base.exists()
    assert relied.exists()


def test_a_base_that_is_missing_or_another_one_is_named(
    client: Client, database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    database["items"].insert_one({"_id": 1})
    base = whole(client, database, tmp_path)
    archive = on(client, database, base)
    other = whole(client, database, tmp_path)
    other.rename(base)
    with pytest.raises(ArchiveError, match="isn't the archive that"):
        open_source.open_source(archive)
    with pytest.raises(ArchiveError, match="is based on another"):
        belief.require(client, database.name, archive, None, progress=quiet)
    base.unlink()
    with pytest.raises(ArchiveError, match="isn't beside it"):
        open_source.open_source(archive)
    (listed,) = store.Store(tmp_path).archives()

    assert listed.problem is not None
    assert "isn't there" in listed.problem


@pytest.mark.parametrize("code", [286, 13])
def test_without_the_stream_it_is_whole_and_says_why(
    code: int,
    client: Client,
    database: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database["items"].insert_one({"_id": 1})
    base = whole(client, database, tmp_path)

    def fail(*_arguments: Any) -> Any:
        raise OperationFailure("as the server says it", code)

    monkeypatch.setattr(changes, "_reply", fail)
    result = backups.take(client, database.name, tmp_path, base=base)

    assert result["base"] is None
    words = {286: "oplog doesn't reach back", 13: "may not read the change stream"}
    assert words[code] in result["why_whole"]
    assert (tmp_path / "latest.tar.gz").readlink() == Path(Path(result["archive"]).name)
