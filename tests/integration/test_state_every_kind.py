"""Each kind of journal entry is held to its shape, and to what the migration document allows."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bson
import pytest
from bson import Regex
from bson.binary import Binary
from bson.code import Code
from mongo_migration.ledger.state_format import StateError
from mongo_migration.operations.registry import ENTRY_KINDS
from mongo_migration.procedures import migrate, verify, work
from mongo_migration.server import connection
from pymongo import MongoClient
from pymongo.database import Database
from xxhash import xxh3_64_digest

from embedded.mongod import ReplicaSet
from tests.support import databases, menagerie, torture
from tests.support.snapshot import snapshot

Db = Database[dict[str, Any]]
KINDS = [kind for kind in ENTRY_KINDS if kind != "void"]


@pytest.fixture(scope="module")
def applied(replica_set: ReplicaSet, client: MongoClient[dict[str, Any]]) -> Iterator[Db]:
    """The menagerie, applied; whoever plants something takes it out again."""
    with databases.fresh(client, roles=True) as fresh:
        uri = replica_set.uri("migrator")
        with connection.connect({"uri": uri, "database": fresh.name}) as engine:
            menagerie.fill(engine[fresh.name])
            menagerie.migrate(engine[fresh.name])
            yield engine[fresh.name]


@contextmanager
def planted(db: Db, kind: str, **changes: Any) -> Iterator[None]:
    """Plant an entry like one of the run's."""
    journal = db["_migrations_journal"]
    found = journal.find_one({"kind": kind})
    assert found is not None
    journal.insert_one({**found, "_id": "planted", "seq": 1000, **changes})
    try:
        yield
    finally:
        journal.delete_one({"_id": "planted"})


def assert_refused(db: Db) -> None:
    """Nobody obeys it, and the error names it."""
    common: dict[str, Any] = {"client": db.client, "database": db.name}
    before = snapshot(db)
    with pytest.raises(StateError, match="planted"):
        menagerie.roll_back(db)
    with pytest.raises(StateError, match="planted"):
        verify.verify(definition=menagerie.DEFINITION, record=False, **common)
    assert snapshot(db) == before


# A command's entry is about no collection: what is run stands in the document alone.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "command"])
def test_an_entry_about_another_collection_is_refused(applied: Db, kind: str) -> None:
    with planted(applied, kind, collection="bystanders"):
        assert_refused(applied)


@pytest.mark.parametrize("kind", KINDS)
def test_an_entry_of_another_step_is_refused(applied: Db, kind: str) -> None:
    with planted(applied, kind, step=99):
        assert_refused(applied)


def images(*documents: tuple[Any, dict[str, Any]]) -> dict[str, Any]:
    """Before-images as an entry holds them."""
    raw = b"".join(
        bson.encode({"_id": identity}) + bson.encode(fields) for identity, fields in documents
    )
    return {
        "images": Binary(zlib.compress(raw)),
        "count": len(documents),
        "written": Binary(b"".join(xxh3_64_digest(b"") for _one in documents)),
        "orders": None,
        "order_of": None,
    }


BOMB = zlib.compress(bson.encode({}) * 9_000_000, 1)

WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "a field that the step doesn't touch": ("set_field", {"field": "name"}),
    "the id itself": ("set_field", {"field": "_id"}),
    "a path with an operator": ("set_field", {"field": "size.$[]"}),
    "a filter in place of an id": (
        "set_field",
        {"groups": [{"value": 1, "ids": [{"$gt": ""}]}]},
    ),
    "a pattern in place of an id": (
        "set_field",
        {"groups": [{"value": 1, "ids": [Regex(".*")]}]},
    ),
    "a list in place of an id": ("set_field", {"groups": [{"value": 1, "ids": [[0]]}]}),
    "a field beside those that are named": ("update", images((0, {"isAdmin": True}))),
    "a filter in place of an image's id": ("update", images(({"$gt": ""}, {"label": "x"}))),
    "an image that unpacks without end": ("update", {"images": Binary(BOMB)}),
    "fewer digests than images": ("update", {"written": Binary(b"x" * 8)}),
    "an order that isn't there": ("update", {"order_of": [9, 9, 9]}),
    "digests of other fields": (
        "update",
        {"after": [{"field": "isAdmin", "digest": "0" * 32, "count": 1}]},
    ),
    "a pattern in place of an inserted id": ("insert", {"documents": [{"_id": Regex(".*")}]}),
    "references of no field": (
        "insert",
        {"referenced_by": [{"collection": "users", "field": "$where"}]},
    ),
    "a filter in place of a removed id": ("delete", {"removed": [{"_id": {"$ne": 0}}]}),
    "another command": ("command", {"lines": {"argv": "true", "down": "rm -rf /"}}),
    "a command without its down": ("command", {"lines": {"argv": "true"}}),
    "another command of 1.0": ("command", {"lines": None, "command": {"argv": ["reboot"]}}),
    "a rule with more in it": ("validate", {"was": {"validator": {}, "expireAfterSeconds": 1}}),
    "a rule of another kind": (
        "validate",
        {"was": {"validator": 1, "validationLevel": "off", "validationAction": "warn"}},
    ),
    "another index than was replaced": (
        "replace_index",
        {"was": {"name": "evil", "key": {"at": 1}, "expireAfterSeconds": 0}},
    ),
    "another index than was built": ("create_index", {"spec": {"name": "x", "key": {"x": 1}}}),
    "an index without keys": ("drop_index", {"spec": {"name": "spare_1", "key": {}}}),
    "an index whose name is code": ("hide_index", {"index": Code("x"), "hidden": False}),
    "another index than was hidden": ("hide_index", {"index": "tag_1"}),
    "another new name": ("rename_collection", {"into": "bystanders"}),
    "a new name where there is none": ("drop_collection", {"into": "bystanders"}),
    "what is no UUID": ("drop_collection", {"uuid": Binary(b"x")}),
    "conflicts that are text": ("delete", {"conflicts": "none"}),
    "more undone than there is a number for": ("set_field", {"undone": 2**60}),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_entry_that_says_more_than_its_step_is_refused(applied: Db, what: str) -> None:
    kind, changes = WRONG[what]
    with planted(applied, kind, **changes):
        assert_refused(applied)


def test_a_resumed_run_obeys_no_entry_that_its_document_does_not_allow(database: Db) -> None:
    torture.fill(database)
    torture.migrate(database)
    run = database["_migrations"].find_one({"kind": "run"})
    assert run is not None
    entry = database["_migrations_journal"].find_one({"kind": "set_field"})
    assert entry is not None
    more = {"_id": "planted", "seq": run["seq"] + 1, "collection": "users"}
    database["_migrations_journal"].insert_one({**entry, **more})
    database["_migrations"].update_one(
        {"_id": run["_id"]}, {"$set": {"phase": "interrupted", "position": {"step": 3}}}
    )
    before = snapshot(database)

    with pytest.raises(StateError, match="planted"):
        torture.migrate(database)

    assert snapshot(database) == before


def test_a_position_that_the_journal_does_not_know_is_refused(applied: Db) -> None:
    run = applied["_migrations"].find_one({"kind": "run"})
    assert run is not None
    claimed = {"phase": "interrupted", "position": {"step": 1, "target": 0, "begun": True}}
    applied["_migrations"].update_one({"_id": run["_id"]}, {"$set": claimed})
    before = snapshot(applied)
    with pytest.raises(StateError, match=r"says in its position.*rename_collection"):
        menagerie.migrate(applied)
    assert snapshot(applied) == before
    applied["_migrations"].replace_one({"_id": run["_id"]}, run)


@pytest.mark.parametrize("harm", ["a number that is far ahead", "a lease that is gone"])
def test_numbers_that_others_wrote_keep_nobody_from_working(database: Db, harm: str) -> None:
    torture.fill(database)
    for _turn in range(2):
        torture.migrate(database)
        torture.roll_back(database)
    if harm == "a lease that is gone":
        database["_migrations"].delete_one({"_id": "lease"})
    else:
        run = database["_migrations"].find_one({"kind": "run"})
        assert run is not None
        database["_migrations"].insert_one(
            {**run, "_id": "planted", "migration": "999", "number": 2**52, "token": 0}
        )
    assert torture.migrate(database)["phase"] == "applied"
    assert torture.roll_back(database)["phase"] == "rolled_back"


def test_a_run_that_goes_on_names_the_backup_that_was_taken_for_it(database: Db) -> None:
    torture.fill(database)
    torture.migrate(database)
    forged = {"phase": "interrupted", "backup": "external forged", "position": {"step": 0}}
    database["_migrations"].update_one({"kind": "run"}, {"$set": forged})
    job = work.Job(settings=torture.settings(), **torture.common(database))
    migrate.migrate(job, torture.DEFINITION, backup="/backups/taken.tar.gz")
    run = database["_migrations"].find_one({"kind": "run"})
    assert run is not None
    assert (run["phase"], run["backup"]) == ("applied", "/backups/taken.tar.gz")
