"""The plan asks for shard keys where a router answers; no router can be had here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mongo_migration.procedures import sharded
from mongo_migration.server import sharding
from pymongo import MongoClient
from pymongo.monitoring import CommandListener

from embedded.mongod import ReplicaSet
from tests.support import backups, commands_sent, databases, torture
from tests.support.migrations import Deployment
from tests.support.tenants import tenants


def test_a_plan_behind_a_router_refuses_the_shard_key_and_says_that_it_is_untried(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tenants(deployment)
    for organization in made.organizations:
        made.add("items", made.users[organization])
    assert sharded.UNTRIED not in deployment.plan("004")["warnings"]

    keys = {"items": ["organizationId"], "bills": ["createdBy"]}
    monkeypatch.setattr(sharding, "is_router", lambda client: True)
    monkeypatch.setattr(sharding, "keys", lambda database: keys)
    planned = deployment.plan("004")
    assert sharded.UNTRIED in planned["warnings"]
    (problem,) = (each for each in planned["problems"] if each["policy"] == "sharded cluster")
    assert problem["collection"] == "items"
    assert "shard key" in problem["what"]


INDEXES = """
id: "902"
name: indexes-of-a-sharded-collection
summary: An index is dropped, one is hidden, and a unique one is built.
downtime: none
steps:
  - drop_index: {collections: [items], name: organizationId_1}
  - hide_index: {collections: [items], name: kind_1, hidden: false}
  - create_index: {collections: [items], keys: {number: 1}, options: {unique: true}}
"""


def test_a_plan_behind_a_router_refuses_what_no_index_may_be_there(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tenants(deployment)
    made.add("items", next(iter(made.users.values())))
    items = deployment.data["items"]
    items.create_index("organizationId")
    items.create_index("kind")
    monkeypatch.setattr(sharding, "is_router", lambda client: True)
    monkeypatch.setattr(sharding, "keys", lambda database: {"items": ["organizationId"]})
    document = (INDEXES, "902-indexes-of-a-sharded-collection.yml")

    def refused() -> list[str]:
        found = deployment.plan(document)["problems"]
        return [each["what"] for each in found if each["policy"] == "sharded cluster"]

    last, unique = refused()
    assert "organizationId_1 is the last index" in last
    assert "a unique index (number) must begin" in unique
    items.create_index([("organizationId", 1), ("kind", 1)])
    assert refused() == [unique]


class Heard(CommandListener):
    """The commands that a client sends."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def started(self, event: Any) -> None:
        self.names.add(event.command_name)

    def succeeded(self, event: Any) -> None:
        """It was heard when it started."""

    failed = succeeded


def test_what_is_really_sent_is_on_the_page(replica_set: ReplicaSet, tmp_path: Path) -> None:
    heard = Heard()
    with (
        replica_set.client() as admin,
        databases.fresh(admin, roles=False) as data,
        MongoClient[dict[str, Any]](replica_set.uri(), event_listeners=[heard]) as client,
    ):
        torture.fill(data)
        archive = Path(backups.take(client, data.name, tmp_path)["archive"])
        torture.migrate(client[data.name])
        torture.assert_verified(client[data.name])
        torture.roll_back(client[data.name])
        backups.put_back(client, data.name, archive)
    assert heard.names >= {"update", "commitTransaction", "createIndexes", "renameCollection"}
    assert heard.names - commands_sent.on_the_page() == set()
