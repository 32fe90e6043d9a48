"""What the plan foresees: postconditions that would fail, and values that can't be written."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import pytest
import yaml
from bson import ObjectId
from bson.binary import Binary, UuidRepresentation
from mongo_migration.errors import PlanBlockedError

from tests.support.migrations import Deployment, failed

Document = dict[str, Any]


def migration(*steps: Document, then: list[Document] | None = None) -> tuple[str, str]:
    document = {
        "id": "900",
        "name": "foreseen",
        "summary": "What the plan foresees.",
        "after": [],
        "downtime": "none",
        "variables": {
            "lost": {
                "type": "string",
                "choices": ["fail", "skip"],
                "default": "fail",
                "description": "What to do with items of nobody.",
            }
        },
        "steps": [{"name": f"step {number}", **step} for number, step in enumerate(steps)],
        "postconditions": then or [],
    }
    return yaml.safe_dump(document), "900-foreseen.yml"


SHOP: Document = {
    "set_field": {
        "collections": ["items"],
        "field": "shop",
        "type": "int",
        "references": "shops",
        "value": {"reference": {"from": "users", "match": {"_id": "$by"}, "take": "shop"}},
        "when_unresolved": "{{ lost }}",
    }
}
BOOKS: Document = {
    "insert_for_each": {
        "from": "shops",
        "into": "books",
        "key": ["shop"],
        "document": {"shop": "$_id", "open": True},
    }
}


@pytest.fixture
def site(deployment: Deployment) -> Deployment:
    data = deployment.data
    data["shops"].insert_many([{"_id": number} for number in (1, 2, 3)])
    data["users"].insert_many([{"_id": f"u{number}", "shop": number} for number in (1, 2)])
    data["items"].insert_many([{"_id": number, "by": f"u{number}"} for number in (1, 2)])
    data.create_collection("books")
    return deployment


def no_books(**more: Any) -> Document:
    join = {"from": "books", "localField": "_id", "foreignField": "shop", "as": "books"}
    return {
        "name": "every shop has a book",
        "no_rows": {"in": "shops", "pipeline": [{"$lookup": join}, {"$match": {"books": []}}]},
        **more,
    }


def none(name: str, where: Document, **more: Any) -> Document:
    return {"name": name, "none": {"in": "items", "where": where}, **more}


def test_what_fails_now_and_a_step_mends_is_no_problem(site: Deployment):
    then = [
        no_books(),
        none("every item has a shop", {"shop": None}),
        {"name": "as many books", "count": {"in": "books", "equals": {"in": "shops"}}},
        {"name": "two books", "count": {"in": "books", "where": {"shop": {"$gt": 1}}, "equals": 2}},
        {"name": "a book each", "unique": {"in": "books", "by": ["shop"]}},
    ]
    plan = site.plan(migration(SHOP, BOOKS, then=then))
    assert (plan["problems"], plan["warnings"]) == ([], [])
    site.migrate(migration(SHOP, BOOKS, then=then))
    assert failed(site.verify(migration(SHOP, BOOKS, then=then))) == []
    # True is a value here, not the name of a path.
    assert site.data["books"].count_documents({"open": True}) == 3


@pytest.mark.parametrize(
    ("check", "samples"),
    [
        (none("all prices are known", {"price": None}), [1, 2]),
        (no_books(), [1, 2, 3]),
        ({"name": "a place each", "unique": {"in": "shops", "by": ["place"]}}, [[1, 2, 3]]),
        ({"name": "four shops", "count": {"in": "shops", "equals": 4}}, []),
        (
            {
                "name": "a shop has a name",
                "count": {"in": "shops", "at_least": 1, "where": {"name": 1}},
            },
            [],
        ),
    ],
    ids=["none", "no_rows", "unique", "count", "at_least"],
)
def test_what_fails_now_and_no_step_mends_is_a_problem_with_samples(
    site: Deployment, check: Document, samples: list[Any]
):
    fix, repair = "Put it right", "wrong_types"
    text = migration(SHOP, then=[{**check, "fix": fix, "repair": repair}])
    before = site.content()
    with pytest.raises(PlanBlockedError) as caught:
        site.migrate(text)
    (problem,) = caught.value.details["problems"]
    assert problem["what"].startswith(check["name"])
    assert problem["samples"] == samples
    assert problem["policy"] == "postcondition"
    assert problem["repair"] == repair
    assert problem["fix"].startswith(fix) and f"repair={repair}" in problem["fix"]
    assert site.content() == before


def test_one_that_only_warns_is_told_as_a_warning(site: Deployment):
    plan = site.plan(migration(SHOP, then=[none("prices", {"price": None}, severity="warning")]))
    assert plan["problems"] == []
    assert any(line.startswith("prices: found 2") for line in plan["warnings"])


def test_of_what_the_steps_insert_a_part_is_not_enough(site: Deployment):
    where = {**BOOKS["insert_for_each"], "where": {"_id": {"$lt": 3}}}
    plan = site.plan(migration({"insert_for_each": where}, then=[no_books()]))
    (problem,) = plan["problems"]
    assert (problem["count"], problem["samples"]) == (1, [3])


def test_what_is_inserted_may_itself_be_wrong(site: Deployment):
    site.data["books"].insert_one({"shop": 2, "open": True})
    step = {**BOOKS["insert_for_each"], "key": ["shop", "open"], "where": {"_id": 2}}
    step["document"] = {"shop": "$_id", "open": False}
    then = [{"name": "one book each", "unique": {"in": "books", "by": ["shop"]}}]
    (problem,) = site.plan(migration({"insert_for_each": step}, then=then))["problems"]
    assert problem["what"].startswith("one book each")


def test_what_a_policy_leaves_alone_and_a_postcondition_wants_is_a_problem(site: Deployment):
    site.data["items"].insert_one({"_id": 9, "by": "nobody"})
    then = [none("every item has a shop", {"shop": None})]
    plan = site.plan(migration(SHOP, then=then), lost="skip")
    (problem,) = plan["problems"]
    assert problem["samples"] == [9]


def test_what_can_not_be_told_is_a_warning(site: Deployment):
    # The check looks at a field of another collection, in documents that a step changes.
    join = {"from": "items", "localField": "_id", "foreignField": "shop", "as": "items"}
    pipeline = [{"$lookup": join}, {"$match": {"items": []}}]
    then = [{"name": "every shop sells", "no_rows": {"in": "shops", "pipeline": pipeline}}]
    plan = site.plan(migration(SHOP, then=then))
    assert plan["problems"] == []
    assert any("can't be known beforehand" in line for line in plan["warnings"])


def test_a_postcondition_on_a_collection_that_is_not_there_is_a_problem(site: Deployment):
    then = [{"name": "nothing there", "none": {"in": "itemz", "where": {"a": 1}}}]
    (problem,) = site.plan(migration(SHOP, then=then))["problems"]
    assert "'items' does" in str(problem)


def test_a_condition_that_does_not_apply_is_not_asked(site: Deployment):
    then = [none("prices", {"price": None}, when="{{ lost == 'skip' }}")]
    assert site.plan(migration(SHOP, then=then))["problems"] == []


# -- values ----------------------------------------------------------------------------------


def field(value: Document, **options: Any) -> tuple[str, str]:
    return migration(
        {"set_field": {"collections": ["items"], "field": "mark", "value": value, **options}}
    )


@pytest.mark.parametrize("options", [{}, {"type": "string"}, {"when_invalid": "keep"}], ids=str)
@pytest.mark.parametrize("value", [{"value": ""}, {"expression": {"$literal": ""}}], ids=str)
def test_a_value_that_counts_as_missing_is_none(
    site: Deployment, value: Document, options: Document
):
    plan = site.plan(field(value, **options))
    (problem,) = plan["problems"]
    assert "itself counts as missing" in problem["what"]
    assert problem["count"] == 2
    assert plan["totals"]["to_change"] == 0


def test_empty_text_is_a_value_where_it_does_not_count_as_missing(site: Deployment):
    text = field({"value": ""}, type="string", when_invalid="keep")
    site.data["items"].update_one({"_id": 1}, {"$set": {"mark": 17}})
    site.migrate(text)
    assert [row["mark"] for row in site.data["items"].find()] == [17, ""]


def test_what_is_encrypted_on_the_client_is_never_overwritten(site: Deployment):
    secret = Binary(b"\x01" + bytes(40), 6)
    site.data["items"].insert_many(
        [{"_id": 8, "mark": secret}, {"_id": 9, "mark": Binary(b"x", 0)}]
    )
    before = site.content()
    with pytest.raises(PlanBlockedError) as caught:
        site.migrate(field({"value": "x"}, type="string"))
    (problem,) = caught.value.details["problems"]
    assert (problem["count"], problem["samples"]) == (1, [8])
    assert "encrypted on the client" in problem["what"]
    assert site.content() == before
    assert site.plan(field({"value": "x"}, type="string", where={"_id": 9}))["problems"] == []
    assert site.plan(field({"value": "x"}, type="string", when_invalid="keep"))["problems"] == []


def test_an_expression_that_is_not_evaluated_is_said(site: Deployment):
    site.data["items"].update_many({}, {"$set": {"mark": 2.5}})
    negate = {"expression": {"$multiply": ["$mark", -1]}}
    plan = site.plan(field(negate, type="double"))
    assert plan["totals"]["to_change"] == 0
    (said,) = plan["warnings"]
    assert "the expression is not evaluated" in said and "about 2" in said


def test_ids_may_be_uuids(site: Deployment):
    data = site.data
    ids = [Binary.from_uuid(uuid.UUID(int=n), UuidRepresentation.STANDARD) for n in (1, 2, 3)]
    data["teams"].insert_many([{"_id": one} for one in ids])
    data["people"].insert_many([{"_id": number, "team": one} for number, one in enumerate(ids)])
    data["tasks"].insert_many(
        [
            {"_id": "missing", "by": 0},
            {"_id": "as text", "by": 1, "team": str(uuid.UUID(int=2))},
            {"_id": "another's", "by": 1, "team": ids[2]},
            {"_id": "another's as text", "by": 1, "team": str(uuid.UUID(int=3))},
            {"_id": "dangling", "by": 0, "team": Binary(bytes(16), 4)},
            {"_id": "right", "by": 2, "team": ids[2]},
        ]
    )
    before = site.content()
    value = {"reference": {"from": "people", "match": {"_id": "$by"}, "take": "team"}}
    step: Document = {
        "collections": ["tasks"],
        "field": "team",
        "type": "binData",
        "references": "teams",
        "value": value,
    }
    told = site.plan(migration({"set_field": step}))["problems"]
    assert {item["policy"] for item in told} == {"when_contradicted: fail"}
    assert {sample for item in told for sample in item["samples"]} == {
        "another's",
        "another's as text",
    }
    text = migration({"set_field": {**step, "when_contradicted": "replace"}})
    site.migrate(text)
    for row in data["tasks"].find():
        assert row["team"] == ids[row["by"]], row["_id"]
    assert failed(site.verify(text)) == []
    site.roll_back("900")
    assert site.content() == before


def test_an_owner_whose_id_is_text_says_so(site: Deployment):
    owner = ObjectId()
    site.data["users"].insert_one({"_id": owner, "shop": 2})
    lonely = ObjectId()
    site.data["users"].insert_one({"_id": lonely})
    site.data["items"].insert_many(
        [{"_id": 7, "by": str(owner)}, {"_id": 8, "by": str(lonely)}, {"_id": 9, "by": "anna"}]
    )
    step = {**SHOP["set_field"], "repair_text": "wrong_types"}
    plan = site.plan(migration({"set_field": step}))
    said = {item.get("repair"): item for item in plan["problems"]}
    right = said["wrong_types"]
    assert right["what"] == "by is the id of a document in users, but as text"
    assert (right["count"], right["samples"]) == (1, [7])
    # A user without a shop, and no id at all: no other type helps.
    assert sorted(said[None]["samples"]) == [8, 9]
    assert plan["repairs"] == {"wrong_types": 1}
    assert plan["next"][0] == "ansible-playbook repair.yml -e repair=wrong_types"


OLD = {"value": {"$date": "2001-01-01T00:00:00Z"}}


@pytest.mark.parametrize(
    ("there", "step", "count"),
    [
        ({"keys": "mark"}, field(OLD, type="date"), 2),
        (
            {"keys": "mark"},
            migration({"update": {"collections": ["items"], "set": {"mark": OLD}}}),
            2,
        ),
        (
            {"keys": "at", "partialFilterExpression": {"mark": {"$gt": 1}}},
            field({"expression": {"$toInt": "$_id"}}, type="int"),
            1,
        ),
        (
            None,
            migration(
                {
                    "create_index": {
                        "collections": ["items"],
                        "keys": {"at": 1},
                        "options": {"expireAfterSeconds": 60},
                    }
                }
            ),
            2,
        ),
        ({"keys": "mark"}, field({"value": {"$date": "2999-01-01T00:00:00Z"}}, type="date"), 0),
    ],
    ids=["set_field", "update", "partial", "a new index", "far away"],
)
def test_what_expires_by_what_the_steps_do_is_told_with_its_number(
    site: Deployment, there: Document | None, step: tuple[str, str], count: int
):
    """The server deletes it a minute later, and no rollback brings it back."""
    old = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
    site.data["items"].update_many({}, {"$set": {"at": old}})
    if there:
        site.data["items"].create_index(**there, expireAfterSeconds=60)
    said = [line for line in site.plan(step)["warnings"] if "by what the steps write" in line]
    assert [f"about {count:,} documents expire" in line for line in said] == [True] * bool(count)
