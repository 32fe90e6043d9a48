"""Two steps of one migration: what the second rests on is known to the plan, or it is refused."""

from __future__ import annotations

from typing import Any

import pytest
from mongo_migration.errors import DefinitionError, MigrationError
from mongo_migration.operations.whole_collections import drop_collection

from tests.support.migrations import Deployment, failed
from tests.support.snapshot import differences

UPDATE = "update: {collections: [items], set: {n: {expression: {$add: [$n, 1]}}}}"
SET_KIND = "update: {collections: [items], set: {kind: {value: a}}}"
MOVE = "move: {from: [items], into: others}"
EXTRACT = "extract: {from: items, field: parts, into: parts, document: {of: $_id, part: $$this}}"
NEW_ID = (
    "change_id: {in: items, id: {expression: {$toString: $_id}}, referenced_by: {others: item}}"
)
INSERT = "insert: {into: items, key: [n], documents: [{n: 9}]}"
DELETE = "delete: {collections: [items], where: {n: 1}}"
RENAME = "rename_collection: {from: items, to: things}"
DROP = "drop_collection: {collections: [items]}"
COUNT = (
    "update: {collections: [others], let: {i: {aggregate: {from: items, match: {n: $n}, pipeline: "
    "[{$group: {_id: $n, c: {$sum: 1}}}], take: c, otherwise: 0}}}, set: {c: {expression: $$i}}}"
)


def document(*steps: str) -> tuple[str, str]:
    """Return a migration of *steps*."""
    body = "".join(f"  - {step}\n" for step in steps)
    head = 'id: "970"\nname: two\nsummary: Two steps.\nafter: []\ndowntime: none\nsteps:\n'
    return head + body, "970-two.yml"


@pytest.fixture
def filled(deployment: Deployment) -> Deployment:
    deployment.data["items"].insert_many(
        [{"_id": n, "n": n, "kind": "b", "parts": ["x", n]} for n in range(4)]
    )
    deployment.data["others"].insert_many([{"_id": 100 + n, "n": n, "item": n} for n in range(3)])
    return deployment


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (UPDATE, UPDATE, "'n' of items"),
        (UPDATE, DELETE, "'n' of items"),
        (UPDATE, MOVE, "'n' of items"),
        (SET_KIND, "update: {collections: [items], where: {kind: a}, unset: [n]}", "'kind' of"),
        (SET_KIND, "update: {collections: [items], document: {expression: $$ROOT}}", "'kind' of"),
        (UPDATE, COUNT, "'n' of items"),
        (UPDATE, "set_field: {collections: [items], field: m, value: {expression: $n}}", "'n' of"),
        (INSERT, UPDATE, "which documents of items there are"),
        (INSERT, COUNT, "which documents of items there are"),
        (MOVE, "update: {collections: [others], set: {x: {value: 1}}}", "documents of others"),
        (EXTRACT, "update: {collections: [items], set: {n: {expression: {$size: $parts}}}}",
         "'parts' of items"),
        (NEW_ID, "update: {collections: [items], set: {of: {expression: $_id}}}", "'_id' of items"),
        (NEW_ID, "update: {collections: [others], set: {of: {expression: $item}}}", "'item' of"),
        (RENAME, "update: {collections: [things], set: {x: {value: 1}}}", "works on 'things'"),
        (RENAME, UPDATE, "works on 'items'"),
        (DROP, "insert: {into: items, key: [n], documents: [{n: 1}]}", "works on 'items'"),
        ('command: {argv: ["true"], timeout_seconds: 5, writes: [items]}', UPDATE,
         "what documents of items hold"),
    ],
)  # fmt: skip
def test_what_no_plan_can_tell_is_refused_before_anything_is_written(
    filled: Deployment, first: str, second: str, says: str
):
    before = filled.content()
    for act in (filled.plan, filled.migrate):
        with pytest.raises(DefinitionError) as caught:
            act(document(first, second))
        message = caught.value.message
        assert says in message
        assert message.startswith("970-two.yml: ")
        assert "steps[1]." in message and "steps[0]." in message
        assert 'a migration of its own, with after: ["970"]' in message.replace("\n", " ")
    assert differences(before[0], filled.content()[0]) == []
    assert "_migrations" not in filled.data.list_collection_names()


@pytest.mark.parametrize(
    ("steps", "totals"),
    [
        # What a step takes away, a later plan leaves out.
        ((DELETE, UPDATE), {"to_remove": 1, "to_change": 3}),
        (("move: {from: [items], into: others, where: {n: 1}}", UPDATE),
         {"to_remove": 1, "to_insert": 1, "to_change": 3}),
        ((DELETE, MOVE), {"to_remove": 1 + 3, "to_insert": 3}),
        ((DELETE, "insert: {into: items, key: [n], documents: [{n: 1}]}"),
         {"to_remove": 1, "to_insert": 1}),
        ((DELETE, EXTRACT), {"to_remove": 1, "to_change": 3, "to_insert": 6}),
        # Fields that have nothing to do with each other.
        ((SET_KIND, "update: {collections: [items], unset: [n]}"), {"to_change": 8}),
        ((EXTRACT, SET_KIND), {"to_change": 8, "to_insert": 8}),
        ((SET_KIND, EXTRACT), {"to_change": 8, "to_insert": 8}),
        ((NEW_ID, SET_KIND), {"to_change": 4 + 3 + 4}),
        # Whatever becomes of what is there, these know what comes.
        (("create_collection: {name: made}", "insert: {into: made, key: [n], documents: [{n: 1}]}"),
         {"to_insert": 1, "indexes_to_build": 1}),
        ((INSERT, INSERT), {"to_insert": 1}),
        ((UPDATE, "create_index: {collections: [items], keys: {n: 1}}"),
         {"to_change": 4, "indexes_to_build": 1}),
        ((EXTRACT, "create_index: {collections: [parts], keys: {of: 1, part: 1}, "
          "options: {unique: true}}"), {"to_insert": 8, "indexes_to_build": 1}),
        ((MOVE, DROP), {"to_remove": 4, "to_insert": 4, "to_drop": 1}),
    ],
)  # fmt: skip
def test_what_the_plan_tells_is_what_is_done(
    filled: Deployment, steps: tuple[str, ...], totals: dict[str, Any]
):
    before = filled.content()
    found = filled.plan(document(*steps))
    assert found["problems"] == []
    assert {key: found["totals"][key] for key in totals} == totals
    done = filled.migrate(document(*steps))
    assert done["inserted"] == found["totals"]["to_insert"]
    assert done["deleted"] == found["totals"]["to_remove"]
    assert done["modified"] == found["totals"]["to_change"]
    assert failed(filled.verify(document(*steps))) == []
    filled.roll_back("970")
    assert differences(before[0], filled.content()[0]) == []
    assert before[1] == filled.content()[1]


EMPTY = "drop_collection: {collections: [items], only_if_empty: true}"


def test_a_collection_that_is_to_be_empty_is_dropped_only_then(filled: Deployment):
    before = filled.content()
    some = "move: {from: [items], into: others, where: {n: {$lt: 3}}}"
    (wrong,) = filled.plan(document(some, EMPTY))["problems"]
    assert (wrong["count"], wrong["samples"]) == (1, [3])
    filled.migrate(document(MOVE, EMPTY))
    assert "items" not in filled.data.list_collection_names()
    assert failed(filled.verify(document(MOVE, EMPTY))) == []
    filled.roll_back("970")
    assert differences(before[0], filled.content()[0]) == []


def test_a_document_that_comes_before_the_drop_stops_it_and_stays(
    filled: Deployment, monkeypatch: pytest.MonkeyPatch
):
    before = filled.content()
    rename = drop_collection.set_aside

    def late(writer: Any, real: str, entry: Any) -> None:
        filled.data["items"].insert_one({"_id": 77})
        rename(writer, real, entry)

    monkeypatch.setattr(drop_collection, "set_aside", late)
    with pytest.raises(MigrationError, match="items isn't empty"):
        filled.migrate(document(MOVE, EMPTY))
    assert [row["_id"] for row in filled.data["items"].find()] == [77]
    filled.data["items"].delete_one({"_id": 77})
    filled.roll_back("970")
    assert differences(before[0], filled.content()[0]) == []
