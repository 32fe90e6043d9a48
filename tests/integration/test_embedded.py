"""The servers that everything else is tested on do what they promise."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from embedded import users
from embedded.app import App
from embedded.mongod import ReplicaSet, Standalone, open_folder
from embedded.processes import wait_until
from tests.support.databases import writes_blocked
from tests.support.snapshot import differences, snapshot

Client = MongoClient[dict[str, Any]]
Data = Database[dict[str, Any]]


def test_replica_set_has_a_primary_and_a_fast_election(replica_set: ReplicaSet, client: Client):
    assert replica_set.primary == 0
    assert client.admin.command("hello")["setName"] == "rs0"
    settings = client.admin.command("replSetGetConfig")["config"]["settings"]
    assert settings["electionTimeoutMillis"] == 2000


def test_standalone_is_no_replica_set(standalone_database: Data):
    assert "setName" not in standalone_database.client.admin.command("hello")
    standalone_database["things"].insert_one({"_id": 1})


def test_strangers_and_wrong_passwords_are_refused(replica_set: ReplicaSet):
    with (
        replica_set.client(None) as nobody,
        pytest.raises(OperationFailure, match="requires authentication"),
    ):
        nobody["bizzai"]["items"].find_one()
    wrong = replica_set.uri("admin", "wrong-password")
    with MongoClient(wrong) as client, pytest.raises(OperationFailure, match="failed"):
        client.admin.command("ping")


def test_secrets_are_random_and_private(replica_set: ReplicaSet):
    assert len(set(replica_set.passwords.values())) == len(users.NAMES)
    for name in ("secrets.json", "keyfile"):
        assert stat.S_IMODE((replica_set.folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(replica_set.folder.stat().st_mode) == 0o700


def test_a_second_start_finds_the_running_server(replica_set: ReplicaSet):
    again = open_folder(replica_set.folder)
    assert again.start().alive
    assert again.members[0].process == replica_set.members[0].process


def test_the_application_user_reaches_its_own_database_only(
    replica_set: ReplicaSet, database: Data
):
    with replica_set.client("app") as app:
        app[database.name]["items"].insert_one({"_id": 1})
        with pytest.raises(OperationFailure, match="not authorized"):
            app["other"]["items"].insert_one({"_id": 1})


def test_write_block_stops_the_application_and_not_the_migrator(
    replica_set: ReplicaSet, database: Data, start_app: Callable[..., App]
):
    app = start_app()
    with replica_set.client("migrator") as migrator:
        migrator.admin.command("setUserWriteBlockMode", 1, **{"global": True})
        assert writes_blocked(database.client)
        reply = app.post("/api/items")
        assert (reply.status, reply.content["code"]) == (503, 371)
        migrator[database.name]["items"].insert_one({"_id": "behind the block"})
        migrator.admin.command("setUserWriteBlockMode", 1, **{"global": False})
    assert app.post("/api/items").status == 201
    assert database["items"].count_documents({}) == 2


def test_the_application_writes_items_without_an_organization(
    database: Data, start_app: Callable[..., App]
):
    assert start_app().post("/api/items", {"name": "Lamp"}).status == 201
    stored = database["items"].find_one({"name": "Lamp"})
    assert stored is not None
    assert "organizationId" not in stored


def test_the_flag_counts_only_after_a_reload(start_app: Callable[..., App]):
    app = start_app()
    app.set_flag(True)
    assert app.post("/api/items").status == 201
    app.reload()
    assert app.get("/api/health").content["maintenance"] is True
    refused = app.post("/api/items")
    assert (refused.status, refused.content["maintenance"]) == (503, True)
    assert app.get("/api/items").status == 200
    app.set_flag(False)
    app.restart()
    assert app.get("/api/health").content["maintenance"] is False


def test_readiness_says_when_the_database_is_down(tmp_path: Path):
    uri_file = tmp_path / "uri"
    with Standalone(tmp_path / "db", auth=False, cache_gb=0.25) as server:
        uri_file.write_text(server.uri(database="bizzai"))
        with App(tmp_path / "apps", "app1", uri_file=uri_file) as app:
            assert app.get("/api/health/ready").status == 200
            server.stop()
            assert app.get("/api/health/ready").status == 503
            assert app.get("/api/health").status == 200


def test_the_background_writer_goes_on_writing(database: Data, start_app: Callable[..., App]):
    app = start_app("writer", writes_per_second=100)
    assert wait_until(lambda: app.get("/api/health").content["writes"]["acknowledged"] > 5, 10)
    app.stop()
    assert database["items"].count_documents({}) > 1
    assert database["journalentries"].count_documents({}) > 1


def test_a_snapshot_sees_what_equality_does_not(database: Data):
    database["items"].insert_many([{"_id": 1, "n": 1}, {"_id": 2}, {"_id": 3}])
    before = snapshot(database)
    assert differences(before, snapshot(database)) == []
    database["items"].update_one({"_id": 1}, {"$set": {"n": 1.0}})
    database["items"].delete_one({"_id": 2})
    database["items"].insert_one({"_id": 4})
    database["_migrations"].insert_one({"_id": "lease"})
    assert differences(before, snapshot(database)) == [
        "items 1: changed",
        "items 2: disappeared",
        "items 4: appeared",
    ]


def test_a_killed_primary_is_followed_by_another(three_members: ReplicaSet, three_database: Data):
    three_database["things"].insert_one({"_id": 1})
    first = three_members.wait_for_primary()
    three_members.kill(first)
    assert three_members.wait_for_primary(30) != first
    # The driver finds the new primary by itself.
    three_database["things"].insert_one({"_id": 2})
    three_members.restart(first)
    three_members.wait_for_secondaries()
    assert three_database["things"].count_documents({}) == 2


def test_a_paused_primary_is_followed_by_another(three_members: ReplicaSet):
    first = three_members.wait_for_primary()
    three_members.pause(first)
    assert three_members.wait_for_primary(30) != first
    three_members.resume(first)
    assert three_members.alive
