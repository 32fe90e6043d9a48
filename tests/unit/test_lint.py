"""The lint of documents: each code on the smallest document that deserves it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from mongo_migration.document import definition, lint

from authoring import lint as command
from tests.support.playbooks import ROOT

FIELD = {"set_field": {"collections": ["a"], "field": "f", "type": "string", "value": {"value": 1}}}


def document(*steps: dict[str, Any], **more: Any) -> str:
    return yaml.safe_dump(
        {
            "id": "100",
            "name": "small",
            "summary": "A small one.",
            "downtime": "none",
            "after": [],
            "postconditions": [{"name": "some", "count": {"in": "a", "at_least": 1}}],
            "steps": list(steps) or [FIELD],
            **more,
        }
    )


def field(**changes: Any) -> dict[str, Any]:
    return {"set_field": {**FIELD["set_field"], **changes}}


def index(**options: Any) -> dict[str, Any]:
    return {"create_index": {"collections": ["a"], "keys": {"f": 1}, "options": options}}


def reference(**more: Any) -> dict[str, Any]:
    return {"reference": {"from": "b", "match": {"name": "$name"}, "take": "_id", **more}}


INSERT = {"from": "a", "into": "b", "key": ["k"], "document": {"k": "$_id"}}
COMMAND = {"argv": ["true"], "timeout_seconds": 1, "writes": ["a"]}
MERGE = {"in": "a", "by": ["k"], "keep": "oldest", "referenced_by": {"b": "f"}}

CONVERTED = {"n": {"expression": {"$round": [{"$toDecimal": "$n"}, 2]}}}
IMPURE = "import random\n\ndef f(a):\n    return random.random()\n"
DANGEROUS = {
    "M025": document(
        {"update": {"collections": ["a"], "where": {"at": "ISODate()"}, "unset": ["b"]}}
    ),
    "M026": document(FIELD) + f"---\n{yaml.safe_dump({'files': {'f.py': IMPURE}})}",
    "M001": document(FIELD, index(unique=True)),
    "M002": document(field(value={"first_of": [{"value": 1}, reference()]})),
    "M003": document(field(type="objectId")),
    "M004": document({"insert_for_each": {**INSERT, "referenced_by": {}}}, postconditions=[]),
    "M005": document(index(), FIELD),
    "M007": document(field(when_unresolved="skip"), postconditions=[]),
    "M008": document({"set_field": {"collections": ["a"], "field": "f", "value": {"value": 1}}}),
    "M009": document({"command": COMMAND}),
    "M010": document({"insert_for_each": INSERT}),
    "M011": document(FIELD, index(expireAfterSeconds=3600)),
    "M012": document({"merge_duplicates": MERGE}),
    "M020": document({"delete": {"collections": ["a"], "where": {}}}),
    "M021": document({"drop_collection": {"collections": ["a"]}}),
    "M022": document({"rebuild_collection": {"name": "a", "options": {"capped": False}}}),
    "M023": document({"move": {"from": ["a"], "into": "b"}}),
    "M014": document(field(where={"f": {"$exsits": True}})),
    "M024": document({"update": {"collections": ["a"], "set": CONVERTED}}),
    "M013": document(preconditions=[{"name": "some", "count": {"in": "a", "at_least": 1}}]),
}
SAFE = {
    "M001": document(FIELD, index(unique=True), downtime="required"),
    "M002": document(field(value=reference(where={"open": True}))),
    "M003": document(field(type="objectId", references="b")),
    "M005": document(FIELD, index()),
    "M009": document({"command": {**COMMAND, "down": ["true"]}}),
    "M010": document({"insert_for_each": {**INSERT, "referenced_by": {"c": "b"}}}),
    "M012": document({"merge_duplicates": MERGE}, downtime="required"),
    "M023": document({"move": {"from": ["a"], "into": "b", "copy": True}}),
    "M024": document(
        {"update": {"collections": ["a"], "where": {"n": {"$ne": None}}, "set": CONVERTED}}
    ),
}


def codes(text: str) -> list[str]:
    definition.load(text)  # the lint is about documents that are valid
    return [finding.code for finding in lint.findings(text, "small.yml")]


@pytest.mark.parametrize("code", DANGEROUS)
def test_what_is_dangerous_is_found(code: str):
    assert codes(DANGEROUS[code]) == [code]


@pytest.mark.parametrize("code", SAFE)
def test_the_safe_way_is_not(code: str):
    assert codes(SAFE[code]) == []


def test_after_may_be_empty_but_not_missing():
    text = yaml.safe_load(document())
    del text["after"]
    assert codes(yaml.safe_dump(text)) == ["M006"]
    assert codes(yaml.safe_dump({**text, "id": "003"})) == []


def test_every_code_is_tested_and_documented():
    known = {rule.code for rule in lint.RULES}
    assert known == {*DANGEROUS, "M006"}
    guide = (ROOT / "docs" / "writing-migrations.md").read_text()
    assert set(re.findall(r"^\| (M[0-9]{3}) ", guide, re.MULTILINE)) == known


def test_what_was_decided_on_is_accepted_with_its_reason():
    assert codes(document(index(), FIELD, accept={"M005": "forty documents"})) == []
    assert codes(document(accept={"M999": "no idea"})) == ["M999"]


def test_the_command_names_the_place_and_the_safe_way(tmp_path, capsys):
    path = tmp_path / "100-small.yml"
    path.write_text(DANGEROUS["M005"])
    assert command.main([str(path)]) == 1
    said = capsys.readouterr().out
    assert f"{path}: M005 steps[0].create_index: an index is built before the data" in said
    assert "safe  Put the step behind the data" in said


def test_the_command_tells_of_an_invalid_document(tmp_path, capsys):
    path = tmp_path / "100-small.yml"
    path.write_text(document(downtime="a little"))
    assert command.main([str(path)]) == 1
    assert "downtime: 'a little' is not one of" in capsys.readouterr().out
    assert command.main([str(tmp_path / "none.yml")]) == 1
    assert "No such file" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("step", "place"),
    [
        (field(where={"$and": [{"f": {"$gte": 1}}, {"g": {"$gtt": 1}}]}), "where.$and[1].g.$gtt"),
        (field(value={"expression": {"$toObjectid": "$x"}}), "value.expression.$toObjectid"),
        (field(value=reference(where={"$expr": {"$equal": [1, 1]}})), "where.$expr.$equal"),
        ({"insert_for_each": {**INSERT, "pipeline": [{"$macth": {}}]}}, "pipeline[0].$macth"),
        (
            {
                "change_id": {
                    "in": "a",
                    "id": {"expression": {"$toObjctId": 1}},
                    "referenced_by": {},
                }
            },
            "id.expression.$toObjctId",
        ),
        (
            {"move": {"from": ["a"], "into": "b", "set": {"n": {"expression": {"$ad": [1]}}}}},
            "set.n.expression.$ad",
        ),
        (
            {"extract": {"from": "a", "field": "f", "into": "b", "document": {"k": {"$frist": 1}}}},
            "document.k.$frist",
        ),
    ],
)
def test_an_operator_that_mongodb_does_not_know_is_named_with_its_place(
    step: dict[str, Any], place: str
):
    found = lint.findings(document(step), "small.yml")
    (where,) = [finding.where for finding in found if finding.code == "M014"]
    assert place in where


@pytest.mark.parametrize(
    "step",
    [
        field(where={"d": {"$gt": {"$date": "2026-01-01T00:00:00Z"}}, "k": {"$regex": "^a"}}),
        field(where={"$expr": {"$lt": ["$a", {"$dateSubtract": {"startDate": "$b"}}]}}),
        field(value={"expression": {"$literal": {"$nothing": 1}}}),
        field(value={"value": {"$numberDecimal": "1.5"}}),
    ],
)
def test_operators_that_mongodb_knows_are_no_finding(step: dict[str, Any]):
    assert "M014" not in codes(document(step))


@pytest.mark.parametrize(
    "value", [{"$numberDecimal": "abc"}, {"$date": "soon"}, {"$oid": 5}, {"$binary": "x"}]
)
def test_a_malformed_value_is_refused_with_its_place(tmp_path, capsys, value: dict[str, Any]):
    path = tmp_path / "100-small.yml"
    path.write_text(document(field(value={"value": value})))
    assert command.main([str(path)]) == 1
    assert f"{path}: steps[0].set_field.value.value: not valid" in capsys.readouterr().out


def test_a_document_in_another_encoding_is_refused_with_its_line(tmp_path, capsys):
    path = tmp_path / "100-small.yml"
    path.write_bytes(document().encode() + b"# caf\xe9\n")
    assert command.main([str(path)]) == 1
    assert "isn't UTF-8 (byte 0xe9)" in capsys.readouterr().out


def test_a_folder_is_checked_as_a_whole(tmp_path, capsys):
    (tmp_path / "100-small.yml").write_text(document())
    (tmp_path / "100-other.yml").write_text(document(name="other"))
    (tmp_path / "101-next.yml").write_text(document(id="101", after=["099", "107", "101"]))
    assert command.main([str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "More than one migration is numbered 100" in said
    assert "101-next.yml: after: there is no migration 107; known: 100, 101" in said
    assert "101-next.yml: after: 101 doesn't come before 101" in said
    # Below the first of them, another tool's.
    assert "there is no migration 099" not in said


def test_the_projects_own_documents_are_clean(capsys):
    assert command.main([]) == 0
    assert "nothing found" in capsys.readouterr().out


def test_an_unknown_operator_is_found_wherever_an_update_has_one():
    lookup = {"from": "b", "match": {"k": {"$toInnt": "$k"}}, "take": "v"}
    pipeline = [{"$group": {"_id": "$k", "n": {"$sumn": 1}}}]
    step = {
        "update": {
            "collections": ["a"],
            "where": {"f": {"$exsits": True}},
            "let": {"x": {"aggregate": {**lookup, "pipeline": pipeline}}},
            "set": {"f": {"expression": {"$multipli": ["$f", 2]}}},
            "each": {"l": {"remove": {"$nott": ["$$this.x"]}}},
        }
    }
    found = lint.findings(document(step), "100-small.yml")
    places = [finding.where for finding in found if finding.code == "M014"]
    assert [place.partition(" (")[0] for place in places] == [
        "steps[0].update.where.f.$exsits",
        "steps[0].update.each.l.remove.$nott",
        "steps[0].update.let.x.aggregate.match.k.$toInnt",
        "steps[0].update.let.x.aggregate.pipeline[0].$group.n.$sumn",
        "steps[0].update.set.f.expression.$multipli",
    ]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ('ObjectId("64b000000000000000000001")', "{$oid: …}"),
        ("new Date()", "{$date: …}"),
        ("/^a/i", "{$regex: …"),
        ("\u201cx\u201d", "straight quotes"),
        ("$name", "expression:"),
        ("$$NOW", "expression:"),
    ],
)
def test_text_that_looks_like_something_else_is_told_where_it_stands(text: str, meant: str):
    source = {"update": {"collections": ["a"], "set": {"b": {"value": text}}}}
    (where,) = [
        one.where for one in lint.findings(document(source), "100-small.yml") if one.code == "M025"
    ]
    assert where.startswith("steps[0].update.set.b.value: ") and meant in where
    inserted = {
        "insert": {"into": "a", "key": ["k"], "referenced_by": {}, "documents": [{"k": text}]}
    }
    (where,) = [
        one.where
        for one in lint.findings(document(inserted), "100-small.yml")
        if one.code == "M025"
    ]
    assert where.startswith("steps[0].insert.documents[0].k: ")


def test_a_date_without_quotes_is_told_and_one_with_quotes_is_text():
    for text, told in (("2024-01-01", 1), ('"2024-01-01"', 0)):
        update = {"collections": ["a"], "where": {"at": {"$lt": "DAY"}}, "unset": ["b"]}
        given = document({"update": update}).replace("DAY", text)
        found = [one.code for one in lint.findings(given, "100-small.yml")]
        assert found.count("M025") == told


@pytest.mark.parametrize("text", ["$$now", "a/b", "1 $", "Date of birth", "5"])
def test_text_that_is_text_is_right(text: str):
    source = {"update": {"collections": ["a"], "set": {"b": {"value": text}}}}
    assert [
        one for one in lint.findings(document(source), "100-small.yml") if one.code == "M025"
    ] == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("import datetime\ndef f(a):\n    return datetime.datetime.now()", "line 3: now()"),
        ("import uuid\ndef f(a):\n    return uuid.uuid4()", "line 3: uuid4()"),
        ("from bson import ObjectId\ndef f(a):\n    return ObjectId()", "line 3: ObjectId()"),
        ("import requests", "line 1: requests"),
        ("from urllib.request import urlopen", "line 1: urllib.request"),
        ("N = 0\ndef f(a):\n    global N\n    N += 1\n    return N", "line 3: N is kept"),
        ("def f(a):\n    print(a)", "line 2: print()"),
    ],
)
def test_a_function_that_is_not_pure_is_told_with_its_line(text: str, what: str):
    whole = document() + f"---\n{yaml.safe_dump({'files': {'f.py': text}})}"
    (where,) = [one.where for one in lint.findings(whole, "100-small.yml") if one.code == "M026"]
    assert where.startswith(f"f.py: {what}")


def test_a_pure_function_is_right():
    text = (
        "import hashlib, re, uuid\nfrom bson import ObjectId\n\ndef f(a):\n    return ObjectId(a)\n"
    )
    whole = document() + f"---\n{yaml.safe_dump({'files': {'f.py': text}})}"
    assert [one for one in lint.findings(whole, "100-small.yml") if one.code == "M026"] == []
