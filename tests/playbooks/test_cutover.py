"""A migration under an application that writes all the time: stopped only for what is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pymongo import MongoClient

from bench.flow import User
from embedded.mongod import ReplicaSet
from tests.playbooks.site import site


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
        assert len(stopped["probe"]["spans"]) == 1
        assert 0 < stopped["database_seconds"] < float(stopped["applications_seconds"])
        words = " ".join(run.last_words().split())
        assert f"were stopped for {stopped['applications_seconds']} s at the application" in words
        assert f"were refused for {stopped['database_seconds']} s by the database" in words
        assert not run.writes_blocked
        assert not run.application_in_maintenance
