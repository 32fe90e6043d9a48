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
from pymongo.errors import OperationFailure

from tests.support import databases
from tests.support.snapshot import snapshot

Db = Database[dict[str, Any]]

HEAD = 'id: "901"\nname: wrong\nsummary: Wrong.\nafter: []\ndowntime: required\nsteps:\n'
MADE = {
    "from": "rows",
    "into": "made",
    "key": ["k"],
    "referenced_by": {},
    "document": {"k": "$_id"},
}
PYTHON = {"file": "f.py", "function": "f"}
FIELD = {"collections": ["rows"], "field": "n", "type": "int"}
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


def planned(
    db: Db, *steps: dict[str, Any], files: dict[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    text = HEAD + "\n".join(f"  - {json.dumps(step)}" for step in steps)
    text += "".join(f"\n{key}: {json.dumps(value)}" for key, value in more.items())
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
            update(document={"expression": {"$mergeObject": ["$$ROOT"]}}),
            "update.document.expression",
            "did you mean $mergeObjects?",
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
            {"insert_for_each": {**MADE, "document": {"k": {"$toUpr": "$a"}}}},
            "insert_for_each.document",
            "did you mean $toUpper?",
        ),
        (
            {"insert_for_each": {**MADE, "pipeline": [{"$grop": {}}]}},
            "insert_for_each.pipeline",
            "'$grop'",
        ),
        (
            {"insert_for_each": {**MADE, "let": {"x": "$$y", "y": 1}}},
            "insert_for_each.let.x",
            "undefined variable: y",
        ),
        (
            {"set_field": {**FIELD, "value": {"first_of": [{"expression": {"$toUpr": "$a"}}]}}},
            "set_field.value.first_of[0].expression",
            "did you mean $toUpper?",
        ),
        (
            update(let={"x": {"reference": {**LOOK_UP, "match": {"_id": "$$y"}}}}, unset=["a"]),
            "update.let.x.reference.match._id",
            "undefined variable: y",
        ),
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


OURS = "_migrations_journal"


@pytest.mark.parametrize(
    "step",
    [
        {"move": {"from": ["rows"], "into": OURS}},
        {"extract": {"from": "rows", "field": "lines", "into": OURS, "document": "$$this"}},
        {"insert": {"into": OURS, "key": ["a"], "referenced_by": {}, "documents": [{"a": 1}]}},
        {"insert_for_each": {**MADE, "into": OURS}},
        {"create_collection": {"name": OURS}},
        {"rename_collection": {"from": "rows", "to": OURS}},
        {"rename_collection": {"from": OURS, "to": "mine"}},
        {"drop_collection": {"collections": [OURS]}},
        {"validate": {"collections": [OURS], "validator": {}}},
        {"change_id": {"in": "rows", "id": {"expression": "$a"}, "referenced_by": {OURS: "a"}}},
        update(let={"x": {"reference": {**LOOK_UP, "from": OURS}}}, unset=["a"]),
    ],
    ids=lambda step: next(iter(step)),
)
def test_no_step_works_on_what_migrations_keep_for_themselves(db: Db, step: dict[str, Any]):
    with pytest.raises(DefinitionError) as refused:
        planned(db, step)
    assert f"'{OURS}' is where migrations keep their own records" in str(refused.value)


@pytest.mark.parametrize(
    ("part", "check", "place", "says"),
    [
        ("preconditions", {"none": {"in": "rows", "where": {"a": {"$gtt": 1}}}},
         "none.where", "$gtt"),
        ("postconditions", {"no_rows": {"in": "rows", "pipeline": [{"$mach": {}}]}},
         "no_rows.pipeline", "'$mach'"),
        ("postconditions", {"count": {"in": "rows", "equals": {"in": "rows", "where": {"$o": 1}}}},
         "count.equals.where", "$o"),
    ],
)  # fmt: skip
def test_a_condition_that_mongodb_does_not_understand_is_told_with_its_place(
    db: Db, part: str, check: dict[str, Any], place: str, says: str
):
    with pytest.raises(DefinitionError) as refused:
        planned(db, update(unset=["z"]), **{part: [{"name": "x", "fix": "y", **check}]})
    (_head, line) = str(refused.value).splitlines()
    assert line.startswith(f"  - {part}[0].{place}: the server refuses it: ") and says in line


def test_a_postcondition_over_a_collection_that_nothing_makes_is_a_problem(db: Db):
    check = {"name": "x", "none": {"in": "made", "where": {"k": 9}}}
    (found,) = planned(db, update(unset=["z"]), postconditions=[check])["problems"]
    assert "Collection 'made' doesn't exist" in str(found)
    assert planned(db, {"insert_for_each": MADE}, postconditions=[check])["problems"] == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def f(d)\n    return 1\n", "SyntaxError"),
        ("import nosuchmodule\ndef f(d): return 1\n", "No module named 'nosuchmodule'"),
        ("def g(d): return 1\n", "has no function 'f'"),
        ("def f(d):\n    yield 1\n", "is a generator or async"),
        ("def f(a, b): return 1\n", "missing a required argument"),
        ("raise SystemExit(0)\n", "SystemExit"),
    ],
)
@pytest.mark.parametrize(
    ("step", "place"),
    [
        (update(set={"b": {"python": PYTHON}}), "update.set.b"),
        (update(let={"x": {"python": PYTHON}}, set={"b": {"expression": "$$x"}}), "update.let.x"),
        (update(document={"python": PYTHON}), "update.document"),
        (
            {"move": {"from": ["rows"], "into": "made", "set": {"b": {"python": PYTHON}}}},
            "move.set.b",
        ),
    ],
)
def test_a_function_that_cannot_be_used_is_told_with_its_place(
    db: Db, step: dict[str, Any], place: str, text: str, says: str
):
    with pytest.raises(DefinitionError) as refused:
        planned(db, step, files={"f.py": text})
    assert f"  - steps[0].{place}: f.py" in str(refused.value)
    assert says in str(refused.value)


def test_a_group_that_the_pattern_lacks_is_refused(db: Db):
    move = {"from": {"matching": "^(?P<kind>rows)$"}, "into": "made"}
    tenant = {"t": {"expression": {"$concat": ["x", "$$matched.tenant"]}}}
    with pytest.raises(DefinitionError, match=r"\$\$matched.tenant: the pattern has no group"):
        planned(db, {"move": {**move, "set": tenant}})
    assert planned(db, {"move": {**move, "set": {"t": {"expression": "$$matched.kind"}}}})


def test_a_fixed_document_whose_id_another_one_has_is_a_problem(db: Db):
    insert = {
        "into": "others",
        "key": ["n"],
        "referenced_by": {},
        "documents": [{"_id": 1, "n": 5}],
    }
    (found,) = planned(db, {"insert": insert})["problems"]
    assert (found["what"], found["samples"]) == ("another document has this _id there", [1])
    gone = {"delete": {"collections": ["others"], "where": {"_id": 1}}}
    assert planned(db, gone, {"insert": insert})["problems"] == []


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        ({"lines": 1, "tags": 1}, [10]),
        ({"lines.p": 1, "tags": -1}, [10]),
        ({"lines.p": 1, "lines.q": 1}, []),
        ({"sub.tags": 1, "tags": 1}, [11]),
        ({"lines": 1, "a": 1}, []),
    ],
)
def test_two_arrays_that_no_index_can_hold_are_a_problem(
    client: Any, keys: dict[str, int], wrong: list[int]
):
    with databases.fresh(client, roles=False) as fresh:
        fresh["rows"].insert_many(
            [
                {"_id": 10, "lines": [{"p": 1, "q": 2}], "tags": ["x"], "a": 1},
                {"_id": 11, "sub": {"tags": ["x"]}, "tags": ["y"]},
                {"_id": 12, "lines": [], "tags": "z", "sub": 5},
            ]
        )
        found = planned(fresh, index(keys))["problems"]
        assert [one["samples"] for one in found] == ([wrong] if wrong else [])
        try:  # and the server agrees
            fresh["rows"].create_index(list(keys.items()))
            built = True
        except OperationFailure as error:
            assert error.code == 171
            built = False
        assert built is not bool(wrong)


def test_what_a_step_looks_up_of_what_it_changes_itself_is_a_problem(client: Any):
    ranks = {"from": "rows", "match": {"k": "$k"}, "take": "s",
             "pipeline": [{"$group": {"_id": "$k", "s": {"$sum": "$n"}}}]}  # fmt: skip
    total = {"aggregate": ranks}
    with databases.fresh(client, roles=False) as fresh:
        fresh["rows"].insert_many([{"_id": n, "k": n % 2, "n": n} for n in range(6)])
        (found,) = planned(fresh, update(set={"n": total}))["problems"]
        assert "looks up 'n' of rows, which this very step changes" in found["what"]
        assert (found["count"], found["samples"]) == (6, [0, 1, 2, 3, 4])
        # Another field, or other documents.
        assert planned(fresh, update(set={"m": total}))["problems"] == []
        evens = {"aggregate": {**ranks, "where": {"k": 0}, "otherwise": 0}}
        apart = planned(fresh, update(where={"k": 1}, set={"n": evens}))
        assert apart["problems"] == []
        # Of a new _id, and of documents that go.
        parent = {"reference": {"from": "rows", "match": {"_id": "$k"}, "take": "n"}}
        changed = {"in": "rows", "id": {"expression": {"$concat": [{"$toString": "$$p"}, "x"]}}}
        step = {"change_id": {**changed, "let": {"p": parent}, "referenced_by": {}}}
        assert "looks up '_id' of rows" in str(planned(fresh, step)["problems"])
        for step in (
            {"delete": {"collections": ["rows"], "where": {}, "let": {"p": parent},
                        "only_if": {"$eq": ["$$p", 0]}}},
            {"move": {"from": ["rows"], "into": "made", "let": {"p": parent},
                      "set": {"p": {"expression": "$$p"}}}},
        ):  # fmt: skip
            told = planned(fresh, step)
            assert any("which this very step takes away" in one for one in told["warnings"])


def test_a_value_that_was_looked_up_leads_to_the_next(client: Any):
    with databases.fresh(client, roles=False) as fresh:
        fresh["rows"].insert_many([{"_id": 1, "org": 5}, {"_id": 2, "org": 6}, {"_id": 3}])
        fresh["orgs"].insert_many([{"_id": 5, "plan": "p"}, {"_id": 6, "plan": "lost"}])
        fresh["plans"].insert_one({"_id": "p", "limit": 9})
        let = {
            "plan": {"reference": {"from": "orgs", "match": {"_id": "$org"}, "take": "plan"}},
            "limit": {"reference": {"from": "plans", "match": {"_id": "$$plan"}, "take": "limit"}},
        }
        step = update(let=let, set={"limit": {"expression": "$$limit"}}, when_unfit="keep")
        told = planned(fresh, step)
        assert told["totals"]["to_change"] == 1
        (unfit,) = [row["unfit"] for row in told["steps"]]
        # Each for the first reason alone: what wasn't found leads nowhere.
        assert {(one["path"], one["count"], tuple(one["samples"])) for one in unfit} == {
            ("plan", 1, (3,)), ("limit", 1, (2,)),
        }  # fmt: skip


def test_a_changed_name_with_a_dot_is_a_problem_and_an_untouched_one_is_not(client: Any):
    dotted = {"document": {"expression": {"$mergeObjects": ["$$ROOT", {"n": 1}]}}}
    gone = {"document": {"expression": {"$unsetField": {"field": "price.eur", "input": "$$ROOT"}}}}
    with databases.fresh(client, roles=False) as fresh:
        fresh["rows"].insert_many([{"_id": 1, "price.eur": 5, "a": 1}, {"_id": 2, "a": 1}])
        assert planned(fresh, update(**dotted))["problems"] == []
        (found,) = planned(fresh, update(**gone))["problems"]
        assert found["samples"] == [1] and "'price.eur' would change" in found["what"]
