"""What is said of a restore before it begins, and of one that fails in the middle."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from mongo_migration.backup import drill, open_source, replacing, restore, restore_plan, scratch
from mongo_migration.errors import ArchiveError, MigrationError
from mongo_migration.ledger import partial_restore
from mongo_migration.support.progress import quiet
from pymongo import MongoClient
from pymongo.database import Database

from tests.support import archives, backups

Client = MongoClient[dict[str, Any]]


@pytest.fixture
def small(database: Database[dict[str, Any]]) -> Database[dict[str, Any]]:
    database["items"].insert_many([{"_id": n} for n in range(10)])
    return database


def settings(database: str, **options: Any) -> restore.Settings:
    return restore.Settings(
        **{"database": database, "source_database": database, "confirm": database, **options}
    )


def test_another_archive_than_the_confirmed_one_is_refused(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    first = Path(backups.take(client, small.name, tmp_path)["archive"])
    small["items"].insert_one({"_id": "later"})
    second = Path(backups.take(client, small.name, tmp_path)["archive"])
    link = tmp_path / "latest.tar.gz"
    with open_source.open_source(link) as source:  # type: ignore[union-attr]
        confirmed = restore.look(client, source, settings(small.name), progress=quiet)
    assert confirmed["archive"] == str(second)
    before = backups.facts(small)

    link.unlink()
    link.symlink_to(first.name)
    with pytest.raises(ArchiveError, match="isn't the backup that was looked at"):
        backups.put_back(client, small.name, link, digest=confirmed["digest"])
    assert backups.facts(small) == before

    backups.put_back(client, small.name, second, digest=confirmed["digest"])
    assert small["items"].count_documents({"_id": "later"}) == 1


def test_a_link_that_moves_while_it_is_restored_changes_nothing(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    archive = Path(backups.take(client, small.name, tmp_path)["archive"])
    other = tmp_path / "other.tar.gz"
    archives.write(other, {"items": [{"_id": "hostile"}]}, database=small.name)
    link = tmp_path / "latest.tar.gz"

    def move(_event: dict[str, Any]) -> None:
        link.unlink(missing_ok=True)
        link.symlink_to(other.name)

    result = backups.put_back(client, small.name, link, progress=move)

    assert result["archive"] == str(archive)
    assert small["items"].count_documents({}) == 10


@pytest.mark.parametrize("error", [ArchiveError("lost"), RuntimeError("odd"), OSError("disk")])
def test_a_failure_in_the_middle_names_the_safety_backup_whatever_it_is(
    error: Exception,
    client: Client,
    small: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive = Path(backups.take(client, small.name, tmp_path)["archive"])
    small["items"].insert_one({"_id": "later"})

    def fail(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(replacing.Replacement, "_rename", fail)
        with pytest.raises(ArchiveError, match="restore is incomplete") as raised:
            backups.put_back(client, small.name, archive, safety_folder=tmp_path)
    safety = raised.value.details["safety_backup"]

    assert Path(safety).parent == tmp_path / "before-restore"
    assert f"archive={safety}" in raised.value.message
    found = partial_restore.read(small)
    assert found is not None
    assert found["safety_backup"] == safety
    with pytest.raises(MigrationError, match=safety):
        partial_restore.refuse(small)
    backups.put_back(client, small.name, Path(safety))
    assert small["items"].count_documents({"_id": "later"}) == 1
    assert partial_restore.read(small) is None


def test_documents_that_expire_at_once_are_foretold(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    old = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
    soon = datetime.datetime(2999, 1, 1, tzinfo=datetime.UTC)
    client.admin.command({"setParameter": 1, "ttlMonitorEnabled": False})
    try:
        small["sessions"].insert_many(
            [{"at": old}, {"at": [soon, old]}, {"at": soon}, {"at": "text"}, {}]
        )
        small["sessions"].create_index("at", expireAfterSeconds=60)
        ts: dict[str, Any] = {"timeseries": {"timeField": "t"}, "expireAfterSeconds": 60}
        small.create_collection("ts", **ts)
        small["ts"].insert_one({"t": old})
        archive = Path(backups.take(client, small.name, tmp_path)["archive"])
        with open_source.open_source(archive) as source:  # type: ignore[union-attr]
            looked = restore.look(client, source, settings(small.name), progress=quiet)
        result = backups.put_back(client, small.name, archive)
    finally:
        client.admin.command({"setParameter": 1, "ttlMonitorEnabled": True})

    for warnings in (looked["warnings"], result["warnings"]):
        text = " ".join(warnings)
        assert "sessions: 2 of 5 documents have expired" in text
        assert "ts: 1 of 1 buckets have expired" in text
        assert "ttlMonitorEnabled" in text


def test_too_little_room_is_said_by_a_check_too(
    client: Client,
    small: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive = Path(backups.take(client, small.name, tmp_path)["archive"])
    monkeypatch.setattr(restore_plan, "_free", lambda database: 1)
    with open_source.open_source(archive) as source:  # type: ignore[union-attr]
        with pytest.raises(ArchiveError, match="MiB free"):
            restore.look(client, source, settings(small.name), progress=quiet)
        relaxed = settings(small.name, check_space=False)
        assert restore.look(client, source, relaxed, progress=quiet)["free_bytes"] == 1


def test_rights_that_a_replacement_needs_are_asked_for_beforehand(
    replica_set: Any,
    client: Client,
    small: Database[dict[str, Any]],
    independent: Client,
    tmp_path: Path,
) -> None:
    """A role of one's own on all collections of a database leaves `system.js` out."""
    small["system.js"].insert_one({"_id": "f", "value": 1})
    archive = Path(backups.take(client, small.name, tmp_path)["archive"])
    actions = ["find", "insert", "update", "remove", "createCollection", "createIndex"]
    actions += ["dropCollection", "renameCollectionSameDB", "listCollections", "listIndexes"]
    actions += ["collStats", "dbStats", "collMod", "bypassDocumentValidation"]
    place = {"db": small.name, "collection": ""}
    database = independent[small.name]
    database.command(
        "createRole", "narrow", privileges=[{"resource": place, "actions": actions}], roles=[]
    )
    database.command("createUser", "narrow", pwd="narrow", roles=["narrow"])
    small["items"].delete_one({"_id": 1})
    before = backups.facts(small)
    uri = replica_set.uri(None)
    try:
        with (
            MongoClient[dict[str, Any]](
                uri, username="narrow", password="narrow", authSource=small.name, tz_aware=True
            ) as narrow,
            pytest.raises(ArchiveError, match=r"may not find, insert, remove in .*system\.js"),
        ):
            backups.put_back(narrow, small.name, archive)
    finally:
        database.command("dropUser", "narrow")
        database.command("dropRole", "narrow")

    assert backups.facts(small) == before


def test_names_that_are_too_long_for_another_database_are_foreseen(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    small.create_collection("x" * (254 - len(small.name)))
    archive = Path(backups.take(client, small.name, tmp_path)["archive"])

    with pytest.raises(ArchiveError, match="longer than 255 bytes"):
        backups.put_back(client, f"{small.name}_longer", archive)
    assert f"{small.name}_longer" not in client.list_database_names()


def test_an_old_dump_is_restored_and_says_what_was_changed(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    folder = tmp_path / small.name
    folder.mkdir()
    (folder / "old.bson").write_bytes(b"")
    metadata = {
        "options": {"create": "old", "flags": 1, "capped": False},
        "indexes": [
            {"v": 1, "key": {"_id": 1}, "ns": f"{small.name}.old", "name": "_id_"},
            {"v": 0, "key": {"a": "1"}, "name": "a", "background": "1", "safe": None},
            {"v": 1, "key": {"b": True, "c": 0}, "name": "b", "unique": 1, "dropDups": True},
        ],
    }
    (folder / "old.metadata.json").write_text(json.dumps(metadata))
    (folder / "$admin.system.users.bson").write_bytes(b"")

    result = backups.put_back(client, small.name, folder)

    assert sorted(small.list_collection_names()) == ["_migrations", "old"]
    found = {one["name"]: one for one in small["old"].list_indexes()}
    assert dict(found["a"]["key"]) == {"a": 1}
    assert found["b"]["unique"] is True
    text = " ".join(result["warnings"])
    assert "old: of the index a, safe is left out" in text
    assert "Users and roles ($admin.system.users) are left out" in text


def test_a_drill_restores_over_an_existing_copy(
    client: Client,
    small: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What stands in the way of a restore in earnest stands in the way of a drill."""
    small["system.js"].insert_one({"_id": "f", "value": 1})
    archive = Path(backups.take(client, small.name, tmp_path)["archive"])
    original, seen = restore.plan, list[Any]()

    def look(*arguments: Any) -> Any:
        seen.append(original(*arguments))
        return seen[-1]

    monkeypatch.setattr(restore, "plan", look)
    with open_source.open_source(archive) as source:  # type: ignore[union-attr]
        done = drill.drill(
            client,
            source,
            name=drill.scratch_name(small.name),
            operator=backups.OPERATOR,
            progress=quiet,
        )

    actions = {one["collection"]: one["action"] for one in seen[0]["collections"]}
    assert done["passed"] is True
    assert {actions["items"], actions["system.js"]} == {"replace"}
    assert "remove" in actions.values()
    assert done["scratch"] not in client.list_database_names()


def test_two_drills_dont_meet(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    archive = Path(backups.take(client, small.name, tmp_path)["archive"])
    name = drill.scratch_name(small.name)
    options: dict[str, Any] = {"name": name, "operator": backups.OPERATOR, "progress": quiet}
    other = scratch.Wanted(
        name=name, of=small.name, ending="_drill", purpose="drill", operator=backups.OPERATOR
    )
    with open_source.open_source(archive) as source:  # type: ignore[union-attr]
        with (
            scratch.own(client, other),
            pytest.raises(MigrationError, match="holds the lease"),
        ):
            drill.drill(client, source, **options)
        assert drill.drill(client, source, **options)["passed"]
