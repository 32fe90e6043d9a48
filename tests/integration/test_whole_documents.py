"""Documents that become others as a whole: what doesn't fit, and what was changed since."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from bson.raw_bson import RawBSONDocument
from mongo_migration.document import definition
from mongo_migration.errors import DefinitionError, PlanBlockedError

from tests.support.migrations import Deployment, failed

FUNCTION = """
import random

def shaped(item):
    if item["_id"] == "raises":
        raise ValueError("no")
    return {
        "text": "text",
        "nothing": None,
        "other": {**item, "_id": 7},
        "wild": {**item, "n": random.random()},
        "turned": dict(reversed(item.items())),
    }.get(item["_id"], {**item, "n": item.get("n", 0) + 1})
"""


def document(**more: Any) -> tuple[str, str]:
    step = {
        "collections": ["items"],
        "document": {"python": {"file": "908_items.py", "function": "shaped"}},
        **more,
    }
    head = {"id": "908", "name": "shaped", "summary": "Shaped.", "after": [], "downtime": "none"}
    text = yaml.safe_dump({**head, "steps": [{"update": step}]}, sort_keys=False)
    behind = yaml.safe_dump({"files": {"908_items.py": FUNCTION}})
    return f"{text}---\n{behind}", "908-shaped.yml"


def test_whatever_is_no_document_is_counted_with_its_reason(deployment: Deployment):
    names = ["raises", "text", "nothing", "other", "wild"]
    deployment.data["items"].insert_many([{"_id": name, "n": 1} for name in (*names, "fine")])
    before = deployment.content()
    plan = deployment.plan(document())
    found = {item["samples"][0]: item["what"] for item in plan["problems"]}
    assert sorted(found) == sorted(names)
    assert "raised ValueError: no" in found["raises"]
    assert "gave no document, but str" in found["text"]
    assert "gave no document, but NoneType" in found["nothing"]
    assert "another _id; see change_id" in found["other"]
    assert "isn't pure" in found["wild"]
    with pytest.raises(PlanBlockedError):
        deployment.migrate(document())
    assert deployment.content() == before

    deployment.migrate(document(when_unfit="keep"))
    assert deployment.data["items"].find_one({"_id": "fine"}) == {"_id": "fine", "n": 2}
    assert deployment.data["items"].count_documents({"n": 1}) == 5
    assert failed(deployment.verify(document(when_unfit="keep"))) == []
    deployment.roll_back("908")
    assert deployment.content() == before


def test_an_order_of_fields_alone_is_a_change_and_comes_back(deployment: Deployment):
    deployment.data["items"].insert_many([{"_id": "turned", "a": 1, "b": 2}, {"_id": 1, "n": 1}])
    before = deployment.content()
    deployment.migrate(document())
    assert list(deployment.data["items"].find_one({"_id": "turned"})) == ["_id", "b", "a"]
    assert failed(deployment.verify(document())) == []
    assert deployment.roll_back("908")["conflict_count"] == 0
    assert deployment.content() == before


def test_a_rollback_leaves_alone_what_somebody_wrote_to_other_fields(deployment: Deployment):
    deployment.data["items"].insert_many([{"_id": 1, "n": 1, "x": 1}, {"_id": 2, "n": 1}])
    deployment.migrate(document())
    deployment.data["items"].update_one({"_id": 1}, {"$set": {"x": 5}})
    deployment.data["items"].update_one({"_id": 2}, {"$set": {"n": 9}})
    assert [item["_id"] for item in deployment.roll_back("908")["conflicts"]] == [2]
    rows = list(deployment.data["items"].find(sort=[("_id", 1)]))
    assert rows == [{"_id": 1, "n": 1, "x": 5}, {"_id": 2, "n": 9}]


def test_what_no_driver_can_write_keeps_its_bytes(deployment: Deployment):
    """Undefined: the driver reads it as null."""
    body = b"\x10_id\x00\x01\x00\x00\x00" + b"\x06old\x00" + b"\x10n\x00\x01\x00\x00\x00"
    raw = (len(body) + 5).to_bytes(4, "little") + body + b"\x00"
    deployment.data["items"].insert_one(RawBSONDocument(raw))
    before = deployment.content()
    deployment.migrate(document())
    (found,) = deployment.content()[0]["items"].values()
    assert found == raw.replace(b"\x10n\x00\x01", b"\x10n\x00\x02")
    deployment.roll_back("908")
    assert deployment.content() == before


def test_what_an_expression_gives_must_be_a_document(deployment: Deployment):
    deployment.data["items"].insert_many(
        [{"_id": 1, "a": {"x": 1}}, {"_id": 2}, {"_id": 3, "a": 1}]
    )
    (problem,) = deployment.plan(document(document={"expression": "$a"}))["problems"]
    assert (problem["samples"], problem["count"]) == ([2, 3], 2)


def test_large_documents_are_shown_in_part(deployment: Deployment):
    deployment.data["items"].insert_one({"_id": 1, "n": 1, "long": "x" * 100_000})
    growing = {"expression": {"$mergeObjects": ["$$ROOT", {"long": {"$concat": ["$long", "y"]}}]}}
    (row,) = deployment.plan(document(document=growing))["steps"]
    (shown,) = row["preview"]
    assert shown["before"] == {"long": "(100,005 bytes)"}


def test_a_document_and_parts_of_it_are_not_given_together():
    text, source = document(unset=["a"])
    with pytest.raises(DefinitionError, match=r"steps\[0\]"):
        definition.load(text, source)
