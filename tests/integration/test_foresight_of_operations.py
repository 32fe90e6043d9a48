"""What the plan foresees of postconditions, for each operation that changes what they look at.

Each of a case's ``then`` fails before the run and holds after it: the plan lets it pass, and so
does the verification. Each of ``never`` fails before and after: the plan says so. What is counted
among documents that a step changes isn't foreseen.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from mongo_migration.operations.registry import OPERATIONS

from tests.support.migrations import Deployment, failed

Document = dict[str, Any]

DATA: dict[str, list[Document]] = {
    "items": [
        {"_id": 1, "sku": "a", "price": "1.5", "by": 7, "state": "old", "lines": [{"q": 1}]},
        {"_id": 2, "sku": "b", "price": "2", "by": 7, "state": "new", "lines": []},
        {"_id": 3, "sku": "b", "price": "3", "by": 8, "state": "old", "address": {"zip": "1"}},
    ],
    "users": [{"_id": 7, "name": "Ann"}, {"_id": 8, "name": "Bob"}, {"_id": 9, "name": "Cid"}],
    "archive": [{"_id": 90, "sku": "z"}],
}


def none(where: Document, inside: str = "items") -> Document:
    return {"none": {"in": inside, "where": where}}


def count(inside: str, equals: Any, **where: Any) -> Document:
    return {"count": {"in": inside, "equals": equals, **({"where": where} if where else {})}}


def at_least(inside: str, number: int, **where: Any) -> Document:
    return {"count": {"in": inside, "at_least": number, **({"where": where} if where else {})}}


def unique(inside: str, *by: str) -> Document:
    return {"unique": {"in": inside, "by": list(by)}}


def each_has(inside: str, other: str, field: str, local: str = "_id") -> Document:
    join = {"from": other, "localField": local, "foreignField": field, "as": "found"}
    return {"no_rows": {"in": inside, "pipeline": [{"$lookup": join}, {"$match": {"found": []}}]}}


# By the operation: its step, what it mends, and what it doesn't.
CASES: dict[str, tuple[Document, list[Document], list[Document]]] = {
    "change_id": (
        {
            "change_id": {
                "in": "items",
                "id": {"expression": {"$toString": "$_id"}},
                "referenced_by": {},
            }
        },
        [none({"_id": {"$type": "number"}}), at_least("items", 3, _id={"$type": "string"})],
        [none({"state": "new"}), unique("items", "sku")],
    ),
    "create_collection": (
        {"create_collection": {"name": "fresh"}},
        [count("fresh", 0)],
        [count("fresh", 1)],
    ),
    "create_index": (
        {"create_index": {"collections": ["items"], "keys": {"sku": 1}}},
        [],
        [unique("items", "sku"), none({"sku": "b"})],
    ),
    "delete": (
        {"delete": {"collections": ["items"], "where": {"state": "old"}}},
        [
            none({"state": "old"}),
            unique("items", "sku"),
            count("items", 1),
            count("items", {"in": "archive"}),
            count("items", 0, state="old"),
            none({"lines.q": {"$gt": 0}}),
        ],
        [none({"state": "new"}), count("users", 1)],
    ),
    "drop_collection": (
        {"drop_collection": {"collections": ["archive"]}},
        [],
        [count("items", 4)],
    ),
    "drop_index": (
        {"drop_index": {"collections": ["items"], "name": "state_1"}},
        [],
        [unique("items", "sku")],
    ),
    "extract": (
        {
            "extract": {
                "from": "items",
                "field": "lines",
                "into": "lines",
                "document": {"$mergeObjects": [{"item": "$_id", "place": "$$place"}, "$$this"]},
            }
        },
        [
            none({"lines": {"$exists": True}}),
            count("lines", 1),
            at_least("lines", 1, item=1, q=1),
            none({"lines.q": {"$gt": 0}}),
        ],
        [unique("items", "sku"), count("items", 4), count("users", 1)],
    ),
    "hide_index": (
        {"hide_index": {"collections": ["items"], "name": "state_1"}},
        [],
        [unique("items", "sku")],
    ),
    "insert": (
        {
            "insert": {
                "into": "archive",
                "key": ["sku"],
                "referenced_by": {},
                "documents": [{"sku": "y"}, {"sku": "x"}],
            }
        },
        [
            count("archive", 3),
            count("archive", {"in": "items"}),
            at_least("archive", 1, sku="y"),
        ],
        [count("archive", 4), none({"sku": "z"}, "archive")],
    ),
    "insert_for_each": (
        {
            "insert_for_each": {
                "from": "users",
                "into": "archive",
                "key": ["user"],
                "document": {"user": "$_id", "sku": "$name"},
            }
        },
        [
            count("archive", 4),
            each_has("users", "archive", "user"),
            count("archive", {"in": "users"}, user={"$exists": True}),
            at_least("archive", 1, sku="Ann"),
        ],
        [none({"sku": "z"}, "archive"), each_has("users", "archive", "sku", "name2")],
    ),
    "merge_duplicates": (
        {
            "merge_duplicates": {
                "in": "items",
                "by": {"sku": "$sku"},
                "keep": "oldest",
                "fields": {"price": "first", "state": "first", "by": "first"},
                "referenced_by": {},
            }
        },
        [unique("items", "sku"), count("items", 2)],
        [none({"sku": "a"}), count("users", 1)],
    ),
    "move": (
        {"move": {"from": ["items"], "into": "archive", "where": {"state": "old"}}},
        [
            none({"state": "old"}),
            count("archive", 3),
            at_least("archive", 2, state="old"),
            each_has("archive", "archive", "sku", "sku"),
        ],
        [none({"state": "new"}), count("users", 1)],
    ),
    "rebuild_collection": (
        {"rebuild_collection": {"name": "items", "options": {"collation": {"locale": "en"}}}},
        [],
        [unique("items", "sku"), count("items", 4)],
    ),
    "rename_collection": (
        {"rename_collection": {"from": "archive", "to": "attic"}},
        [count("attic", 1), at_least("attic", 1, sku="z")],
        [count("attic", 2), count("items", 4)],
    ),
    "replace_index": (
        {
            "replace_index": {
                "collections": ["items"],
                "keys": {"state": 1},
                "options": {"sparse": True},
            }
        },
        [],
        [unique("items", "sku")],
    ),
    "set_field": (
        {
            "set_field": {
                "collections": ["items"],
                "field": "owner",
                "type": "string",
                "value": {"reference": {"from": "users", "match": {"_id": "$by"}, "take": "name"}},
            }
        },
        [
            none({"owner": None}),
            at_least("items", 1, owner="Ann"),
            at_least("items", 3, owner={"$ne": None}),
            each_has("items", "users", "name", "owner"),
        ],
        [none({"state": "old"}), unique("items", "sku"), count("users", 1)],
    ),
    "update": (
        {
            "update": {
                "collections": ["items"],
                "set": {"price": {"expression": {"$toDouble": "$price"}}},
                "rename": {"state": "status"},
            }
        },
        [
            none({"price": {"$type": "string"}}),
            none({"state": {"$exists": True}}),
            at_least("items", 2, status="old"),
        ],
        [unique("items", "sku"), count("items", 4)],
    ),
    "validate": (
        {
            "validate": {
                "collections": ["items"],
                "validator": {"sku": {"$type": "string"}},
            }
        },
        [],
        [unique("items", "sku")],
    ),
}


@pytest.fixture
def site(deployment: Deployment) -> Deployment:
    for name, documents in DATA.items():
        deployment.data[name].insert_many(documents)
    deployment.data["items"].create_index("state")
    return deployment


def test_every_operation_has_a_case():
    # Of a command it isn't known what it does to documents.
    assert set(CASES) == set(OPERATIONS) - {"command"}


def migration(*steps: Document, then: list[Document]) -> tuple[str, str]:
    document = {
        "id": "900",
        "name": "foreseen",
        "summary": "What the plan foresees.",
        "after": [],
        "downtime": "none",
        "steps": [{"name": f"step {n}", **step} for n, step in enumerate(steps)],
        "postconditions": [{"name": f"check {n}", **one} for n, one in enumerate(then)],
    }
    return yaml.safe_dump(document), "900-foreseen.yml"


@pytest.mark.parametrize("operation", CASES)
def test_what_an_operation_mends_is_no_problem(site: Deployment, operation: str):
    step, then, _never = CASES[operation]
    document = migration(step, then=then)
    assert site.plan(document)["problems"] == []
    site.migrate(document)
    assert failed(site.verify(document)) == []


@pytest.mark.parametrize(
    ("operation", "never"),
    [(name, never) for name, (_, _, several) in CASES.items() for never in several],
    ids=str,
)
def test_what_it_does_not_mend_is_told(site: Deployment, operation: str, never: Document):
    plan = site.plan(migration(CASES[operation][0], then=[never]))
    assert [one["what"] for one in plan["problems"]] + plan["warnings"] != []


def test_a_collection_that_is_changed_and_renamed_is_looked_at_where_it_is(site: Deployment):
    document = migration(
        CASES["update"][0],
        {"rename_collection": {"from": "items", "to": "things"}},
        then=[
            none({"price": {"$type": "string"}}, "things"),
            each_has("things", "users", "_id", "by"),
            each_has("users", "things", "by") | {"severity": "warning"},
        ],
    )
    plan = site.plan(document)
    assert plan["problems"] == []
    assert ["check 2: found 1" in one for one in plan["warnings"]] == [True]
    site.migrate(document)
    assert failed(site.verify(document)) == []
    wrong = migration(
        {"rename_collection": {"from": "archive", "to": "attic"}},
        then=[none({"sku": "z"}, "attic"), each_has("users", "attic", "user")],
    )
    assert [one["count"] for one in site.plan(wrong)["problems"]] == [1, 3]
