"""A migration under an application that writes all the time: stopped only for what is left."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from mongo_migration.backup.reader import Reader
from pymongo import MongoClient

from bench.flow import User
from embedded.mongod import ReplicaSet
from tests.playbooks.site import site
from tests.support import backups, databases

Client = MongoClient[dict[str, Any]]
STOPPED = ("migrate-004.yml", "-e", "cutover=stopped")


def test_writers_are_refused_for_a_moment_that_is_measured_and_none_of_their_writes_is_missed(
    replica_set: ReplicaSet, client: MongoClient[dict[str, Any]], tmp_path: Path
) -> None:
    variables = {"migrations_assumed_applied": ["003"], "monitor_enabled": True}
    with site(replica_set, client, tmp_path, kinds=("env", "http"), variables=variables) as place:
        users = [User(app, 0.1) for app in place.apps]
        for user in users:
            user.start()
        run = place.run("migrate-004.yml")
        for user in users:
            user.end()
        assert run.code == 0, run.output
        items = list(place.database["items"].find({"name": "bench"}))
        assert len(items) == sum(user.accepted for user in users)

        # What was written before the end of the migration, live or at the last moment, is migrated.
        done = place.database["_migrations"].find_one({"kind": "run"})
        assert done
        homes = {user["_id"]: user["organizationId"] for user in place.database["users"].find()}
        early = [item for item in items if item["createdAt"] < done["applied_at"]]
        assert early
        assert [i for i in early if i.get("organizationId") != homes[i["addedBy"]]] == []
        assert done["cutover"]["live"] > 0

        # Each application refused, and that is what the evidence and the last words tell.
        assert all(user.refused for user in users)
        stopped = run.read("conclusion.json")["stopped"]
        assert stopped["probe"]["refused"] > 0
        assert int(stopped["applications_seen"]) == int(stopped["applications_told"]) == len(users)
        assert len(stopped["probe"]["spans"]) == 1
        assert 0 < stopped["database_seconds"] < float(stopped["applications_seconds"])
        words = " ".join(run.last_words().split())
        assert f"were stopped for {stopped['applications_seconds']} s at the application" in words
        assert f"were refused for {stopped['database_seconds']} s by the database" in words
        assert not run.writes_blocked
        assert not run.application_in_maintenance


def documents(client: Client, database: str, name: str, at: Any = None) -> list[bytes]:
    """The documents of a collection, byte by byte, now or at a time of the server's clock."""
    concern = {"level": "snapshot", "atClusterTime": at} if at else {"level": "local"}
    raw = bson.codec_options.CodecOptions(document_class=RawBSONDocument)
    reply = client[database].command(
        {"find": name, "sort": {"_id": 1}, "batchSize": 100_000, "readConcern": concern},
        codec_options=raw,
    )
    assert not reply["cursor"]["id"]
    return [bytes(document.raw) for document in reply["cursor"]["firstBatch"]]


def test_most_of_the_backup_is_taken_before_it_and_it_is_of_the_instant_of_the_stop(
    replica_set: ReplicaSet, client: Client, tmp_path: Path
) -> None:
    variables = {"migrations_assumed_applied": ["003"]}
    with site(replica_set, client, tmp_path, kinds=("http",), variables=variables) as place:
        user = User(place.apps[0], 0.05)
        user.start()
        run = place.run(*STOPPED)
        user.end()
        assert run.code == 0, run.output
        assert "what they change meanwhile is added once they are stopped" in run.output
        taken = run.read("backup.json")
        first, last = Path(taken["base"]), Path(taken["archive"])
        assert taken["chain"] == [str(last), str(first)]
        assert taken["why_whole"] is None
        assert first.name in run.read("summary.md")

        done = place.database["_migrations"].find_one({"kind": "run"})
        assert done
        assert done["backup"] == str(last)
        with Reader(last) as reader:
            when = reader.manifest.cluster_time
            names = [one.name for one in reader.manifest.collections if one.name[0] != "_"]
        assert when
        at = bson.Timestamp(when["t"], when["i"])
        with databases.fresh(client, roles=False) as other:
            backups.put_back(client, other.name, last, source_database=place.database.name)
            # Between the instant and the first write of the run, nobody has written anything.
            for name in names:
                there = documents(client, place.database.name, name, at)
                assert documents(client, other.name, name) == there
            early = {"name": "bench", "createdAt": {"$lt": done["started"]}}
            assert other["items"].count_documents({"name": "bench"}) > 0
            written = place.database["items"].count_documents(early)
            assert other["items"].count_documents({"name": "bench"}) == written


def test_where_what_changed_cannot_be_had_all_of_it_is_taken_with_stopped_writers_and_said(
    replica_set: ReplicaSet, client: Client, tmp_path: Path
) -> None:
    variables = {"migrations_assumed_applied": ["003"]}
    with site(replica_set, client, tmp_path, kinds=("http",), variables=variables) as place:
        over = threading.Event()

        def lose_the_first() -> None:
            while not over.wait(0.02):
                if place.maintenance()["on"]:
                    for archive in place.backups.glob("backup-*.tar.gz"):
                        archive.unlink()
                    return

        loser = threading.Thread(target=lose_the_first)
        loser.start()
        run = place.run(*STOPPED)
        over.set()
        loser.join()
        assert run.code == 0, run.output
        taken = run.read("backup.json")
        assert taken["base"] is None
        assert "isn't an archive that is there. A whole one was taken" in taken["why_whole"]
        assert "A whole one was taken" in " ".join(run.output.split())
        assert run.last_words()

        # As the inventory may ask for from the beginning.
        place.run("rollback.yml", "-e", "migration=004")
        again = place.run(*STOPPED, "-e", "backup_while_writing=never")
        assert again.code == 0, again.output
        assert again.read("backup.json")["why_whole"] is None
        assert "backup_while_writing: never" in again.read("backup.json")["moment"]
        assert "Back up while writers go on" not in again.output
