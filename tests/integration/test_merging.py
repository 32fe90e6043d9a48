"""Duplicates by any key, references in arrays, and what the one that stays takes over."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from mongo_migration.errors import PlanBlockedError
from mongo_migration.operations.merge.references import replaced

from tests.support.migrations import Deployment, failed


def document(**options: Any) -> tuple[str, str]:
    step = {
        "in": "tags",
        "by": {"name": {"$toLower": {"$trim": {"input": "$name"}}}},
        "keep": "oldest",
        "referenced_by": {"posts": "tags"},
        **options,
    }
    head = {"id": "907", "name": "merged", "summary": "Merged.", "after": []}
    text = yaml.safe_dump(
        {**head, "downtime": "required", "steps": [{"merge_duplicates": step}]}, sort_keys=False
    )
    return text, "907-merged.yml"


def rows(deployment: Deployment, name: str) -> list[dict[str, Any]]:
    return list(deployment.data[name].find(sort=[("_id", 1)]))


@pytest.mark.parametrize(
    ("array", "becomes"),
    [
        ([2, 3], [1, 3]),
        ([3, 1, 2], [3, 1]),
        ([2, 1, 2, 3], [1, 3]),
        ([3, 3, 2], [3, 3, 1]),
        ([2.0], [1]),
        (["2", [2], 2], ["2", [2], 1]),
    ],
)
def test_in_an_array_the_one_that_stays_stands_once_at_its_first_place(
    array: list[Any], becomes: list[Any]
):
    assert replaced(array, 2, 1) == becomes


def fill(deployment: Deployment) -> None:
    deployment.data["tags"].insert_many(
        [
            {"_id": 1, "name": "Mongo", "at": 5, "words": ["a"]},
            {"_id": 2, "name": "mongo ", "at": 9, "color": "green", "words": ["b", "a"]},
            {"_id": 3, "name": "redis"},
            {"_id": 4, "name": None},
            {"_id": 5},
        ]
    )
    deployment.data["posts"].insert_many(
        [
            {"_id": 1, "tags": [2, 3], "main": 2},
            {"_id": 2, "tags": [{"x": 2}, 1, 2], "main": 2},
            {"_id": 3, "tags": 2, "main": 3},
        ]
    )


def test_the_one_that_stays_takes_over_fields_and_all_comes_back(deployment: Deployment):
    fill(deployment)
    before = deployment.content()
    made = document(
        keep={"first_by": {"at": 1}},
        fields={"color": "first", "words": "union"},
        referenced_by={"posts": ["tags", "main"]},
    )
    plan = deployment.plan(made)
    assert plan["totals"]["to_change"] == 7  # five references, two fields
    assert plan["totals"]["to_remove"] == 1
    deployment.migrate(made)
    assert failed(deployment.verify(made)) == []
    kept = {"_id": 1, "name": "Mongo", "at": 5, "words": ["a", "b"], "color": "green"}
    assert rows(deployment, "tags")[0] == kept
    assert len(rows(deployment, "tags")) == 4
    assert rows(deployment, "posts") == [
        {"_id": 1, "tags": [1, 3], "main": 1},
        {"_id": 2, "tags": [{"x": 2}, 1], "main": 1},
        {"_id": 3, "tags": 1, "main": 3},
    ]
    assert deployment.roll_back("907")["conflict_count"] == 0
    assert deployment.content() == before


def test_the_last_by_a_field_can_be_the_one_that_stays(deployment: Deployment):
    fill(deployment)
    deployment.migrate(document(keep={"first_by": {"at": -1}}))
    assert [row["_id"] for row in rows(deployment, "tags")] == [2, 3, 4, 5]
    assert rows(deployment, "posts")[1]["tags"] == [{"x": 2}, 2]


def test_a_key_that_the_server_can_not_compute_is_counted_before_anything_is_written(
    deployment: Deployment,
):
    fill(deployment)
    deployment.data["tags"].insert_many([{"_id": 7, "name": 5}, {"_id": 8, "name": {"a": 1}}])
    (problem,) = deployment.plan(document())["problems"]
    assert (problem["count"], problem["samples"]) == (2, [7, 8])
    assert "$trim" in problem["what"]
    assert "steps[0].merge_duplicates.by" in problem["fix"]
    with pytest.raises(PlanBlockedError, match="can't compute their key"):
        deployment.migrate(document())
    deployment.migrate(document(where={"name": {"$type": "string"}}))
    assert len(rows(deployment, "tags")) == 6


def test_ids_that_differ_only_to_a_collation_are_not_one(deployment: Deployment):
    """In a collection that compares without regard to case, "A" and "a" are two ids."""
    data = deployment.data
    data["tags"].insert_many([{"_id": "x", "name": "one"}, {"_id": "a", "name": "One"}])
    data.create_collection("posts", collation={"locale": "en", "strength": 2})
    data["posts"].insert_many([{"_id": 1, "tags": ["A"]}, {"_id": 2, "tags": ["a"]}])
    deployment.migrate(document(keep="newest"))
    assert rows(deployment, "posts") == [{"_id": 1, "tags": ["A"]}, {"_id": 2, "tags": ["x"]}]


def _whole(body: bytes) -> bytes:
    return (len(body) + 5).to_bytes(4, "little") + body + b"\x00"


def test_an_array_that_can_not_be_put_back_is_refused_by_the_plan(deployment: Deployment):
    """Undefined: a type of old; the driver reads it as null."""
    fill(deployment)
    identity = ObjectId()
    array = _whole(b"\x100\x00\x02\x00\x00\x00" + b"\x061\x00")
    whole = _whole(b"\x07_id\x00" + identity.binary + b"\x04tags\x00" + array)
    deployment.data["posts"].insert_one(RawBSONDocument(whole))
    (problem,) = deployment.plan(document())["problems"]
    assert problem["samples"] == [identity]
    assert "can't be put back" in problem["what"]
