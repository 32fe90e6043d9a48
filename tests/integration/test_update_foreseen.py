"""What the server would refuse of an update is a problem of its plan: nothing is written before."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bson import Binary
from mongo_migration.errors import DefinitionError, PlanBlockedError

from tests.support.migrations import Deployment, failed

Document = dict[str, Any]
RULE = {"$jsonSchema": {"properties": {"n": {"bsonType": ["int", "long"]}}}}
TO_TEXT = {"set": {"n": {"expression": {"$toString": "$n"}}}}
BY_PYTHON = {"set": {"n": {"python": {"file": "910_made.py", "function": "text"}}}}
WHOLE_EXPRESSION = {"document": {"expression": {"$mergeObjects": ["$$ROOT", {"n": "text"}]}}}
WHOLE_PYTHON = {"document": {"python": {"file": "910_made.py", "function": "whole"}}}
# One document of another is refused by the server, so that it is read in parts.
IN_PARTS = {
    "set": {"n": {"expression": {"$concat": ["$t", ""]}}},
    "when_unfit": "keep",
}
FILES = {
    "910_made.py": """
def text(document):
    return "text"

def whole(document):
    return {**document, "n": "text"}

def small(document):
    return document["email"].lower()
"""
}


def migration(*steps: Document, downtime: str = "required") -> tuple[str, str]:
    document = {
        "id": "910",
        "name": "foreseen",
        "summary": "What the server refuses.",
        "after": [],
        "downtime": downtime,
        "steps": list(steps),
    }
    text = f"{json.dumps(document)}\n---\n{json.dumps({'files': FILES})}"
    return text, "910-foreseen.yml"


def update(changes: Document, **more: Any) -> Document:
    return {"update": {"collections": ["items"], **changes, **more}}


def index(keys: Document, **options: Any) -> Document:
    return {"create_index": {"collections": ["items"], "keys": keys, "options": options}}


def refused(deployment: Deployment, document: tuple[str, str]) -> list[Document]:
    """The plan's problems, by which the run is refused with nothing written."""
    before = deployment.content()
    problems: list[Document] = deployment.plan(document)["problems"]
    if problems:
        with pytest.raises(PlanBlockedError):
            deployment.migrate(document)
    assert deployment.content() == before
    return problems


@pytest.mark.parametrize(
    "change",
    [TO_TEXT, BY_PYTHON, WHOLE_EXPRESSION, WHOLE_PYTHON, IN_PARTS],
    ids=["expression", "python", "document", "document in python", "in parts"],
)
@pytest.mark.parametrize("level", ["strict", "moderate"])
def test_what_a_validator_refuses(deployment: Deployment, change: Document, level: str):
    data = deployment.data
    data.create_collection("items")
    data["items"].insert_many(
        [{"_id": 1, "n": 1, "t": "a"}, {"_id": 2, "n": 2, "t": "b"}, {"_id": 3, "n": 1.5, "t": "c"}]
    )
    data["items"].insert_one({"_id": 4, "n": "text", "t": 5})
    data.command("collMod", "items", validator=RULE, validationLevel=level)
    (problem,) = [
        one for one in refused(deployment, migration(update(change))) if "valid" in one["policy"]
    ]
    # 3 was invalid before, which `moderate` lets be; 4 stays as it is.
    wrong = [1, 2] if level == "moderate" else [1, 2, 3]
    assert (problem["count"], problem["samples"]) == (len(wrong), wrong)
    data.command("collMod", "items", validationAction="warn")
    assert refused(deployment, migration(update(change))) == []


@pytest.mark.usefixtures("roomy")
def test_a_document_that_has_no_room(deployment: Deployment):
    full = {"_id": 1, "x": Binary(b"x" * ((16 << 20) - 60)), "n": 1}
    deployment.data["items"].insert_many([full, {"_id": 2, "n": 1}])
    change = {"set": {"more": {"value": "y" * 100}}}
    (problem,) = refused(deployment, migration(update(change)))
    assert (problem["policy"], problem["samples"]) == ("document size", [1])
    assert refused(deployment, migration(update(change, where={"_id": 2}))) == []
    assert refused(deployment, migration(update({"unset": ["n"]}))) == []


SMALL = {"set": {"email": {"expression": {"$toLower": "$email"}}}}
SMALL_PYTHON = {"set": {"email": {"python": {"file": "910_made.py", "function": "small"}}}}


@pytest.mark.parametrize("change", [SMALL, SMALL_PYTHON], ids=["expression", "python"])
@pytest.mark.parametrize("when", ["before", "behind"])
def test_what_a_unique_index_refuses(deployment: Deployment, change: Document, when: str):
    data = deployment.data
    data["items"].insert_many(
        [{"_id": 1, "email": "A"}, {"_id": 2, "email": "b"}, {"_id": 3, "email": "c"}]
    )
    steps = [update(change)]
    if when == "before":
        data["items"].create_index("email", unique=True)
    else:
        steps.append(index({"email": 1}, unique=True))
    assert refused(deployment, migration(*steps)) == []
    data["items"].insert_many([{"_id": 4, "email": "B"}, {"_id": 5, "email": "D"}])
    (problem,) = refused(deployment, migration(*steps))
    assert problem["count"] == 1
    assert [sorted(pair) for pair in problem["samples"]] == [[2, 4]]


@pytest.mark.parametrize("kind", ["create_index", "replace_index"])
@pytest.mark.parametrize("how", ["delete", "merge_duplicates"])
def test_what_goes_is_none_of_the_duplicates(deployment: Deployment, kind: str, how: str):
    data = deployment.data
    data["items"].insert_many([{"_id": n, "n": n // 2, "old": n % 2 == 0} for n in range(4)])
    going: Document = {"delete": {"collections": ["items"], "where": {"old": True}}}
    if how == "merge_duplicates":
        going = {how: {"in": "items", "by": ["n"], "keep": "newest", "referenced_by": {}}}
    if kind == "replace_index":
        data["items"].create_index("n")
    body = {"collections": ["items"], "keys": {"n": 1}, "options": {"unique": True}}
    document = migration(going, {kind: body})
    plan = deployment.plan(document)
    assert plan["problems"] == []
    assert not [one for one in plan["warnings"] if "unique" in one]
    deployment.migrate(document)
    assert data["items"].index_information()["n_1"]["unique"]
    assert [row["_id"] for row in data["items"].find().sort("_id")] == [1, 3]


def test_a_rule_is_held_against_documents_as_they_will_be(deployment: Deployment):
    data = deployment.data
    data["items"].insert_many([{"_id": 1}, {"_id": 2, "status": "strange"}, {"_id": 3, "gone": 1}])
    rule = {"validate": {"collections": ["items"], "validator": {"status": {"$in": ["active"]}}}}
    given = update({"set": {"status": {"value": "active"}}}, where={"status": None, "gone": None})
    going = {"delete": {"collections": ["items"], "where": {"gone": 1}}}
    plan = deployment.plan(migration(given, going, rule))
    (row,) = [row for row in plan["steps"] if row["kind"] == "validate"]
    assert (row["refuses"], row["samples"]) == (1, [2])


LET = {"owner": {"reference": {"from": "owners", "match": {"_id": "$o"}, "take": "on"}}}


@pytest.mark.parametrize("kind", ["delete", "update", "move"])
def test_other_documents_decide(deployment: Deployment, kind: str):
    data = deployment.data
    data["owners"].insert_many([{"_id": 1, "on": True}, {"_id": 2, "on": False}])
    data["items"].insert_many([{"_id": n, "o": n % 2 + 1, "f": 1} for n in range(5)])
    chosen = {"let": LET, "only_if": "$$owner"}
    step: Document = {"delete": {"collections": ["items"], "where": {}, **chosen}}
    if kind == "update":
        step = update({"unset": ["f"], **chosen})
    if kind == "move":
        step = {"move": {"from": ["items"], "into": "others", **chosen}}
    before = deployment.content()
    document = migration(step)
    assert deployment.plan(document)["problems"] == []
    deployment.migrate(document)
    left = {row["_id"] for row in data["items"].find({"f": 1})}
    assert left == {1, 3}
    assert failed(deployment.verify(document)) == []
    deployment.roll_back("910")
    assert deployment.content() == before
    # Of one that belongs to nobody, nothing says whether it is meant.
    data["items"].insert_one({"_id": 9, "o": 9, "f": 1})
    (problem,) = refused(deployment, document)
    assert problem["samples"] == [9]


def test_a_number_in_let_is_refused_with_what_to_do(deployment: Deployment):
    deployment.data["items"].insert_one({"_id": 1})
    change = {"let": {"n": {"number": {}}}, "set": {"x": {"expression": "$$n"}}}
    with pytest.raises(DefinitionError, match="name it in `set`"):
        deployment.plan(migration(update(change)))
