"""What a filter, an expression or a source reads of a document, and of other collections."""

from __future__ import annotations

from typing import Any

import pytest
from mongo_migration.document import reads


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"filters": [{"a.b": 1, "$or": [{"c": {"$gt": 1}}, {"$expr": {"$eq": ["$d", "$e.f"]}}]}]},
         {"a", "c", "d", "e"}),
        ({"expressions": [{"name": "$a.b", "other": {"$literal": "$x"}, "v": "$$v.c"}]}, {"a"}),
        ({"expressions": [{"$mergeObjects": ["$$ROOT", {"a": 1}]}]}, None),
        ({"sources": [{"reference": {"from": "x", "match": {"_id": "$user"}, "take": "name"}}]},
         {"user"}),
        ({"sources": [{"aggregate": {"from": "x", "match": {"k": "$_id"}, "take": "n",
                                     "pipeline": [{"$group": {"_id": "$k"}}]}}]}, {"_id"}),
        ({"sources": [{"map": {"input": "$kind", "cases": []}}]}, {"kind"}),
        ({"sources": [{"number": {"by": ["org"], "order": {"at.day": 1}}}]}, {"org", "at"}),
        ({"sources": [{"python": {"file": "a.py", "function": "f"}}]}, None),
        ({"sources": [{"python": {"file": "a.py", "function": "f", "inputs": ["$n"]}}]}, {"n"}),
        ({"sources": [{"first_of": [{"value": "$a"}, {"expression": "$b"}]}]}, {"b"}),
        ({"paths": ["a.b", "c"]}, {"a", "c"}),
    ],
)  # fmt: skip
def test_fields_that_are_read(given: dict[str, Any], wanted: set[str] | None):
    assert reads.fields(**given) == (None if wanted is None else frozenset(wanted))


def test_collections_that_are_read():
    stages = [
        {"$lookup": {"from": "a", "as": "x", "pipeline": [{"$unionWith": "b"}]}},
        {"$unionWith": {"coll": "c", "pipeline": []}},
    ]
    source = {"set": {"n": {"aggregate": {"from": "d", "pipeline": stages}}}}
    assert set(reads.collections(source)) == {"a", "b", "c", "d"}


def looked_up(**spec: Any) -> list[tuple[str, Any]]:
    kind = "aggregate" if "pipeline" in spec else "reference"
    given = {"from": "x", "match": {"a.b": "$own"}, "take": "c", **spec}
    return list(reads.lookups({"let": {"n": {kind: given}}}))


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({}, {"a", "c"}),
        ({"take": ["c", "d.e"], "where": {"f": 1}}, {"a", "c", "d", "f"}),
        ({"pipeline": [{"$sort": {"g": 1}}, {"$group": {"_id": "$h", "c": {"$max": "$i.j"}}}]},
         {"a", "c", "g", "h", "i", "_id"}),
        ({"pipeline": [{"$unset": "k"}, {"$match": {"l": 1}}]}, {"a", "c", "k", "l"}),
        ({"pipeline": [{"$group": {"_id": None, "c": {"$push": "$$ROOT"}}}]}, None),
        ({"pipeline": [{"$facet": {}}]}, None),
    ],
)  # fmt: skip
def test_fields_of_other_documents_that_a_source_reads(spec: dict[str, Any], wanted: Any):
    assert looked_up(**spec) == [("x", None if wanted is None else frozenset(wanted))]


def test_what_a_stage_looks_up_is_any_field():
    stage = {"$graphLookup": {"from": "y", "startWith": "$a", "as": "z"}}
    assert looked_up(pipeline=[stage]) == [("x", None), ("y", None)]


def test_names_behind_two_dollars():
    tree = {"a": ["$$x.y", {"b": "$$z"}], "c": "$field", "d": 5}
    assert reads.variables(tree) == {"x", "z"}
    assert set(reads.paths(tree)) == {"x.y", "z"}
