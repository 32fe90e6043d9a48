"""prune.yml: what is shown, what must be typed, what it leaves, and what a rollback says then."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from embedded.mongod import ReplicaSet
from tests.playbooks.site import Site, site
from tests.support.migrations import Deployment, failed


@pytest.fixture(scope="module")
def place(
    replica_set: ReplicaSet,
    client: MongoClient[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    with site(replica_set, client, tmp_path_factory.mktemp("place")) as made:
        deployment = Deployment(client=client, data=made.database)
        deployment.migrate("003")
        assert failed(deployment.verify("003")) == []
        yield made


def test_the_way_back_is_ended_by_whoever_names_the_run(place: Site):
    run = place.database["_migrations"].find_one({"kind": "run"})
    entries = place.database["_migrations_journal"].count_documents({})
    arguments = ["prune.yml", "-e", "migration=003", "-e", "prune_after_days=0"]

    # Nobody types anything here.
    asked = place.run(*arguments)
    assert asked.code != 0
    assert run["_id"] in asked.output
    assert f"-e prune_confirm={run['_id']}" in asked.output
    assert "The data are as they were. Nothing was removed." in asked.last_words()
    assert place.database["_migrations_journal"].count_documents({}) == entries > 0

    done = place.run(*arguments, "-e", f"prune_confirm={run['_id']}", "-e", "prune_export=true")
    assert done.code == 0, done.output
    assert done.data == asked.data
    assert place.phases("003") == ["pruned"]
    assert place.database["_migrations_journal"].count_documents({}) == 0
    (folder,) = done.evidence
    assert done.read("prune.json")["bytes"] > 0
    (kept,) = folder.glob("journal-*.jsonl.gz")
    assert len(gzip.decompress(kept.read_bytes()).splitlines()) == entries

    refused = place.run("rollback.yml", "-e", "migration=003")
    assert refused.code != 0
    assert "was pruned" in refused.output
    assert refused.data == done.data
