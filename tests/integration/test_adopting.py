"""What other tools have recorded: read by its shape, taken over once, built upon, and forgotten."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
import yaml
from mongo_migration.errors import MigrationError, PlanBlockedError
from mongo_migration.procedures import adopt, status

from tests.support import hostile
from tests.support.migrations import Deployment

AT = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC)
LATER = AT + datetime.timedelta(hours=1)


def unit(change: str, state: str, at: datetime.datetime = AT, **more: Any) -> dict[str, Any]:
    """As Mongock 5 and Flamingock write it."""
    known = {"executionId": "2024-05-01T12:00-1", "changeId": change, "author": "asha"}
    return {**known, "timestamp": at, "state": state, "type": "EXECUTION", **more}


CHANGELOGS: dict[str, tuple[str, list[dict[str, Any]], list[str], list[str]]] = {
    # tool: collection, documents, taken over, not taken over
    "migrate-mongo": (
        "changelog",
        [
            {"fileName": "20240501120000-users.js", "appliedAt": AT},
            {"fileName": "20240601120000-mail.js", "appliedAt": LATER, "fileHash": "ab12"},
        ],
        ["20240501120000-users.js", "20240601120000-mail.js"],
        [],
    ),
    "mongock": (
        "mongockChangeLog",
        [
            unit("users", "EXECUTED", changeLogClass="com.acme.Users"),
            unit("mail", "FAILED", errorTrace="x"),
            unit("undone", "EXECUTED"),
            unit("undone", "ROLLED_BACK", LATER),
            unit("system-change-00001", "EXECUTED", systemChange=True),
        ],
        ["users"],
        ["mail", "undone", "system-change-00001"],
    ),
    "flamingock": (
        "flamingockAuditLog",
        [unit("users", "STARTED"), unit("users", "APPLIED", LATER), unit("mail", "STARTED")],
        ["users"],
        ["mail"],
    ),
    "liquibase": (
        "DATABASECHANGELOG",
        [
            {
                "fileName": "db/changelog.xml",
                "id": str(number),
                "author": "asha",
                "dateExecuted": AT,
                "execType": state,
                "orderExecuted": number,
                "md5sum": "8:ab",
            }
            for number, state in enumerate(("EXECUTED", "MARK_RAN", "FAILED"), start=1)
        ],
        ["db/changelog.xml::1::asha", "db/changelog.xml::2::asha"],
        ["db/changelog.xml::3::asha"],
    ),
    "mongodb-migrations": (
        "database_migrations",
        [{"migration_datetime": "20240501120000", "created_at": AT}],
        ["20240501120000"],
        [],
    ),
}


def plan(deployment: Deployment, **wanted: Any) -> dict[str, Any]:
    return adopt.plan(deployment.client, deployment.data.name, **wanted)


def building_on(*after: str) -> tuple[str, str]:
    step = {"update": {"collections": ["items"], "set": {"b": {"value": 1}}}}
    text = yaml.safe_dump(
        {
            "id": "910",
            "name": "next",
            "summary": "Next.",
            "after": list(after),
            "downtime": "none",
            "steps": [step],
        }
    )
    return text, "910-next.yml"


@pytest.mark.parametrize("tool", CHANGELOGS)
def test_what_a_tool_has_applied_is_taken_over_once_and_can_be_built_upon(
    deployment: Deployment, tool: str
):
    collection, documents, taken, left = CHANGELOGS[tool]
    data = deployment.data
    data["items"].insert_one({"_id": 1})
    data[collection].insert_many(documents)
    theirs = deployment.content()
    after = f"{tool}:{taken[0]}"
    with pytest.raises(PlanBlockedError, match=r"must be applied before.*adopt\.yml"):
        deployment.migrate(building_on(after))

    made = plan(deployment)
    assert deployment.content() == theirs
    assert "_migrations" not in data.list_collection_names() or not made["removed"]
    told = {row["migration"].partition(":")[2]: row for row in made["entries"]}
    assert {name for name, row in told.items() if row["new"]} == set(taken)
    assert {name for name, row in told.items() if row["why"]} == set(left)

    assert adopt.adopt(deployment.job())["new"] == len(taken)
    assert deployment.content() == theirs
    rows = list(data["_migrations"].find({"kind": "adopted"}, sort=[("migration", 1)]))
    assert [row["migration"] for row in rows] == sorted(f"{tool}:{name}" for name in taken)
    assert rows[0]["applied"] in (AT, LATER)
    assert rows[0]["operator"]["user"] == "anna"

    before = deployment.everything()
    assert adopt.adopt(deployment.job())["changed"] is False
    assert deployment.everything() == before

    assert deployment.migrate(building_on(after))["changed"] is True
    with pytest.raises(MigrationError, match="Migration 910 is applied and builds on"):
        adopt.adopt(deployment.job(), present=False)
    deployment.roll_back("910")
    assert adopt.adopt(deployment.job(), present=False)["removed"] == [
        row["migration"] for row in rows
    ]
    assert data["_migrations"].count_documents({"kind": "adopted"}) == 0
    assert deployment.content() == theirs


LOCKS: list[tuple[str, str, dict[str, Any], bool]] = [
    ("migrate-mongo", "changelog_lock", {"createdAt": AT}, True),
    ("mongock", "mongockLock", {"key": "DEFAULT_KEY", "status": "LOCK_HELD"}, False),
    ("flamingock", "flamingockLock", {"key": "DEFAULT_KEY", "status": "LOCK_HELD"}, False),
    ("liquibase", "DATABASECHANGELOGLOCK", {"_id": 1, "locked": True, "lockedBy": "h"}, True),
]


@pytest.mark.parametrize(("tool", "collection", "lock", "whole"), LOCKS)
def test_nothing_is_taken_over_while_the_tool_is_at_work(
    deployment: Deployment, tool: str, collection: str, lock: dict[str, Any], whole: bool
):
    place, documents, _taken, _left = CHANGELOGS[tool]
    deployment.data[place].insert_many([dict(row) for row in documents])
    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)
    held = dict(lock) if whole else {**lock, "expiresAt": now + hour}
    deployment.data[collection].insert_one(held)
    with pytest.raises(MigrationError, match=f"{tool} is at work, or was killed"):
        adopt.adopt(deployment.job())
    assert deployment.data["_migrations"].count_documents({"kind": "adopted"}) == 0
    if whole:
        deployment.data[collection].delete_many({})
    else:
        # One that was killed: its lock runs out by itself.
        deployment.data[collection].update_one({}, {"$set": {"expiresAt": now - hour}})
    assert adopt.adopt(deployment.job())["changed"] is True


def test_a_collection_of_that_name_may_be_anybodys(deployment: Deployment):
    deployment.data["changelog"].insert_one({"release": "1.0", "text": "better"})
    with pytest.raises(MigrationError, match="There is no changelog of another tool"):
        plan(deployment)
    with pytest.raises(MigrationError, match="aren't entries of migrate-mongo"):
        plan(deployment, tool="migrate-mongo")


def test_one_document_of_another_shape_stops_it_by_name(deployment: Deployment):
    rows = [{"_id": 1, "fileName": "a.js", "appliedAt": AT}, {"_id": 2, "fileName": "b.js"}]
    deployment.data["changelog"].insert_many(rows)
    with pytest.raises(MigrationError, match=r"1 documents of .*changelog.*such as 2\."):
        adopt.adopt(deployment.job())


def test_another_collection_is_named_with_its_tool(deployment: Deployment):
    deployment.data["ups"].insert_one({"fileName": "a.js", "appliedAt": AT})
    with pytest.raises(MigrationError, match="Name the tool, too"):
        plan(deployment, collection="ups")
    made = plan(deployment, tool="migrate-mongo", collection="ups")
    assert [row["migration"] for row in made["entries"]] == ["migrate-mongo:a.js"]


def test_the_status_shows_what_was_taken_over(deployment: Deployment):
    deployment.data["changelog"].insert_one({"fileName": "a.js", "appliedAt": AT})
    adopt.adopt(deployment.job())
    found = status.describe(
        client=deployment.client, database=deployment.data.name, definition=None
    )
    assert [row["migration"] for row in found["adopted"]] == ["migrate-mongo:a.js"]


def test_a_changelog_that_means_harm_is_text_and_has_an_end(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = deployment.data["changelog"]
    log.insert_one({"_id": 1, "fileName": hostile.EVERYTHING, "appliedAt": AT})
    (taken,) = plan(deployment)["entries"]
    assert taken["migration"] == f"migrate-mongo:{hostile.EVERYTHING}"
    log.insert_many([{"_id": n, "fileName": "x", "appliedAt": AT} for n in (2, 3)])
    monkeypatch.setattr(adopt, "_MOST", 2)
    with pytest.raises(MigrationError, match="has more than 2 documents"):
        plan(deployment)
    monkeypatch.undo()
    log.insert_one({"_id": 4, "fileName": "x" * 1001, "appliedAt": AT})
    with pytest.raises(MigrationError, match="aren't entries of migrate-mongo"):
        plan(deployment)
