"""Mistakes of authors: refused before anything is written, with place, reason and fix."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from mongo_migration.document import definition
from mongo_migration.errors import DefinitionError
from mongo_migration.procedures import plan
from pymongo.database import Database

from tests.support import databases
from tests.support.snapshot import snapshot

Db = Database[dict[str, Any]]

HEAD = 'id: "901"\nname: wrong\nsummary: Wrong.\nafter: []\ndowntime: required\nsteps:\n'
LOOK_UP = {"from": "others", "match": {"_id": "$a"}, "take": "n"}


@pytest.fixture(scope="module")
def db(client: Any) -> Iterator[Db]:
    """A database that no test changes."""
    with databases.fresh(client, roles=False) as fresh:
        fresh["rows"].insert_many(
            [
                {"_id": 1, "a": "x", "lines": [{"p": 1}], "at": [100, 7]},
                {"_id": 2, "at": {"type": "Point", "coordinates": [7, 100]}},
            ]
        )
        fresh["others"].insert_one({"_id": 1})
        yield fresh


def planned(db: Db, *steps: dict[str, Any], files: dict[str, str] | None = None) -> dict[str, Any]:
    text = HEAD + "\n".join(f"  - {json.dumps(step)}" for step in steps)
    given = definition.load(text, "901-wrong.yml", files=files or {})
    before = snapshot(db)
    try:
        return plan.make(db.client, db.name, given)
    finally:
        assert snapshot(db) == before


def update(**options: Any) -> dict[str, Any]:
    return {"update": {"collections": ["rows"], **options}}


def becomes(expression: Any) -> dict[str, Any]:
    return update(set={"b": {"expression": expression}})


def index(keys: dict[str, Any], kind: str = "create_index", **options: Any) -> dict[str, Any]:
    return {kind: {"collections": ["rows"], "keys": keys, "options": options}}


@pytest.mark.parametrize(
    ("step", "place", "says"),
    [
        (becomes({"$toUper": "$a"}), "update.set.b.expression", "did you mean $toUpper?"),
        (becomes("$$nobody"), "update.set.b.expression", "undefined variable: nobody"),
        (becomes({"$subtract": ["$a"]}), "update.set.b.expression", "takes exactly 2 arguments"),
        (update(where={"a": {"$foo": 1}}, unset=["a"]), "update.where", "unknown operator: $foo"),
        (update(where={"a": {"$regex": "("}}, unset=["a"]), "update.where", "is invalid"),
        (
            update(let={"x": {"aggregate": {**LOOK_UP, "pipeline": [{"$grup": {}}]}}}, unset=["a"]),
            "update.let.x.aggregate.pipeline",
            "'$grup'",
        ),
        (
            update(each={"lines": {"each": {"q": {"remove": {"$in": [1]}}}}}),
            "update.each.lines.each.q.remove",
            "takes exactly 2 arguments",
        ),
        ({"delete": {"collections": ["rows"], "where": {"$or": []}}}, "delete.where", "$or"),
        (
            {"extract": {"from": "rows", "field": "lines", "into": "l", "document": {"n": "$$no"}}},
            "extract.document",
            "undefined variable: no",
        ),
        (
            index({"a": 1}, unique=True, partialFilterExpression={"a": {"$ne": 1}}),
            "create_index.options.partialFilterExpression",
            "Expression not supported in partial index: $not a $eq 1",
        ),
        (
            index({"a": 1}, "replace_index", partialFilterExpression={"a": {"$foo": 1}}),
            "replace_index.options.partialFilterExpression",
            "unknown operator: $foo",
        ),
        (
            index({"a": 1}, collation={"locale": "xx"}),
            "create_index.options.collation",
            "Field 'locale' is invalid",
        ),
        (
            index({"a": "text"}, default_language="klingon"),
            "create_index.options.default_language",
            "default_language is not valid",
        ),
        (index({"$**": 1, "b": 1}), "create_index.keys", "wildcard indexes do not allow"),
        (
            {
                "create_collection": {
                    "name": "made",
                    "indexes": [{"keys": {"a": 1}}, {"keys": {"a": "2d", "b": "text"}}],
                }
            },
            "create_collection.indexes[1].keys",
            "more than one index plugin",
        ),
    ],
)
def test_what_mongodb_does_not_understand_is_told_with_its_place(
    db: Db, step: dict[str, Any], place: str, says: str
):
    with pytest.raises(DefinitionError) as refused:
        planned(db, step)
    (_head, line) = str(refused.value).splitlines()
    assert line.startswith(f"  - steps[0].{place}: the server refuses it: ")
    assert says in line
    assert "901-wrong.yml" in str(refused.value)


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (update(set={"b": "$a"}), "update.set.b: '$a' must be where the value comes from"),
        (update(set={"b": {"$toInt": "$a"}}), "{expression: {$toInt: …}}"),
        (update(unset={"a": ""}), "update.unset: {'a': ''} must be a list of paths"),
        (update(set={"lines.$[].p": {"value": 1}}), "are changed by `each`"),
        (update(where={}), "update: must be one with `set`, `unset`, `rename` or `each`"),
        ({"update": {"collections": "rows", "unset": ["a"]}}, "'rows' must be a list of names"),
        ({"updates": {}}, "unknown key 'updates'; did you mean 'update'?"),
        ({"create_collection": {"name": "n", "options": {"cappd": True}}}, "'cappd' is not one"),
        ({"create_collection": {"name": "n", "options": {"capped": True}}}, "'size'"),
        ({"create_collection": {"name": "n", "options": {"viewOn": "rows"}}}, "by a `command`"),
        (update(unset=["a"], when_unfit={"z": "keep"}), "the step doesn't change 'z'"),
        (
            {"update": {"collections": {"matching": "("}, "unset": ["a"]}},
            "not a regular expression",
        ),
        (update(set={"a.b": {"value": 1}, "a": {"value": 2}}), "two lines"),
        (update(set={"b": {"unique_text": {"of": {"expression": "$b"}}}}), "which the same step"),
        (
            update(
                set={"b": {"unique_text": {"of": {"python": {"file": "f.py", "function": "f"}}}}}
            ),
            "say what the function is given",
        ),
    ],
)
def test_what_no_document_can_say_is_refused_with_what_can(db: Db, step: dict[str, Any], says: str):
    with pytest.raises(DefinitionError) as refused:
        planned(db, step, files={"f.py": "def f(title):\n    return title\n"})
    assert says in str(refused.value)
    assert "steps[0]" in str(refused.value) or "not a regular expression" in says


def test_geometry_that_an_index_refuses_is_a_problem_as_the_steps_before_leave_it(db: Db):
    index = {"create_index": {"collections": ["rows"], "keys": {"at": "2dsphere"}}}
    (found,) = planned(db, index)["problems"]
    assert (found["count"], found["samples"]) == (1, [2])

    swapped = {"at.coordinates": {"expression": {"$reverseArray": "$at.coordinates"}}}
    turned = update(where={"at.type": "Point"}, set=swapped)
    assert planned(db, turned, index)["problems"] == []


def test_a_path_into_an_array_and_a_collection_that_is_not_there_are_told(db: Db):
    told = planned(db, update(unset=["lines.p"]))
    assert any("change p of its elements by each: {lines: …}" in one for one in told["warnings"])
    assert told["totals"]["to_change"] == 0

    told = planned(db, update(set={"b": {"reference": {**LOOK_UP, "from": "nowhere"}}}))
    assert any("there is no collection nowhere" in one for one in told["warnings"])
