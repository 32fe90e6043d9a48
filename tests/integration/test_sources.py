"""Where a value comes from, and the operations beyond what 003 and 004 use of them."""

from __future__ import annotations

import random
from typing import Any

import pytest
import yaml
from bson import Int64, ObjectId
from mongo_migration.errors import DefinitionError, MigrationError, PlanBlockedError
from mongo_migration.operations.fields import field_walk, grouping
from mongo_migration.procedures import plan
from mongo_migration.values import compare

from tests.support import backups
from tests.support.migrations import Deployment, failed, named

HEAD = {"id": "005", "name": "mark-items", "summary": "Marks items.", "downtime": "none"}


@pytest.fixture
def site(deployment: Deployment) -> Deployment:
    for name in ("items", "shops"):
        deployment.data.create_collection(name)
    return deployment


def document(*steps: dict[str, Any], **more: Any) -> tuple[str, str]:
    return yaml.safe_dump({**HEAD, "steps": list(steps), **more}), "005-mark-items.yml"


def set_field(value: dict[str, Any], **options: Any) -> tuple[str, str]:
    step = {"collections": ["items"], "field": "mark", "value": value, **options}
    return document({"set_field": step})


def add(site: Deployment, **fields: Any) -> Any:
    return site.data["items"].insert_one(fields).inserted_id


def marks(site: Deployment) -> dict[Any, Any]:
    """Return what each item holds; an item without a mark is left out."""
    return {row["_id"]: row["mark"] for row in site.data["items"].find() if "mark" in row}


def refusal(site: Deployment, text: tuple[str, str]) -> list[dict[str, Any]]:
    before = site.everything()
    with pytest.raises(PlanBlockedError) as caught:
        site.migrate(text)
    assert site.everything() == before
    return list(caught.value.details["problems"])


def comes_back(site: Deployment, text: tuple[str, str], expected: dict[Any, Any]) -> None:
    """Migrate, compare what another client reads, verify and roll back exactly."""
    before = site.content()
    site.migrate(text)
    assert marks(site) == expected
    assert failed(site.verify(text)) == []
    site.roll_back("005")
    assert site.content() == before


# -- value and expression --------------------------------------------------------------------


@pytest.mark.parametrize("value", ["new", 0, False, [], {"a": [1]}, 2.5, "$name"])
def test_a_literal_value_is_written_as_it_stands(site: Deployment, value: Any):
    one, two = add(site, name="x"), add(site, mark=None)
    comes_back(site, set_field({"value": value}), {one: value, two: value})


@pytest.mark.parametrize("writers_stopped", [True, False], ids=["stopped", "live"])
def test_a_value_of_its_own_for_each_document_is_written_byte_for_byte(
    site: Deployment, writers_stopped: bool
):
    """Of every type, to documents with an _id of every type: they share statements."""
    values = [value for value in backups.EVERY_TYPE.values() if value is not None]
    values += ["$name", "$$ROOT", {"$set": {"a": 1}}, {"a.b": 1}, [[1]], [], 1, 1.0, Int64(1)]
    for number, value in enumerate(values):
        identity = backups.IDS[number] if number < len(backups.IDS) else f"number {number}"
        site.data["items"].insert_one({"_id": identity, "from": value})
    before = site.content()
    text = set_field({"expression": "$from"})

    assert site.migrate(text, writers_stopped=writers_stopped)["modified"] == len(values)

    for one in site.data["items"].find():
        assert compare.same(one["mark"], one["from"]), one
    assert failed(site.verify(text)) == []
    site.roll_back("005")
    assert site.content() == before


@pytest.mark.parametrize("writers_stopped", [True, False], ids=["stopped", "live"])
@pytest.mark.parametrize("strange", [None, "a string"], ids=["ObjectIds alone", "another id, too"])
def test_each_of_many_documents_gets_the_value_of_its_own_owner(
    site: Deployment, writers_stopped: bool, strange: str | None
):
    """As many as share several statements, in another order than that of their ids."""
    chance = random.Random(3)
    site.batch_size = 400
    owners = {ObjectId(): ObjectId() for _ in range(150)}
    site.data["users"].insert_many([{"_id": a, "tenant": b} for a, b in owners.items()])
    ids: list[Any] = [ObjectId() for _ in range(600)]
    if strange is not None:
        ids[300] = strange
    chance.shuffle(ids)
    rows = [{"_id": one, "by": chance.choice(list(owners))} for one in ids]
    site.data["items"].insert_many(rows)
    before = site.content()
    source = {"reference": {"from": "users", "match": {"_id": "$by"}, "take": "tenant"}}
    text = set_field(source)

    assert site.migrate(text, writers_stopped=writers_stopped)["modified"] == 600

    expected = {row["_id"]: owners[row["by"]] for row in rows}
    assert {row["_id"]: row["mark"] for row in site.data["items"].find()} == expected
    other = ObjectId()
    site.data["items"].update_one({"_id": ids[7]}, {"$set": {"mark": other}})
    assert site.roll_back("005")["restored"] == 599
    marked = {row["_id"]: row["mark"] for row in site.data["items"].find({"mark": {"$ne": None}})}
    assert marked == {ids[7]: other}
    # Verification reads all of these groups at once: it must find the one that is back.
    site.data["items"].update_one({"_id": ids[7]}, {"$unset": {"mark": ""}})
    assert site.content() == before
    site.data["items"].update_one({"_id": ids[9]}, {"$set": {"mark": expected[ids[9]]}})
    left = named(site.verify(text, expect="rolled_back"), "nothing is left of set_field")
    assert (left["observed"], left["examined"], left["samples"]) == (1, 600, [ids[9]])


@pytest.mark.parametrize("writers_stopped", [True, False], ids=["stopped", "live"])
@pytest.mark.parametrize("kind", ["reference", "expression"])
def test_large_values_are_written_in_as_many_batches_as_they_need(
    site: Deployment, kind: str, writers_stopped: bool
):
    shops = [{"_id": number, "text": f"{number}" * (2 << 20)} for number in range(10)]
    site.data["shops"].insert_many(shops)
    site.data["items"].insert_many(
        [{"_id": n, "shop": n % 10, "text": shops[n % 10]["text"]} for n in range(20)]
    )
    before = site.content()
    reference = {"from": "shops", "match": {"_id": "$shop"}, "take": "text"}
    site.migrate(
        set_field({"expression": "$text"} if kind == "expression" else {"reference": reference}),
        writers_stopped=writers_stopped,
    )
    right = site.data["items"].aggregate([{"$match": {"$expr": {"$eq": ["$mark", "$text"]}}}])
    assert {row["_id"] for row in right} == set(range(20))
    site.roll_back("005")
    assert site.content() == before


@pytest.mark.parametrize("writers_stopped", [True, False], ids=["stopped", "live"])
def test_answers_that_had_to_be_forgotten_are_found_again(
    site: Deployment, writers_stopped: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(grouping, "_MOST_BYTES", 1000)  # three or four
    # Live, two batches to a page: the first one forgets what the second was read without.
    monkeypatch.setattr(field_walk, "_PAGE", 40)
    site.batch_size = 20
    shops = [site.data["shops"].insert_one({"owner": f"owner {n}"}).inserted_id for n in range(9)]
    expected = {add(site, shop=shops[n % 9]): f"owner {n % 9}" for n in range(100)}
    source = {"reference": {"from": "shops", "match": {"_id": "$shop"}, "take": "owner"}}
    site.migrate(set_field(source), writers_stopped=writers_stopped)
    assert marks(site) == expected


def test_a_value_that_is_there_is_kept_where_no_type_is_declared(site: Deployment):
    kept = {add(site, mark=value): value for value in (0, False, [], "x", {})}
    empty = {add(site, mark=value): "new" for value in (None, "")} | {add(site): "new"}
    comes_back(site, set_field({"value": "new"}), kept | empty)


def test_a_filter_limits_the_documents(site: Deployment):
    one = add(site, kind="good")
    add(site, kind="bad")
    comes_back(site, set_field({"value": 1}, where={"kind": "good"}), {one: 1})


def test_an_expression_is_computed_for_each_document(site: Deployment):
    expected = {add(site, price=price): price * 2 for price in (1, 2.5, 7)}
    comes_back(site, set_field({"expression": {"$multiply": ["$price", 2]}}), expected)


def test_an_expression_without_a_value_stops(site: Deployment):
    add(site, price=1)
    lost = add(site)
    (problem,) = refusal(site, set_field({"expression": "$price"}))
    assert "the expression gives no value" in problem["what"]
    assert problem["samples"] == [lost]


def test_a_value_of_another_type_than_declared_stops(site: Deployment):
    add(site, price="expensive")
    (problem,) = refusal(site, set_field({"expression": "$price"}, type="int"))
    assert "gives a value of type string, not int" in problem["what"]


def test_the_first_source_that_answers_counts(site: Deployment):
    text = set_field({"first_of": [{"expression": "$price"}, {"value": -1}]})
    comes_back(site, text, {add(site, price=5): 5, add(site): -1, add(site, price=None): -1})


def test_if_no_source_answers_every_reason_is_told(site: Deployment):
    add(site)
    sources = [{"expression": "$price"}, {"unique": {"from": "shops", "take": "_id"}}]
    (problem,) = refusal(site, set_field({"first_of": sources}))
    assert "the expression gives no value; and there is no document in shops" in problem["what"]


# -- reference -------------------------------------------------------------------------------

BY_SHOP = {"reference": {"from": "shops", "match": {"code": "$shop"}, "take": "owner"}}


def shop(site: Deployment, **fields: Any) -> Any:
    return site.data["shops"].insert_one(fields).inserted_id


def test_a_reference_takes_a_field_of_the_one_that_matches(site: Deployment):
    shop(site, code="a", owner="Asha")
    shop(site, code="b", owner="Bela")
    expected = {add(site, shop="a"): "Asha", add(site, shop="b"): "Bela"}
    comes_back(site, set_field(BY_SHOP), expected)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"shop": "twice"}, "more than one document in shops"),
        ({"shop": "nowhere"}, "no document in shops"),
        ({"shop": None}, "shop is empty"),
        ({}, "shop is empty"),
        ({"shop": "ownerless"}, "shops.owner is empty"),
        ({"shop": ["a"]}, "no document in shops"),
        ({"shop": "A"}, "no document in shops"),
    ],
)
def test_a_reference_that_does_not_lead_to_one_stops(
    site: Deployment, fields: dict[str, Any], says: str
):
    for code, owner in (("a", "Asha"), ("twice", "Bela"), ("twice", "Bela"), ("ownerless", None)):
        shop(site, code=code, owner=owner)
    lost = add(site, **fields)
    (problem,) = refusal(site, set_field(BY_SHOP))
    assert says in problem["what"]
    assert (problem["count"], problem["samples"]) == (1, [lost])


def test_a_number_refers_to_the_number_of_its_own_type(site: Deployment):
    shop(site, code=True, owner="bool")
    shop(site, code=1, owner="int")
    comes_back(site, set_field(BY_SHOP), {add(site, shop=1): "int", add(site, shop=True): "bool"})


def test_a_reference_can_match_several_fields_and_a_filter(site: Deployment):
    for code, city, state, owner in (
        ("a", "x", "open", 1),
        ("a", "y", "open", 2),
        ("a", "x", "closed", 3),
    ):
        shop(site, code=code, city=city, state=state, owner=owner)
    reference = {
        "from": "shops",
        "match": {"code": "$shop", "city": "$town"},
        "where": {"state": "open"},
        "take": "owner",
    }
    expected = {add(site, shop="a", town="x"): 1, add(site, shop="a", town="y"): 2}
    comes_back(site, set_field({"reference": reference}), expected)


# -- steps -----------------------------------------------------------------------------------


def test_a_step_whose_condition_does_not_hold_is_left_out(site: Deployment):
    identifier = add(site)
    steps = [
        {
            "when": when,
            "set_field": {"collections": ["items"], "field": field, "value": {"value": 1}},
        }
        for field, when in (("mark", True), ("a", False), ("b", "{{ 1 == 2 }}"))
    ]
    site.migrate(document(*steps))
    assert site.data["items"].find_one() == {"_id": identifier, "mark": 1}


@pytest.mark.parametrize("when", ["maybe", "{{ 1 }}", "{{ nobody }}"])
def test_a_condition_that_is_no_yes_or_no_stops(site: Deployment, when: str):
    add(site)
    before = site.everything()
    step = {"collections": ["items"], "field": "mark", "value": {"value": 1}}
    with pytest.raises(DefinitionError, match=r"005-mark-items.yml: steps\[0\]"):
        site.migrate(document({"when": when, "set_field": step}))
    assert site.everything() == before


def test_several_steps_on_one_field_are_undone_in_reverse(site: Deployment):
    add(site, a="x", code=1)
    add(site, a=None, code=2)
    steps = [
        {"set_field": {"collections": ["items"], "field": "a", "value": {"value": "first"}}},
        {"set_field": {"collections": ["items"], "field": "b", "value": {"expression": "$code"}}},
        {
            "set_field": {
                "collections": ["items"],
                "field": "a",
                "type": "int",
                "value": {"value": 7},
            }
        },
    ]
    before = site.content()
    site.migrate(document(*steps))
    assert [(row["a"], row["b"]) for row in site.data["items"].find()] == [(7, 1), (7, 2)]
    site.roll_back("005")
    assert site.content() == before


def test_a_validator_that_refuses_the_value_is_found_by_the_plan(site: Deployment):
    add(site)
    site.data.command("collMod", "items", validator={"mark": {"$ne": 1}})
    before = site.content()
    with pytest.raises(MigrationError, match="the collection's validator refuses"):
        site.migrate(set_field({"value": 1}))
    assert site.content() == before


def test_a_unique_index_that_came_after_the_plan_stops_and_can_be_undone(
    site: Deployment, monkeypatch: pytest.MonkeyPatch
):
    survey = plan.survey

    def then_an_index(*arguments: Any, **options: Any) -> Any:
        made = survey(*arguments, **options)
        site.data["items"].create_index("mark", unique=True, sparse=True)
        return made

    monkeypatch.setattr(plan, "survey", then_an_index)
    for _ in range(3):
        add(site)
    before = site.content()[0], {"mark_1", "_id_"}
    with pytest.raises(MigrationError, match="A unique index rejects"):
        site.migrate(set_field({"value": 1}))
    site.roll_back("005")
    assert (site.content()[0], set(site.content()[1]["items"])) == before


@pytest.mark.parametrize(
    "options",
    [
        {"unique": True},
        {"sparse": True},
        {"hidden": True},
        {"expireAfterSeconds": 3600},
        {"partialFilterExpression": {"mark": {"$gt": 5}}},
        {"collation": {"locale": "en", "strength": 2}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_an_index_is_built_with_its_options_and_found_again(
    site: Deployment, options: dict[str, Any]
):
    before = site.content()
    text = document(
        {
            "create_index": {
                "collections": ["items"],
                "keys": {"mark": 1, "at": -1} if "expireAfterSeconds" not in options else {"at": 1},
                "name": "ours",
                "options": options,
            }
        }
    )
    site.migrate(text)
    (name,) = options
    stored = site.data["items"].index_information()["ours"][name]
    if name == "collation":
        assert {key: stored[key] for key in options[name]} == options[name]
    else:
        assert stored == options[name]
    assert failed(site.verify(text)) == []
    site.roll_back("005")
    assert site.content() == before


def test_an_index_that_can_not_be_built_is_told_and_what_was_done_is_undone(site: Deployment):
    # The bounds of a 2d index, which the plan doesn't look at.
    add(site, at=[500, 500])
    before = site.content()
    text = document(
        {"set_field": {"collections": ["items"], "field": "mark", "value": {"value": 1}}},
        {
            "create_index": {
                "collections": ["items"],
                "keys": {"at": "2d"},
            }
        },
    )
    with pytest.raises(MigrationError, match="items: index at_2d can't be built"):
        site.migrate(text)
    site.roll_back("005")
    assert site.content() == before


def test_our_own_records_are_no_collection_to_migrate(site: Deployment):
    site.migrate(set_field({"value": 1}))
    before = site.everything()
    text, source = document(
        {"set_field": {"collections": ["_migrations"], "field": "mark", "value": {"value": 1}}}
    )
    with pytest.raises(DefinitionError, match="where migrations keep their own records"):
        site.migrate((text.replace("'005'", "'006'"), source.replace("005", "006")))
    assert site.everything() == before


def test_an_id_may_be_set_as_a_value(site: Deployment):
    chosen = ObjectId()
    one = add(site)
    comes_back(site, set_field({"value": {"$oid": str(chosen)}}, type="objectId"), {one: chosen})


def test_a_document_of_which_nobody_can_tell_whether_it_goes_is_told_and_counted(site: Deployment):
    site.data["shops"].insert_many([{"_id": 1, "state": "closed"}, {"_id": 2, "state": "open"}])
    site.data["items"].insert_many([{"_id": 1, "shop": 1}, {"_id": 2, "shop": 2}])
    look_up = {"from": "shops", "match": {"_id": "$shop"}, "take": "state"}
    text = document(
        {
            "delete": {
                "collections": ["items"],
                "where": {},
                "let": {"state": {"reference": look_up}},
                "only_if": {"$eq": ["$$state", "closed"]},
            }
        }
    )
    site.migrate(text)
    assert [row["_id"] for row in site.data["items"].find()] == [2]
    site.data["items"].insert_one({"_id": 3, "shop": 7})
    done = site.verify(text)
    assert failed(done) == []
    (left,) = done["left_alone"]
    assert (left["collection"], left["count"], left["ids"]) == ("items", 1, [3])
    assert left["what"].startswith(
        "came after the plan, and nobody can tell whether it goes: state:"
    )
