"""What a unique index would refuse is a problem of the plan, and the plan is right about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from bson import Decimal128, Int64
from mongo_migration.errors import MigrationError, PlanBlockedError
from mongo_migration.operations.indexes import index_specs
from mongo_migration.procedures import rollback
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from tests.support.migrations import Deployment

Document = dict[str, Any]
Db = Database[Document]


def migration(*steps: Document) -> tuple[str, str]:
    document = {
        "id": "900",
        "name": "unique",
        "summary": "What a unique index refuses.",
        "after": [],
        "downtime": "required",
        "steps": [{"name": f"step {number}", **step} for number, step in enumerate(steps)],
    }
    return yaml.safe_dump(document), "900-unique.yml"


def index(keys: Document, **options: Any) -> Document:
    return {
        "create_index": {
            "collections": ["items"],
            "keys": keys,
            "options": {"unique": True, **options},
        }
    }


def set_field(field: str, value: Document, **options: Any) -> Document:
    return {"set_field": {"collections": ["items"], "field": field, "value": value, **options}}


CASES: list[tuple[str, Document, Document, list[Document]]] = [
    ("plain", {"a": 1}, {}, [{"a": 1}, {"a": 2}, {"a": 1}]),
    ("numbers", {"a": 1}, {}, [{"a": 1}, {"a": 1.0}, {"a": Int64(1)}, {"a": Decimal128("1")}]),
    ("missing is null", {"a": 1}, {}, [{}, {"a": None}, {"a": ""}]),
    ("one is missing", {"a": 1}, {}, [{}, {"a": 1}]),
    ("compound", {"a": 1, "b": -1}, {}, [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 1}]),
    ("compound, missing", {"a": 1, "b": 1}, {}, [{"a": 1}, {"a": 2}, {"a": 1, "b": None}]),
    ("sparse", {"a": 1}, {"sparse": True}, [{}, {}, {"a": None}]),
    ("sparse, null", {"a": 1}, {"sparse": True}, [{}, {"a": None}, {"a": None}]),
    ("sparse compound", {"a": 1, "b": 1}, {"sparse": True}, [{}, {}, {"a": 1}, {"a": 1}]),
    (
        "partial",
        {"a": 1},
        {"partialFilterExpression": {"live": True}},
        [{"a": 1, "live": True}, {"a": 1}, {"a": 2, "live": True}],
    ),
    (
        "partial, twice",
        {"a": 1},
        {"partialFilterExpression": {"live": True}},
        [{"a": 1, "live": True}, {"a": 1, "live": True}],
    ),
    ("case", {"a": 1}, {}, [{"a": "x"}, {"a": "X"}, {"a": "é"}]),
    (
        "collation",
        {"a": 1},
        {"collation": {"locale": "en", "strength": 2}},
        [{"a": "x"}, {"a": "X"}, {"a": "é"}],
    ),
    (
        "collation, accents",
        {"a": 1},
        {"collation": {"locale": "en", "strength": 1}},
        [{"a": "e"}, {"a": "É"}, {"a": 1}],
    ),
    ("array", {"a": 1}, {}, [{"a": [1, 2]}, {"a": [3, 2]}, {"a": [4]}]),
    ("array of its own", {"a": 1}, {}, [{"a": [1, 1]}, {"a": [2, 2]}]),
    ("array and value", {"a": 1}, {}, [{"a": [1, 2]}, {"a": 2}]),
    ("empty arrays", {"a": 1}, {}, [{"a": []}, {"a": []}]),
    ("an empty array", {"a": 1}, {}, [{"a": []}, {"a": None}]),
    ("nested arrays", {"a": 1}, {}, [{"a": [[1, 2]]}, {"a": [[2, 1]]}, {"a": [1, 2]}]),
    ("path", {"a.b": 1}, {}, [{"a": {"b": 1}}, {"a": [{"b": 2}, {"b": 1}]}]),
    ("path, other", {"a.b": 1}, {}, [{"a": {"b": 1}}, {"a": [{"b": 2}, {"b": 3}]}]),
    ("documents", {"a": 1}, {}, [{"a": {"x": 1, "y": 2}}, {"a": {"y": 2, "x": 1}}]),
    ("array in compound", {"a": 1, "b": 1}, {}, [{"a": [1, 2], "b": 1}, {"a": 2, "b": 1}]),
]


@pytest.mark.parametrize(
    ("keys", "options", "documents"), [c[1:] for c in CASES], ids=[case[0] for case in CASES]
)
def test_the_plan_says_of_a_new_unique_index_what_the_server_says(
    deployment: Deployment, keys: Document, options: Document, documents: list[Document]
):
    items = deployment.data["items"]
    items.insert_many([{"_id": number, **one} for number, one in enumerate(documents)])
    problems = deployment.plan(migration(index(keys, **options)))["problems"]
    try:
        items.create_index(list(keys.items()), unique=True, **options)
        refused = False
    except DuplicateKeyError:
        refused = True
    assert bool(problems) == refused
    if refused:
        assert problems[0]["policy"] == "unique index"
        assert problems[0]["count"] >= 1
        assert len(problems[0]["samples"][0]) >= 2


@pytest.mark.parametrize(
    ("value", "documents", "refused"),
    [
        ({"value": "x"}, [{}, {"code": "y"}], False),
        ({"value": "x"}, [{}, {}], True),
        ({"value": "x"}, [{}, {"code": "X"}], True),  # by the index's collation
        ({"expression": "$name"}, [{"name": "a"}, {"name": "b"}], False),
        ({"expression": "$name"}, [{"name": "a"}, {"name": "b"}, {"code": "B"}], True),
        ({"expression": {"$toLower": "$name"}}, [{"name": "a"}, {"name": "A"}], True),
    ],
)
def test_a_field_that_a_unique_index_holds_is_foreseen(
    deployment: Deployment, value: Document, documents: list[Document], refused: bool
):
    items = deployment.data["items"]
    # Of several documents without the field, one that is unique takes none: hence a partial one.
    items.create_index(
        "code",
        unique=True,
        partialFilterExpression={"code": {"$type": "string"}},
        collation={"locale": "en", "strength": 2},
    )
    items.insert_many(documents)
    before = deployment.content()
    step = migration(set_field("code", value, type="string"))
    if not refused:
        deployment.migrate(step, writers_stopped=False)
        return
    with pytest.raises(PlanBlockedError) as caught:
        deployment.migrate(step)
    (problem,) = caught.value.details["problems"]
    assert (problem["policy"], problem["count"]) == ("unique index", 1)
    assert deployment.content() == before


def test_documents_of_one_owner_that_share_a_number_are_foreseen(deployment: Deployment):
    data = deployment.data
    data["shops"].insert_many([{"_id": "a"}, {"_id": "b"}])
    data["users"].insert_many(
        [{"_id": 1, "shop": "a"}, {"_id": 2, "shop": "a"}, {"_id": 3, "shop": "b"}]
    )
    data["items"].create_index(
        [("shop", 1), ("number", 1)],
        unique=True,
        partialFilterExpression={"shop": {"$exists": True}},
    )
    data["items"].insert_many(
        [
            {"_id": "first", "by": 1, "number": 7},
            {"_id": "twin", "by": 2, "number": 7},
            {"_id": "other shop", "by": 3, "number": 7},
            {"_id": "other number", "by": 2, "number": 8},
            {"_id": "set", "shop": "b", "number": 8},
        ]
    )
    value = {"reference": {"from": "users", "match": {"_id": "$by"}, "take": "shop"}}
    step = migration(set_field("shop", value, type="string", references="shops"))
    (problem,) = deployment.plan(step)["problems"]
    assert (problem["count"], set(problem["samples"][0])) == (1, {"first", "twin"})
    data["items"].update_one({"_id": "twin"}, {"$set": {"number": 9}})
    deployment.migrate(step)
    assert data["items"].count_documents({"shop": "a"}) == 3


@pytest.mark.parametrize("names", [("a", "b"), ("a", "a")])
def test_an_index_is_judged_by_what_an_earlier_step_sets(
    deployment: Deployment, names: tuple[str, str]
):
    deployment.data["items"].insert_many([{"name": name} for name in names])
    steps = migration(set_field("code", {"expression": "$name"}, type="string"), index({"code": 1}))
    problems = deployment.plan(steps)["problems"]
    assert [item["step"] for item in problems] == ([1] if names[0] == names[1] else [])
    if not problems:
        deployment.migrate(steps)
        assert deployment.data["items"].index_information()["code_1"]["unique"]


def test_documents_to_insert_are_compared_with_each_other_and_with_those_there(
    deployment: Deployment,
):
    data = deployment.data
    data["shops"].insert_many([{"_id": n, "name": f"shop {n % 2}"} for n in range(3)])
    data["books"].create_index("name", unique=True)
    step: Document = {
        "insert_for_each": {
            "from": "shops",
            "into": "books",
            "key": ["shop"],
            "document": {"shop": "$_id", "name": "$name"},
        }
    }
    (problem,) = deployment.plan(migration(step))["problems"]
    assert (problem["collection"], problem["count"]) == ("books", 1)
    data["books"].insert_one({"name": "shop 1"})
    (problem,) = deployment.plan(migration(step))["problems"]
    assert problem["count"] == 2


EQUALS: list[tuple[Document, Document, bool]] = [
    ({"collation": {"locale": "en", "strength": 2}}, {"collation": {"locale": "en"}}, False),
    (
        {"collation": {"locale": "en", "strength": 2}},
        {"collation": {"locale": "en", "strength": 2, "caseLevel": False}},
        True,
    ),
    (
        {"collation": {"locale": "en", "numericOrdering": True}},
        {"collation": {"locale": "en"}},
        False,
    ),
    (
        {"collation": {"locale": "fr_CA"}},
        {"collation": {"locale": "fr_CA", "backwards": True}},
        True,
    ),
    ({}, {"collation": {"locale": "simple"}}, True),
    ({"sparse": True}, {}, False),
]


@pytest.mark.parametrize(("there", "wanted", "same"), EQUALS)
def test_an_index_is_the_wanted_one_only_with_every_given_option(
    deployment: Deployment, there: Document, wanted: Document, same: bool
):
    items = deployment.data["items"]
    items.insert_one({"a": 1})
    items.create_index("a", name="a_1", **there)
    plan = deployment.plan(
        migration({"create_index": {"collections": ["items"], "keys": {"a": 1}, "options": wanted}})
    )
    assert plan["steps"][0]["indexes"][0]["state"] == ("present" if same else "different")
    assert bool(plan["problems"]) != same


def test_a_key_that_is_true_is_another_one():
    # As old servers took it; today's refuse it.
    assert index_specs.keys({"key": {"z": True}}) != index_specs.keys({"key": {"z": 1}})
    assert index_specs.keys({"key": {"z": 1.0}}) == index_specs.keys({"key": {"z": 1}})


# -- the way back ----------------------------------------------------------------------------


def prepare(data: Db, name: str) -> None:
    data.command("collMod", "items", index={"name": name, "prepareUnique": True})


BACK = {
    "set_field": set_field("a", {"expression": {"$toString": "$n"}}, type="string"),
    "update": {
        "update": {"collections": ["items"], "set": {"a": {"expression": {"$toString": "$n"}}}}
    },
}
LATER: dict[str, Callable[[Db], Any]] = {
    "plain": lambda data: data["items"].create_index("a", name="later", unique=True),
    "compound": lambda data: data["items"].create_index(
        [("b", 1), ("a", 1)], name="later", unique=True
    ),
    "partial": lambda data: data["items"].create_index(
        "a", name="later", unique=True, partialFilterExpression={"n": {"$gte": 0}}
    ),
    "prepared": lambda data: (
        data["items"].create_index("a", name="later"),
        prepare(data, "later"),
    ),
}


@pytest.fixture(params=["deployment", "standalone_deployment"])
def site(request: pytest.FixtureRequest) -> Deployment:
    found: Deployment = request.getfixturevalue(request.param)
    found.data["items"].insert_many(
        [{"_id": n, "n": n, "a": n % 2 and None, "b": [n % 2, 7]} for n in range(6)]
    )
    return found


@pytest.mark.parametrize("later", LATER.values(), ids=LATER.keys())
@pytest.mark.parametrize("step", BACK.values(), ids=BACK.keys())
def test_a_unique_index_that_came_later_is_named_before_anything_is_put_back(
    site: Deployment, step: Document, later: Callable[[Db], Any]
):
    text = migration(step)
    before = site.content()
    site.migrate(text)
    later(site.data)
    there = site.everything()
    with pytest.raises(MigrationError, match="unique index 'later' of items"):
        rollback.plan(site.data, "900", site.known["900"])
    with pytest.raises(MigrationError, match=r"dropIndex.*Nothing was changed"):
        site.roll_back("900")
    assert site.everything() == there

    site.data["items"].drop_index("later")
    assert site.roll_back("900")["conflict_count"] == 0
    assert site.content() == before


@pytest.mark.parametrize("step", BACK.values(), ids=BACK.keys())
def test_a_unique_index_that_lets_the_values_from_before_in_is_in_nobodys_way(
    site: Deployment, step: Document
):
    items = site.data["items"]
    for number in range(6):
        items.update_one({"_id": number}, {"$set": {"a": -number}})
    text = migration(step)
    before = site.content()
    site.migrate(text)
    items.create_index("a", name="later", unique=True)
    # One that somebody changed since stays, and nobody gets what it holds.
    items.update_one({"_id": 5}, {"$set": {"a": -50}})
    assert rollback.plan(site.data, "900", site.known["900"])["changed"] is True
    assert site.roll_back("900")["conflict_count"] == 1
    items.update_one({"_id": 5}, {"$set": {"a": -5}})
    assert site.content()[0] == before[0]


def test_documents_that_are_the_same_and_could_not_be_put_back_stop_the_plan(site: Deployment):
    """Such an index lets them stay, and refuses whoever writes the value anew."""
    items = site.data["items"]
    items.create_index("a", name="soon")
    prepare(site.data, "soon")
    (problem,) = site.plan(migration(BACK["update"]))["problems"]
    assert "prepareUnique" in problem["what"]
    assert problem["count"] == 4
    items.delete_many({"_id": {"$gt": 1}})
    items.update_one({"_id": 1}, {"$set": {"a": 7}})
    same = {"update": {"collections": ["items"], "set": {"a": {"value": "x"}}}}
    (problem,) = site.plan(migration(same))["problems"]
    assert "unique index 'soon'" in problem["what"]
    assert site.plan(migration(BACK["update"]))["problems"] == []
