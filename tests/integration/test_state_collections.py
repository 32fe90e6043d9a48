"""Our records lie in plain collections: what else has their name is refused by it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from mongo_migration.ledger.own_collections import ENTRY, NUMBER
from mongo_migration.ledger.state_format import StateError
from mongo_migration.procedures import plan, status, verify
from pymongo import MongoClient
from pymongo.database import Database

from tests.support import databases, torture
from tests.support.snapshot import snapshot

Db = Database[dict[str, Any]]
OURS = ("_migrations", "_migrations_journal")


def _copied(db: Db, name: str, **options: Any) -> None:
    """Put a collection with *options* and the same documents in the place of *name*."""
    documents = list(db[name].find())
    db[name].drop()
    db.create_collection(name, **options)
    db[name].insert_many(documents)


def _a_view(db: Db, name: str) -> None:
    db.client.admin.command(
        {"renameCollection": f"{db.name}.{name}", "to": f"{db.name}.was"}, comment="hostile"
    )
    db.command({"create": name, "viewOn": "was", "pipeline": [{"$match": {"seq": {"$ne": 3}}}]})


ODD = {
    "a view": _a_view,
    "a capped collection": lambda db, name: _copied(db, name, capped=True, size=1 << 20),
    "a collection with a collation": lambda db, name: _copied(
        db, name, collation={"locale": "en", "strength": 2}
    ),
    "a collection with a validator": lambda db, name: db.command(
        {"collMod": name, "validator": {"never": True}}
    ),
    "a clustered collection": lambda db, name: _copied(
        db,
        name,
        clusteredIndex={"key": {"_id": 1}, "unique": True, "name": "_id_"},
    ),
}
ENDS = {"name": "ends", "key": {"at": 1}, "expireAfterSeconds": 3600}
# What each does to what we write there.
INDEXES: list[tuple[dict[str, Any], str]] = [
    (ENDS, "the server removes documents after a time"),
    ({**ENDS, "hidden": True}, "the server removes documents after a time"),
    ({**ENDS, "partialFilterExpression": {"x": 1}}, "the server removes documents after a time"),
    ({"name": 'u\x1b[2K"', "key": {"x": 1}, "unique": True, "sparse": True}, "it is unique"),
    ({"name": "h", "key": {"x": "hashed"}}, "the server may refuse what we have to write"),
    ({"name": "g", "key": {"x": "2dsphere"}}, "the server may refuse what we have to write"),
    ({"name": "t", "key": {"$**": "text"}}, "the server may refuse what we have to write"),
    ({"name": "ab", "key": {"a": 1, "b": 1}}, "the server may refuse what we have to write"),
]
OURS_WITHOUT = [
    ("_migrations", {"name": "n", "key": {"number": 1}}),
    ("_migrations", {"name": "run_number", "key": {"x": 1}}),
    ("_migrations_journal", {"name": "run_seq", "key": {"run": 1, "seq": 1}}),
    ("_migrations_journal", {"name": "r", "key": {"run": 1, "seq": 1}, "sparse": True}),
]


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("kind", ODD)
def test_what_isnt_a_plain_collection_is_refused_by_name(database: Db, kind: str, name: str):
    torture.fill(database)
    torture.migrate(database)
    ODD[kind](database, name)

    assert f"{database.name}.{name} is {kind}" in _refused_everywhere(database)


def _verify(db: Db) -> None:
    verify.verify(
        client=db.client,
        database=db.name,
        definition=torture.DEFINITION,
        record=False,
        operator={},
    )


def _refused_everywhere(db: Db) -> str:
    """Return why every command refuses to work, which is the same one; none of them may write."""
    before, messages = snapshot(db, own=True), set[str]()
    for work in (
        torture.migrate,
        torture.roll_back,
        _verify,
        lambda db: plan.make(db.client, db.name, torture.DEFINITION),
        lambda db: status.describe(client=db.client, database=db.name, definition=None),
    ):
        with pytest.raises(StateError) as refused:
            work(db)
        messages.add(refused.value.message)
    assert snapshot(db, own=True) == before
    (message,) = messages
    return message


@pytest.fixture(scope="module")
def migrated(client: MongoClient[dict[str, Any]]) -> Iterator[Db]:
    with databases.fresh(client, roles=False) as fresh:
        torture.fill(fresh)
        torture.migrate(fresh)
        yield fresh


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize(("index", "harm"), INDEXES, ids=[each["name"] for each, _ in INDEXES])
def test_an_index_that_removes_or_refuses_what_we_write_is_named(
    migrated: Db, index: dict[str, Any], harm: str, name: str
) -> None:
    migrated.command({"createIndexes": name, "indexes": [index]})
    message = _refused_everywhere(migrated)
    migrated[name].drop_index(index["name"])

    assert f"{migrated.name}.{name} has the index {index['name']!r}" in message
    assert harm in message
    assert f'db.getCollection("{name}").dropIndex({json.dumps(index["name"])})' in message
    _verify(migrated)


@pytest.mark.parametrize(("name", "index"), OURS_WITHOUT)
def test_an_index_in_the_place_of_ours_is_named(
    migrated: Db, name: str, index: dict[str, Any]
) -> None:
    ours = next(one for one in migrated[name].index_information() if one != "_id_")
    migrated[name].drop_index(ours)
    migrated.command({"createIndexes": name, "indexes": [index]})
    message = _refused_everywhere(migrated)
    migrated[name].drop_index(index["name"])
    put_back = {"_migrations": NUMBER, "_migrations_journal": ENTRY}[name]
    migrated[name].create_indexes([put_back])

    assert "stands in the place of ours, and isn't like it" in message


def test_an_index_that_harms_nothing_is_left_alone(migrated: Db) -> None:
    """An administrator may have wanted to see what is slow."""
    for name in OURS:
        migrated[name].create_index("at", name="a", sparse=True)
    _verify(migrated)
    for name in OURS:
        migrated[name].drop_index("a")
