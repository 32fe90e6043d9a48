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
