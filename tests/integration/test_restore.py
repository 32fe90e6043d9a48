"""A restore makes a database equal to its backup, or leaves it as it was."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mongo_migration.backup import catalog, load, open_source, replacing
from mongo_migration.document import definition
from mongo_migration.errors import ArchiveError, InterruptedRunError, LeaseHeldError, MigrationError
from mongo_migration.ledger import lease
from mongo_migration.procedures import migrate, plan, rollback, status, verify
from mongo_migration.procedures.work import Job
from mongo_migration.support import stop
from mongo_migration.support.progress import quiet
from pymongo import MongoClient
from pymongo.database import Database

from tests.support import archives, backups, torture

Client = MongoClient[dict[str, Any]]
ME = {"user": "operator", "host": "here", "pid": os.getpid()}


@pytest.fixture
def small(database: Database[dict[str, Any]]) -> Database[dict[str, Any]]:
    database["items"].insert_many([{"_id": n, "n": n} for n in range(100)])
    database["items"].create_index("n")
    database["people"].insert_one({"_id": 1})
    return database


def test_everything_comes_back_after_everything_was_changed(
    client: Client, database: Database[dict[str, Any]], independent: Client, tmp_path: Path
) -> None:
    backups.everything(database)
    before = backups.facts(independent[database.name])
    archive = Path(backups.take(client, database.name, tmp_path)["archive"])
    for name, one in before.items():
        if one["type"] != "collection":
            database.drop_collection(name)
    database["items"].update_many(
        {"_id": {"$lt": 50}}, {"$set": {"n": None}, "$inc": {"x": 1}}
    ) if (database["items"].drop_index("unique n") is None) else None
    database["types"].delete_many({})
    database["view"].insert_one({"_id": "a collection where a view was"})
    database["people"].drop()
    database["empty"].insert_one({})
    database["new"].insert_one({"_id": 1})
    database.create_collection("new_view", viewOn="items", pipeline=[])
    database["_migrations"].delete_many({})

    result = backups.put_back(client, database.name, archive)

    assert sorted(result["removed"]) == ["new", "new_view"]
    assert backups.facts(independent[database.name]) == before
    assert database["view"].count_documents({}) == 1111
    assert database["weather"].count_documents({}) == 300


def test_restore_into_another_database_leaves_the_first_alone(
    client: Client, database: Database[dict[str, Any]], independent: Client, tmp_path: Path
) -> None:
    backups.everything(database)
    before = backups.facts(independent[database.name])
    archive = Path(backups.take(client, database.name, tmp_path)["archive"])

    backups.put_back(client, f"{database.name}_copy", archive)

    assert backups.facts(independent[f"{database.name}_copy"]) == before
    assert backups.facts(independent[database.name]) == before


def test_a_folder_of_mongodump_is_restored(
    client: Client, database: Database[dict[str, Any]], independent: Client, tmp_path: Path
) -> None:
    """The unpacked archive has mongodump's layout."""
    backups.everything(database)
    before = backups.facts(independent[database.name])
    archive = backups.take(client, database.name, tmp_path)["archive"]
    subprocess.run(["tar", "xzf", archive, "-C", tmp_path], check=True)
    folder = tmp_path / "dump" / database.name
    subprocess.run(["gzip", folder / "items.bson", folder / "items.metadata.json"], check=True)
    (folder / "types.bson").stat()

    backups.put_back(client, f"{database.name}_copy", tmp_path / "dump")

    assert backups.facts(independent[f"{database.name}_copy"]) == before


def test_an_archive_of_format_1_is_held_to_its_sha256_and_restored(
    client: Client, database: Database[dict[str, Any]], independent: Client, tmp_path: Path
) -> None:
    """It was written when digests were of another kind."""
    documents = [{"_id": number, "n": number} for number in range(95)]
    archive = tmp_path / "backup-20261123-020533.tar.gz"
    archives.write(archive, {"items": documents}, database=database.name, number=1)

    backups.put_back(client, database.name, archive)

    assert list(independent[database.name]["items"].find().sort("_id")) == documents


def test_a_failure_in_one_collection_is_told_and_leaves_the_database_as_it_was(
    client: Client,
    database: Database[dict[str, Any]],
    independent: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("a", "b", "c", "d"):
        database[name].insert_many([{"_id": n, "text": "x" * 500} for n in range(2000)])
    archive = Path(backups.take(client, database.name, tmp_path)["archive"])
    before = backups.facts(independent[database.name])
    original, inserted = load.insert, []

    def insert(where: Any, name: str, *arguments: Any, **options: Any) -> Any:
        inserted.append(name)
        if len(inserted) == 2:
            raise ArchiveError("c can't be loaded")
        return original(where, name, *arguments, **options)

    monkeypatch.setattr(load, "insert", insert)

    with pytest.raises(ArchiveError, match="c can't be loaded"):
        backups.put_back(client, database.name, archive)

    assert backups.facts(independent[database.name]) == before
    assert not [
        name for name in independent[database.name].list_collection_names() if "restore" in name
    ]


def test_without_confirmation_nothing_happens_and_the_losses_are_named(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    archive = Path(backups.take(client, small.name, tmp_path)["archive"])
    small["items"].insert_many([{"_id": 1000}, {"_id": 1001}])
    small["items"].update_one({"_id": 1}, {"$set": {"n": 0}})
    with client.start_session() as session, session.start_transaction():
        small["people"].insert_one({"_id": 2}, session=session)
    small["later"].insert_one({"_id": 1})
    small["_migrations"].insert_one(
        {"_id": "r", "kind": "run", "number": 1, "migration": "004", "phase": "verified"}
    )
    before = backups.facts(small)

    for confirm in (None, "yes", small.name.upper(), ""):
        with pytest.raises(ArchiveError) as raised:
            backups.put_back(client, small.name, archive, confirm=confirm)

    message = raised.value.message
    assert "items: 2 inserted, 1 updated" in message
    assert "people: 1 inserted" in message
    assert "removed: later" in message
    assert "004 (verified)" in message
    assert f"confirm: {small.name}" in message
    assert backups.facts(small) == before


def test_backup_of_another_database_is_refused(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    archive = Path(backups.take(client, small.name, tmp_path)["archive"])

    with pytest.raises(ArchiveError, match=f"of the database '{small.name}'"):
        backups.put_back(client, small.name, archive, source_database="other")


def test_a_damaged_archive_is_refused_before_anything_is_touched(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    archive = Path(backups.take(client, small.name, tmp_path)["archive"])
    raw = bytearray(archive.read_bytes())
    raw[len(raw) // 2] ^= 4
    archive.write_bytes(raw)
    small["items"].delete_one({"_id": 1})
    before = backups.facts(small)

    with pytest.raises(ArchiveError, match="damaged"):
        backups.put_back(client, small.name, archive)

    assert backups.facts(small) == before


def test_failure_while_loading_leaves_the_database_as_it_was(
    client: Client,
    small: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive = Path(backups.take(client, small.name, tmp_path)["archive"])
    small["items"].delete_many({"_id": {"$lt": 50}})
    before = backups.facts(small)
    original = load.build_indexes

    def fail(database: Any, name: str, *rest: Any) -> Any:
        original(database, name, *rest)
        raise ArchiveError("no more room")

    monkeypatch.setattr(load, "build_indexes", fail)
    with pytest.raises(ArchiveError, match="no more room"):
        backups.put_back(client, small.name, archive)
    after = backups.facts(small)
    after.pop("_migrations", None)

    assert after == before


def test_stop_while_loading_leaves_the_database_as_it_was(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    archive = Path(backups.take(client, small.name, tmp_path)["archive"])
    small["items"].delete_many({})
    before = backups.facts(small)

    asked = stop.StopSignal()
    asked.ask("enough")

    with pytest.raises(InterruptedRunError, match="enough"):
        backups.put_back(client, small.name, archive, stop=asked)
    after = backups.facts(small)
    after.pop("_migrations", None)

    assert after == before


def test_failure_while_replacing_is_told_and_the_same_command_completes(
    client: Client,
    small: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = backups.facts(small)
    archive = Path(backups.take(client, small.name, tmp_path)["archive"])
    small["items"].delete_many({})
    small["people"].delete_many({})

    def fail(self: Any, part: Any) -> None:
        if part.entry.name == "people":
            raise ArchiveError("the network is gone")
        original(self, part)

    original = replacing.Replacement._rename
    with monkeypatch.context() as patch:
        patch.setattr(replacing.Replacement, "_rename", fail)
        with pytest.raises(ArchiveError) as raised:
            backups.put_back(client, small.name, archive)
    mark = small["_migrations"].find_one({"_id": "restore"})
    assert raised.value.details["replaced"] == ["items"]
    assert raised.value.details["remaining"] == ["people"]
    assert "restore is incomplete" in raised.value.message
    assert mark is not None
    assert mark["phase"] == "replacing"

    backups.put_back(client, small.name, archive)
    after = backups.facts(small)
    after.pop("_migrations", None)

    assert after == before
    assert small["_migrations"].find_one({"_id": "restore"}) is None


def test_leftovers_of_a_killed_restore_are_removed_and_never_backed_up(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    small[f"{catalog.LOADING}7"].insert_one({"_id": 1})
    result = backups.take(client, small.name, tmp_path)

    backups.put_back(client, small.name, Path(result["archive"]))

    names = [one["name"] for one in result["manifest"]["collections"]]
    assert names == ["items", "people"]
    assert f"{catalog.LOADING}7" not in small.list_collection_names()


def test_safety_backup_holds_what_was_replaced_and_has_a_link_of_its_own(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    archive = Path(backups.take(client, small.name, tmp_path)["archive"])
    small["items"].insert_one({"_id": "later"})

    result = backups.put_back(client, small.name, archive, safety_folder=tmp_path)

    safety = Path(result["safety_backup"])
    assert safety.parent == tmp_path / "before-restore"
    assert (tmp_path / "latest.tar.gz").resolve() == archive
    assert small["items"].find_one({"_id": "later"}) is None
    backups.put_back(client, small.name, safety)
    assert small["items"].find_one({"_id": "later"}) == {"_id": "later"}


def test_the_lease_is_needed_and_survives_with_the_maintenance_document(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    small["_migrations"].insert_many(
        [
            {"_id": "maintenance", "on": True},
            {"_id": "run", "kind": "run", "number": 1, "phase": "applied"},
        ]
    )
    archive = Path(backups.take(client, small.name, tmp_path)["archive"])
    small["_migrations"].update_one({"_id": "maintenance"}, {"$set": {"on": False}})
    small["_migrations"].update_one({"_id": "run"}, {"$set": {"phase": "verified"}})

    def hold(database: Any) -> Any:
        return lease.hold(database, purpose="restore", holder=ME, seconds=30)

    with (
        lease.hold(small, purpose="migrate", holder=ME, seconds=30),
        pytest.raises(LeaseHeldError),
    ):
        backups.put_back(client, small.name, archive, hold=hold)
    token = small["_migrations"].find_one({"_id": "lease"})["token"]  # type: ignore[index]
    backups.put_back(client, small.name, archive, hold=hold)

    state = {one["_id"]: one for one in small["_migrations"].find()}
    assert state["maintenance"]["on"] is False
    assert state["run"]["phase"] == "applied"
    assert state["lease"]["token"] > token


def test_what_another_process_made_before_the_lease_was_free_goes_and_what_comes_later_is_told(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    archive = Path(backups.take(client, small.name, tmp_path)["archive"])

    def hold(database: Any) -> Any:
        small["made_meanwhile"].insert_one({})  # by a migration that this restore waited for
        return lease.hold(database, purpose="restore", holder=ME, seconds=30)

    def write(event: dict[str, Any]) -> None:
        if event.get("phase") == "compare":
            small["made_at_work"].insert_one({})

    done = backups.put_back(client, small.name, archive, hold=hold, progress=write)

    assert done["removed"] == ["made_meanwhile"]
    assert "made_at_work: made by somebody" in done["warnings"][0]
    names = small.list_collection_names()
    assert "made_meanwhile" not in names
    assert "made_at_work" in names


def test_expired_documents_of_a_ttl_index_come_back(
    client: Client, database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    """They are compared before the index exists; what the server removes later is its own."""
    old = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
    database["sessions"].insert_many([{"_id": n, "at": old} for n in range(200)])
    archive = Path(backups.take(client, database.name, tmp_path)["archive"])
    with open_source.open_source(archive) as source:  # type: ignore[union-attr]
        source.manifest.collections[0].count = 199
        database["sessions"].drop()
        with pytest.raises(ArchiveError, match="damaged"):
            source.check(lambda event: None)

    assert backups.put_back(client, database.name, archive)["documents"] == 200


def test_restore_on_a_standalone_server(
    standalone_database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    database = standalone_database
    client = database.client
    backups.everything(database)
    before = backups.facts(database)
    result = backups.take(client, database.name, tmp_path)
    assert result["manifest"]["consistent"] is False
    assert "standalone" in result["manifest"]["reason"]
    database["items"].delete_many({})

    backups.put_back(client, database.name, Path(result["archive"]))

    assert backups.facts(database) == before


def test_the_migrators_rights_suffice(
    replica_set: Any, database: Database[dict[str, Any]], independent: Client, tmp_path: Path
) -> None:
    backups.everything(database)
    database["weather"].drop()
    before = backups.facts(independent[database.name])
    with MongoClient[dict[str, Any]](replica_set.uri("migrator"), tz_aware=True) as migrator:
        archive = Path(backups.take(migrator, database.name, tmp_path)["archive"])
        database["items"].drop()
        backups.put_back(migrator, database.name, archive, safety_folder=tmp_path)

    assert backups.facts(independent[database.name]) == before


def test_time_series_need_the_roles_backup_and_restore(
    replica_set: Any, database: Database[dict[str, Any]], independent: Client, tmp_path: Path
) -> None:
    backups.everything(database)
    before = backups.facts(independent[database.name])
    roles = [{"role": role, "db": "admin"} for role in ("backup", "restore")]
    with MongoClient[dict[str, Any]](replica_set.uri("migrator"), tz_aware=True) as migrator:
        with pytest.raises(ArchiveError, match="role backup"):
            backups.take(migrator, database.name, tmp_path)
        independent.admin.command("grantRolesToUser", "migrator", roles=roles)
        try:
            archive = Path(backups.take(migrator, database.name, tmp_path)["archive"])
            database["weather"].drop()
            backups.put_back(migrator, database.name, archive)
        finally:
            independent.admin.command("revokeRolesFromUser", "migrator", roles=roles)

    assert backups.facts(independent[database.name]) == before


def test_on_a_half_restored_database_nothing_else_works_until_the_restore_is_completed(
    client: Client,
    small: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive = Path(backups.take(client, small.name, tmp_path)["archive"])
    small["items"].delete_many({})

    def fail(*_: Any) -> None:
        raise ArchiveError("the network is gone")

    with monkeypatch.context() as patch:
        patch.setattr(replacing.Replacement, "_rename", fail)
        with pytest.raises(ArchiveError, match="restore is incomplete"):
            backups.put_back(client, small.name, archive)
    with monkeypatch.context() as patch:  # a second attempt that doesn't even load
        patch.setattr(load, "build_indexes", fail)
        with pytest.raises(ArchiveError, match="network"):
            backups.put_back(client, small.name, archive)

    command = f"ansible-playbook restore.yml -e archive={archive}"
    work: dict[str, Any] = {"client": client, "database": small.name}
    run: dict[str, Any] = {
        "settings": migrate.Settings(),
        "change": {},
        "operator": ME,
        "progress": quiet,
        "stop": stop.StopSignal(),
    }
    document = definition.load(torture.DOCUMENT, "901.yml")
    for attempt in (
        lambda: migrate.migrate(Job(**work, **run), document),
        lambda: rollback.roll_back(Job(**work, **run), "901"),
        lambda: rollback.plan(client[small.name], "901"),
        lambda: verify.verify(**work, definition=document),
        lambda: plan.make(client, small.name, document),
    ):
        with pytest.raises(MigrationError, match="ended while it was replacing") as raised:
            attempt()
        assert raised.value.details["next"] == command
        assert command in raised.value.message
    found = status.describe(**work, definition=document)
    assert found["restore"] == {
        "archive": str(archive),
        "next": command,
        "safety_backup": None,
    }
    assert any(command in problem for problem in found["problems"])

    backups.put_back(client, small.name, archive)
    assert status.describe(**work, definition=None)["restore"] is None
    assert small["items"].count_documents({}) == 100


KILLED = """
import os, signal, sys
from contextlib import nullcontext
from pathlib import Path
from mongo_migration.ledger import lease
from mongo_migration.backup import load, open_source, restore
from mongo_migration.support.progress import quiet
from pymongo import MongoClient, monitoring

uri, name, archive, command, number = sys.argv[1:]
left = int(number)

class Killer(monitoring.CommandListener):
    def started(self, event):
        global left
        if event.command_name == command:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
    def succeeded(self, event): pass
    def failed(self, event): pass

client = MongoClient(uri, tz_aware=True, event_listeners=[Killer()])
settings = restore.Settings(database=name, source_database=name, confirm=name)
load._MOST_DOCUMENTS = 30  # many small inserts: more places to die at
me = {"user": "operator", "host": os.uname().nodename, "pid": os.getpid()}
hold = lambda db: lease.hold(db, purpose="restore", holder=me, seconds=30)
restore.restore(client, open_source.open_source(Path(archive)), settings, hold=hold, progress=quiet)
"""


@pytest.mark.parametrize(
    ("command", "number"),
    # Of two collections: made, filled (four inserts and one), indexed.
    [
        ("create", 1),
        ("create", 2),
        ("insert", 1),
        ("insert", 3),
        ("insert", 5),
        ("createIndexes", 1),
        ("renameCollection", 1),
    ],
)
def test_kill_before_the_first_replacement_leaves_the_database_as_it_was(
    command: str, number: int, replica_set: Any, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    """The process kills itself at the n-th command of a kind, just before the server sees it."""
    client = small.client
    archive = Path(backups.take(client, small.name, tmp_path)["archive"])
    full = backups.facts(small)
    small["items"].delete_many({"_id": {"$lt": 50}})
    small["people"].insert_one({"_id": 2})
    before = backups.facts(small)

    uri = replica_set.uri("migrator")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, uri, small.name, archive, command, str(number)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = backups.facts(small)
    beside = [name for name in left if name.startswith(catalog.LOADING)]
    assert {name: one for name, one in left.items() if name in before} == before
    # Two collections are made at a time: at the second one, the first may not be there yet.
    if command != "create":
        assert beside
    elif number == 1:
        assert not beside

    def hold(database: Any) -> Any:
        return lease.hold(database, purpose="restore", holder=ME, seconds=30)

    backups.put_back(client, small.name, archive, hold=hold)
    after = backups.facts(small)
    assert [name for name in after if name.startswith(catalog.LOADING)] == []
    assert {name: one for name, one in after.items() if name in full} == full
    assert small["_migrations"].find_one({"_id": "restore"}) is None
