"""The plan asks for shard keys where a router answers; no router can be had here."""

from __future__ import annotations

import pytest
from mongo_migration.procedures import sharded
from mongo_migration.server import sharding

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
