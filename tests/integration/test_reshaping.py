"""Collections and indexes: every kind of index, and what was done since, met by a rollback."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from mongo_migration.errors import MigrationError, PlanBlockedError

from tests.support.migrations import Deployment, failed


def document(*steps: dict[str, Any], downtime: str = "none") -> tuple[str, str]:
    head = {"id": "905", "name": "shapes", "summary": "Shapes.", "after": []}
    text = yaml.safe_dump({**head, "downtime": downtime, "steps": list(steps)}, sort_keys=False)
    return text, "905-shapes.yml"


@pytest.mark.parametrize(
    ("keys", "options"),
    [
        ({"$**": 1}, {"wildcardProjection": {"secret": 0}}),
        ({"title": "text", "body": "text"}, {"weights": {"title": 3}}),
        ({"kind": 1, "title": "text"}, {"default_language": "german"}),
        ({"place": "2dsphere"}, {}),
        ({"place": "2d"}, {"bits": 20}),
        ({"user": "hashed"}, {}),
        ({"at": 1}, {"expireAfterSeconds": 3600}),
        ({"title": 1}, {"hidden": True, "sparse": True}),
        ({"title": 1}, {"collation": {"locale": "en", "strength": 2}, "unique": True}),
        ({"title": 1}, {"partialFilterExpression": {"kind": "a"}}),
    ],
    ids=lambda value: "-".join(value) or "plain",
)
def test_an_index_of_every_kind_is_built_known_again_and_dropped(
    deployment: Deployment, keys: dict[str, Any], options: dict[str, Any]
):
    deployment.data["posts"].insert_one({"_id": 1, "title": "a", "kind": "a"})
    before = deployment.content()
    made = document({"create_index": {"collections": ["posts"], "keys": keys, "options": options}})
    deployment.migrate(made)
    assert failed(deployment.verify(made)) == []
    (row,) = deployment.plan(made)["steps"]
    assert row["indexes"][0]["state"] == "present"
    assert len(deployment.content()[1]["posts"]) == 2
    deployment.roll_back("905")
    assert deployment.content() == before


def test_an_index_is_hidden_and_shown_again(deployment: Deployment):
    deployment.data["posts"].create_index("slug")
    before = deployment.content()
    made = document({"hide_index": {"collections": ["posts"], "name": "slug_1"}})
    deployment.migrate(made)
    assert deployment.data["posts"].index_information()["slug_1"]["hidden"] is True
    assert failed(deployment.verify(made)) == []
    deployment.roll_back("905")
    assert deployment.content() == before


def test_what_was_written_since_comes_along_when_a_collection_gets_its_name_back(
    deployment: Deployment,
):
    deployment.data["old"].insert_one({"_id": 1})
    deployment.migrate(document({"rename_collection": {"from": "old", "to": "fresh"}}))
    deployment.data["fresh"].insert_one({"_id": 2})
    assert deployment.roll_back("905")["conflict_count"] == 0
    assert list(deployment.data["old"].find()) == [{"_id": 1}, {"_id": 2}]
    assert "fresh" not in deployment.data.list_collection_names()


def test_nothing_is_renamed_over_another_collection(deployment: Deployment):
    deployment.data["old"].insert_one({"_id": 1})
    deployment.data["fresh"].insert_one({"_id": 2})
    with pytest.raises(PlanBlockedError, match="new name already"):
        deployment.migrate(document({"rename_collection": {"from": "old", "to": "fresh"}}))


DROP = document({"drop_collection": {"collections": ["cache"]}})


def test_a_new_empty_collection_of_the_name_is_no_obstacle_to_bringing_the_old_one_back(
    deployment: Deployment,
):
    deployment.data["cache"].insert_one({"_id": 1})
    deployment.migrate(DROP)
    deployment.data.create_collection("cache")
    assert deployment.roll_back("905")["conflict_count"] == 0
    assert list(deployment.data["cache"].find()) == [{"_id": 1}]


def test_one_that_holds_something_is_a_conflict_and_loses_nothing(deployment: Deployment):
    deployment.data["cache"].insert_one({"_id": 1})
    deployment.migrate(DROP)
    deployment.data["cache"].insert_one({"_id": 7})
    with pytest.raises(MigrationError, match="made since and holds 1 documents"):
        deployment.roll_back("905", on_conflict="fail")
    assert deployment.roll_back("905")["conflict_count"] == 1
    assert list(deployment.data["cache"].find()) == [{"_id": 7}]
    (aside,) = [
        name
        for name in deployment.data.list_collection_names()
        if name.startswith("_migrations_aside.")
    ]
    assert list(deployment.data[aside].find()) == [{"_id": 1}]


def test_a_collection_that_was_made_and_written_to_stays(deployment: Deployment):
    deployment.migrate(document({"create_collection": {"name": "sales"}}))
    deployment.data["sales"].insert_one({"_id": 1})
    assert deployment.roll_back("905")["conflict_count"] == 1
    assert list(deployment.data["sales"].find()) == [{"_id": 1}]


def test_one_of_other_options_is_refused(deployment: Deployment):
    deployment.data.create_collection("sales", validator={"a": 1})
    with pytest.raises(PlanBlockedError, match="validator"):
        deployment.migrate(document({"create_collection": {"name": "sales"}}))


def test_a_validator_that_somebody_changed_since_is_a_conflict(deployment: Deployment):
    deployment.data["sales"].insert_one({"_id": 1})
    rule = {"collections": ["sales"], "validator": {"a": {"$exists": True}}}
    found = deployment.plan(document({"validate": rule}))
    assert found["steps"][0]["refuses"] == 1
    deployment.migrate(document({"validate": rule}))
    deployment.data.command("collMod", "sales", validator={"b": 1})
    assert deployment.roll_back("905")["conflict_count"] == 1
    assert deployment.data["sales"].options()["validator"] == {"b": 1}


def test_a_deleted_document_whose_place_was_taken_is_a_conflict(deployment: Deployment):
    deployment.data["sessions"].insert_many([{"_id": 1, "old": True}, {"_id": 2, "old": True}])
    deployment.migrate(document({"delete": {"collections": ["sessions"], "where": {"old": True}}}))
    deployment.data["sessions"].insert_one({"_id": 1, "new": True})
    assert deployment.roll_back("905")["conflict_count"] == 1
    found = list(deployment.data["sessions"].find(sort=[("_id", 1)]))
    assert found == [{"_id": 1, "new": True}, {"_id": 2, "old": True}]


def test_an_inserted_document_that_is_referred_to_stays(deployment: Deployment):
    deployment.data["users"].insert_one({"_id": 1})
    step = {
        "into": "roles",
        "key": ["slug"],
        "documents": [{"slug": "a"}, {"slug": "b"}],
        "referenced_by": {"users": "role"},
    }
    deployment.migrate(document({"insert": step}))
    kept = deployment.data["roles"].find_one({"slug": "a"})
    deployment.data["users"].update_one({}, {"$set": {"role": kept["_id"]}})
    assert deployment.roll_back("905")["conflict_count"] == 1
    assert list(deployment.data["roles"].find()) == [kept]


def test_a_collection_of_which_nothing_is_to_be_left_is_rightly_empty(
    deployment: Deployment,
) -> None:
    """Verification takes an empty collection for a loss, unless the run removed the documents."""
    data = deployment.data
    data["items"].insert_many([{"_id": number} for number in range(5)])
    document = (
        """
id: "901"
name: emptied
summary: Everything goes.
downtime: none
steps:
  - delete: {collections: [items], where: {}}
""",
        "901-emptied.yml",
    )
    deployment.migrate(document)
    assert failed(deployment.verify(document)) == []
    deployment.roll_back("901")
    assert data["items"].count_documents({}) == 5
