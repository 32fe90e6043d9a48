"""A migration on a real sharded cluster, where a router is at hand: never yet run with one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from mongo_migration.errors import ArchiveError
from mongo_migration.procedures import sharded
from mongo_migration.server import sharding

from tests.conftest import CACHE_GB
from tests.support import backups, router
from tests.support.migrations import Deployment, failed

DOCUMENTS = 400
CURRENCY = """
id: "903"
name: currency-of-a-sharded-collection
summary: Every item of a sharded collection gets the currency of its organization.
downtime: none
steps:
  - set_field:
      collections: [items]
      field: currency
      type: string
      value:
        reference: {from: organizations, match: {_id: $organization}, take: currency}
  - create_index: {collections: [items], keys: {currency: 1}}
"""
MOVES = CURRENCY.replace('"903"', '"904"').replace("field: currency", "field: organization")
NAME, OTHER = "903-currency-of-a-sharded-collection.yml", "904-currency-of-a-sharded-collection.yml"

needs_router = pytest.mark.skipif(
    router.binary() is None,
    reason=f"no router on this machine: {router.VARIABLE} names none",
)


@pytest.fixture(scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[router.Cluster]:
    program = router.binary()
    assert program is not None
    with router.Cluster(tmp_path_factory.mktemp("cluster"), program, cache_gb=CACHE_GB) as made:
        yield made


@pytest.fixture
def deployment(_cluster: router.Cluster) -> Iterator[Deployment]:
    """A database with a collection on both shards, behind the router."""
    name = f"sharded_{secrets.token_hex(4)}"
    with _cluster.client() as client, _cluster.client() as independent:
        place = f"{name}.items"
        client.admin.command("enableSharding", name, primaryShard="shard0")
        client.admin.command("shardCollection", place, key={"organization": 1})
        client.admin.command("split", place, middle={"organization": 1})
        client.admin.command("moveChunk", place, find={"organization": 1}, to="shard1")
        data = client[name]
        data["organizations"].insert_many(
            [{"_id": 0, "currency": "EUR"}, {"_id": 1, "currency": "INR"}]
        )
        data["items"].insert_many(
            [{"_id": n, "organization": n % 2, "number": n} for n in range(DOCUMENTS)]
        )
        yield Deployment(client, independent[name], collections={}, batch_size=50)
        client.drop_database(name)


def on_shard(cluster: router.Cluster, number: int, name: str) -> int:
    """How many items one shard holds, by that shard itself."""
    with cluster.shards[number].client() as shard:
        return shard[name]["items"].count_documents({})


@needs_router
def test_there_and_back_over_two_shards(_cluster: router.Cluster, deployment: Deployment) -> None:
    name, before = deployment.data.name, deployment.content()
    assert [on_shard(_cluster, number, name) for number in (0, 1)] == [DOCUMENTS // 2] * 2
    planned = deployment.plan((CURRENCY, NAME))
    assert planned["problems"] == []
    assert sharded.UNTRIED in planned["warnings"]

    done = deployment.migrate((CURRENCY, NAME))
    assert done["modified"] == DOCUMENTS
    for organization, currency in enumerate(("EUR", "INR")):
        wrong = {"organization": organization, "currency": {"$ne": currency}}
        assert deployment.data["items"].count_documents(wrong) == 0
    assert failed(deployment.verify((CURRENCY, NAME))) == []
    deployment.known["903"] = deployment.load((CURRENCY, NAME))
    deployment.roll_back("903")
    assert deployment.content() == before
    assert failed(deployment.verify((CURRENCY, NAME), "rolled_back")) == []


@needs_router
def test_the_catalog_says_what_is_refused(deployment: Deployment) -> None:
    assert sharding.keys(deployment.data) == {"items": ["organization"]}
    (problem,) = deployment.plan((MOVES, OTHER))["problems"]
    assert "shard key" in problem["what"]
    # The same _id on the other shard: the server lets that pass.
    deployment.data["items"].insert_one({"_id": 0, "organization": 1})
    (problem,) = deployment.plan((CURRENCY, NAME))["problems"]
    assert "occurs more than once" in problem["what"]


@needs_router
def test_a_backup_is_taken_and_not_restored(deployment: Deployment, tmp_path: Path) -> None:
    name, before = deployment.data.name, deployment.content()
    made = backups.take(deployment.client, name, tmp_path)
    assert made["manifest"]["documents"] == DOCUMENTS + 2
    with pytest.raises(ArchiveError, match="sharded cluster isn't supported"):
        backups.put_back(deployment.client, name, Path(made["archive"]))
    assert deployment.content() == before


def test_the_parts_of_a_cluster_start(tmp_path: Path) -> None:
    """All that a router needs, so that only the router is untried here."""
    for role, key in ((router.CONFIG, "configsvr"), (router.SHARD, "shardsvr")):
        part = router.Part(tmp_path / role, role, role, cache_gb=CACHE_GB)
        with part, part.client(None) as client:
            options = client.admin.command("getCmdLineOpts")["parsed"]
            assert options["sharding"]["clusterRole"] == key
            assert client.admin.command("hello")["isWritablePrimary"]
