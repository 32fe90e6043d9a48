"""What a journal entry has no room for: the way back would be closed, so the way there is, too."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import pytest
from mongo_migration.errors import MigrationError, PlanBlockedError

from tests.support.migrations import Deployment, failed

MEBIBYTE = 1 << 20
LIMIT = 15 * MEBIBYTE
# Which no compression makes smaller.
BYTES = os.urandom(16 * MEBIBYTE)
TEXT = {"value": "x"}
STEPS: Mapping[str, dict[str, Any]] = {
    "set_field": {
        "collections": ["items"],
        "field": "held",
        "type": "string",
        "when_invalid": "replace",
        "value": TEXT,
    },
    "update": {"collections": ["items"], "set": {"held": TEXT}},
    "delete": {"collections": ["items"], "where": {"_id": {"$ne": "first"}}},
    "merge_duplicates": {"in": "items", "by": ["same"], "keep": "oldest", "referenced_by": {}},
    "insert_for_each": {
        "from": "items",
        "into": "copies",
        "key": ["of"],
        "document": {"of": "$_id", "held": "$held"},
    },
}


def migration(kind: str) -> tuple[str, str]:
    head = {"id": "900", "name": "room", "summary": "A step.", "downtime": "none"}
    return json.dumps({**head, "steps": [{kind: STEPS[kind]}]}), "900.yml"


@pytest.fixture
def site(standalone_deployment: Deployment) -> Deployment:
    standalone_deployment.data["items"].insert_one({"_id": "first", "same": 1})
    return standalone_deployment


@pytest.mark.parametrize("kind", STEPS)
def test_a_document_that_the_journal_has_no_room_for_is_a_problem_of_the_plan(
    kind: str, site: Deployment
):
    site.data["items"].insert_one({"_id": "large", "same": 1, "held": BYTES[: LIMIT + 1000]})
    before = site.content()
    with pytest.raises(PlanBlockedError, match="too large to be kept in the journal") as caught:
        site.migrate(migration(kind))
    (problem,) = caught.value.details["problems"]
    assert (problem["count"], problem["policy"]) == (1, "a rollback is exact")
    assert "large" in str(problem["samples"])
    assert site.content() == before


@pytest.mark.parametrize("kind", ["update", "insert_for_each"])
def test_a_little_less_has_room_also_for_its_undoing(kind: str, site: Deployment):
    site.data["items"].insert_one({"_id": "large", "same": 1, "held": BYTES[: LIMIT - 1000]})
    before = site.content()
    site.migrate(migration(kind))
    assert failed(site.verify(migration(kind))) == []
    assert site.roll_back("900")["conflict_count"] == 0
    assert site.content() == before


def test_one_that_came_after_the_plan_ends_the_run_and_costs_nothing(site: Deployment):
    items = site.data["items"]
    items.insert_one({"_id": "before", "same": 1})
    large = BYTES[: LIMIT + MEBIBYTE // 2]

    def come(event: dict[str, Any]) -> None:
        if event.get("phase") == "migrate" and event.get("done") == 1:
            items.replace_one(
                {"_id": "large"}, {"held": BYTES[: LIMIT + MEBIBYTE // 2]}, upsert=True
            )

    site.batch_size, site.progress = 1, come
    before = site.content()
    with pytest.raises(MigrationError, match="too large to be kept in the journal"):
        site.migrate(migration("update"))
    assert items.count_documents({"_id": "large", "held": large}) == 1
    site.roll_back("900")
    items.delete_one({"_id": "large"})
    assert site.content() == before
