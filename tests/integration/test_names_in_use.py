"""Fields of the application that are called as anything that the engine's own commands compute."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from typing import Any

import pytest
from pymongo.database import Database

from tests.support.migrations import Deployment, failed

Db = Database[dict[str, Any]]
WORDS = ("key", "told", "made", "wanted", "rest", "now", "before", "held", "one", "size", "names")
WORDS += ("document", "documents", "count", "ids", "samples", "x_k0", "k0", "value", "pair")
NAMES = (*string.ascii_lowercase, *WORDS)
TEXT: dict[str, Any] = {"expression": {"$toString": "$number"}}
LOOKED_UP = {"reference": {"from": "shops", "match": {"_id": "$shop"}, "take": "city"}}
STEPS: Mapping[str, dict[str, Any]] = {
    "set_field": {"collections": ["items"], "field": "new", "type": "string", "value": TEXT},
    "set_field, looked up": {
        "collections": ["items"],
        "field": "new",
        "type": "string",
        "value": LOOKED_UP,
    },
    "update": {"collections": ["items"], "set": {"new": TEXT}, "unset": ["number"]},
    "update, an array": {"collections": ["items"], "set": {"b": {"value": {"c": 1}}}},
    "update, looked up": {"collections": ["items"], "set": {"new": LOOKED_UP}},
    "update, numbered": {
        "collections": ["items"],
        "set": {"new": {"number": {"order": ["number"], "by": ["shop"]}}},
    },
    "update, whole": {
        "collections": ["items"],
        "document": {"expression": {"$mergeObjects": ["$$ROOT", {"new": 1}]}},
    },
    "delete": {"collections": ["items"], "where": {}, "only_if": {"$gt": ["$number", 1]}},
    "move": {"from": ["items"], "into": "others", "set": {"new": TEXT}},
    "extract": {"from": "items", "field": "parts", "into": "others", "document": {"p": "$$this"}},
    "change_id": {
        "in": "shops",
        "id": {"expression": {"$add": ["$_id", 100]}},
        "referenced_by": {"items": "shop"},
    },
    "merge_duplicates": {
        "in": "shops",
        "by": ["city"],
        "keep": "oldest",
        "referenced_by": {"items": "shop"},
    },
    "insert_for_each": {
        "from": "items",
        "into": "others",
        "key": ["item"],
        "document": {"item": "$_id", "number": {"of": "$number"}},
    },
}


@pytest.fixture(params=["deployment", "standalone_deployment"])
def site(request: pytest.FixtureRequest) -> Deployment:
    found: Deployment = request.getfixturevalue(request.param)
    return found


def fill(data: Db, more: Mapping[str, Any]) -> None:
    for name in data.list_collection_names():
        data.drop_collection(name)
    data["shops"].insert_many([{"_id": n, "city": "Goa", **more} for n in range(3)])
    data["others"].insert_one({"_id": "there"})
    data["items"].insert_many(
        [
            {"_id": n, "number": n, "shop": n % 3, "parts": [{"q": n}], "new": None, **more}
            for n in range(4)
        ]
    )


def done(data: Db) -> list[Any]:
    """Return what the collections hold, without those fields, and without ids that are random."""
    found = []
    for name in sorted(data.list_collection_names()):
        if not name.startswith("_migrations"):
            rows = [_without(row) for row in data[name].find()]
            found.append((name, sorted(rows, key=str)))
    return found


def _without(row: Mapping[str, Any]) -> dict[str, Any]:
    given = {"_id"} if type(row["_id"]).__name__ == "ObjectId" else set[str]()
    return {k: v for k, v in row.items() if k not in given and k not in NAMES}


@pytest.mark.parametrize("named", STEPS)
def test_they_keep_their_values_and_change_nothing(site: Deployment, named: str):
    stopped = site.client.topology_description.topology_type_name == "Single"
    kind = named.split(",", maxsplit=1)[0]
    head = {"id": "900", "name": "names", "summary": "A step.", "downtime": "none"}
    text = (json.dumps({**head, "steps": [{kind: STEPS[named]}]}), "900.yml")
    fill(site.data, {})
    site.migrate(text)
    wanted = done(site.data)

    odd = {name: [{"c": name, name: [1]}, [name], 7] for name in NAMES}
    fill(site.data, odd)
    before = site.content()
    if stopped:
        site.maintenance("on")
    site.migrate(text, writers_stopped=stopped)
    assert done(site.data) == wanted
    changed = "b" if named == "update, an array" else ""
    kept = {name: value for name, value in odd.items() if name != changed}
    for row in site.data["items"].find():
        assert {name: row.get(name) for name in kept} == kept
    assert failed(site.verify(text)) == []
    assert site.roll_back("900")["conflict_count"] == 0
    assert failed(site.verify(text, "rolled_back")) == []
    assert site.content() == before
