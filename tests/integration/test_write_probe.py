"""For how long writes were refused: seen by a user who tries all the time."""

from __future__ import annotations

import time
from typing import Any

from mongo_migration.monitor.write_probe import WriteProbe
from pymongo import MongoClient

from embedded.mongod import ReplicaSet
from embedded.processes import wait_until
from tests.support import databases


def probe(servers: ReplicaSet, name: str, user: str = "app") -> WriteProbe:
    return WriteProbe(MongoClient(servers.uri(user, database=name)), name)


def block(client: MongoClient[dict[str, Any]], on: bool) -> None:
    client.admin.command({"setUserWriteBlockMode": 1, "global": on})


def tries(client: MongoClient[dict[str, Any]], name: str) -> Any:
    found = client[name]["_migrations_probe"].find_one({"_id": "write probe"})
    return found and found["at"]


def test_a_refusal_lasts_from_the_first_refused_write_to_the_next_accepted_one(
    replica_set: ReplicaSet, client: MongoClient[dict[str, Any]]
) -> None:
    with databases.fresh(client, roles=True) as db:
        seen = probe(replica_set, db.name)
        seen.start()
        assert wait_until(lambda: tries(client, db.name) is not None, 30)
        block(client, True)
        try:
            began = time.monotonic()
            assert wait_until(lambda: seen._refused > 3, 30)
            least = time.monotonic() - began
        finally:
            block(client, False)
        last = tries(client, db.name)
        assert wait_until(lambda: tries(client, db.name) > last, 30)
        found = seen.end()
        assert found["refused"] > 3
        assert found["tried"] > found["refused"]
        (span,) = found["spans"]
        assert span["seconds"] == found["seconds"]
        assert found["seconds"] >= round(least, 1) - 0.1
        assert found["problem"] == ""
        assert tries(client, db.name) is None, "it leaves something behind"


def test_what_is_still_refused_at_the_end_says_so(
    replica_set: ReplicaSet, client: MongoClient[dict[str, Any]]
) -> None:
    with databases.fresh(client, roles=True) as db:
        block(client, True)
        try:
            seen = probe(replica_set, db.name)
            seen.start()
            assert wait_until(lambda: seen._refused > 1, 30)
            (span,) = seen.end()["spans"]
        finally:
            block(client, False)
        assert span["open"] is True


def test_a_user_that_may_not_write_at_all_proves_nothing(
    replica_set: ReplicaSet,
) -> None:
    seen = probe(replica_set, "somewhere_else")
    seen.start()
    assert wait_until(lambda: seen._other != "", 30)
    found = seen.end()
    assert (found["tried"], found["spans"]) == (0, [])
    assert found["problem"] == "code 13"
