"""A replica set as production has one."""

from __future__ import annotations

from typing import Any

from pymongo.database import Database

from embedded.cluster import Cluster


def test_one_member_is_primary_and_two_follow_it(database: Database[dict[str, Any]]) -> None:
    states = [
        member["stateStr"]
        for member in database.client.admin.command("replSetGetStatus")["members"]
    ]
    assert sorted(states) == ["PRIMARY", "SECONDARY", "SECONDARY"]


def test_the_company_is_there(database: Database[dict[str, Any]], cluster: Cluster) -> None:
    counts = [database[n].count_documents({}) for n in database.list_collection_names()]
    assert sum(counts) == cluster.facts["documents"]


def test_the_backend_and_the_version_are_on_record(cluster: Cluster) -> None:
    assert cluster.facts["backend"] in ("podman", "docker", "local")
    assert cluster.facts["version"].count(".") == 2
    assert cluster.facts["version"] in cluster.words()
