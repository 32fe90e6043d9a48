"""A document that no driver can read is named, by whatever meets it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from mongo_migration import argument_specs, module_runner
from mongo_migration.errors import MigrationError
from mongo_migration.procedures import adopt, journal_summary, plan, rollback, status, verify
from pymongo import MongoClient
from pymongo.database import Database

from embedded.mongod import ReplicaSet
from tests.support import torture
from tests.support.snapshot import snapshot

Db = Database[dict[str, Any]]
Client = MongoClient[dict[str, Any]]
MARK, SHOWN = b"MARK", r"\xff\xfe"


class EndedError(Exception):
    """What a module told Ansible."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Module:
    """The part of Ansible's own that a module of ours needs."""

    check_mode = False

    def __init__(self, uri: str, database: str) -> None:
        options = argument_specs.CONNECTION_OPTIONS.items()
        defaults = {name: option.get("default") for name, option in options}
        self.params = {**defaults, "uri": uri, "database": database}
        self.no_log_values: set[str] = set()

    def exit_json(self, **result: Any) -> Any:
        raise EndedError(f"ended well: {result}")

    def fail_json(self, msg: str, **_result: Any) -> Any:
        raise EndedError(msg)

    def warn(self, warning: str) -> None:
        raise AssertionError(warning)


def told(uri: str, database: str, work: Callable[[Client], Any]) -> str:
    """Return what a module says that does *work*."""
    with pytest.raises(EndedError) as ended:
        module_runner.run(Module(uri, database), lambda client, _module: {"done": work(client)})
    return ended.value.message


def unreadable(document: dict[str, Any]) -> RawBSONDocument:
    """Return *document* with bytes that aren't UTF-8 where it says MARK, as a client may send."""
    return RawBSONDocument(bson.encode(document).replace(MARK, b"\xff\xfe--"))


def put(db: Db, where: str, document: dict[str, Any]) -> None:
    """Write it as the application's user can, in place of what is there."""
    db[where].delete_one({"_id": document["_id"]})
    db[where].with_options(codec_options=db.codec_options).insert_one(unreadable(document))


def common(client: Client, db: Db) -> dict[str, Any]:
    return {"client": client, "database": db.name}


OURS: dict[str, tuple[Callable[[Db], None], Callable[[Client, Db], Any]]] = {
    "another run": (
        lambda db: put(db, "_migrations", {"_id": "planted", "kind": "run", "name": "MARK"}),
        lambda client, db: status.describe(definition=None, **common(client, db)),
    ),
    "the lease": (
        lambda db: put(db, "_migrations", {"_id": "lease", "token": 1, "purpose": "MARK"}),
        lambda client, db: torture.roll_back(client[db.name]),
    ),
    "maintenance mode": (
        lambda db: put(db, "_migrations", {"_id": "maintenance", "on": True, "reason": "MARK"}),
        lambda client, db: status.describe(definition=None, **common(client, db)),
    ),
    "what was adopted": (
        lambda db: put(db, "_migrations", {"_id": "a", "kind": "adopted", "by": {"MARK": 1}}),
        lambda client, db: adopt.plan(client, db.name),
    ),
    "an entry, rolled back": (
        lambda db: put(db, "_migrations_journal", {**_entry(db), "note": [{"a": "MARK"}]}),
        lambda client, db: torture.roll_back(client[db.name]),
    ),
    "an entry, planned": (
        lambda db: put(db, "_migrations_journal", {**_entry(db), "note": "MARK"}),
        lambda client, db: rollback.plan(client[db.name], "901", torture.DEFINITION),
    ),
    "an entry, verified": (
        lambda db: put(db, "_migrations_journal", {**_entry(db), "note": "MARK"}),
        lambda client, db: verify.verify(definition=torture.DEFINITION, **common(client, db)),
    ),
    "an entry, in the evidence": (
        lambda db: put(db, "_migrations_journal", {**_entry(db), "note": "MARK"}),
        lambda client, db: journal_summary.describe(**common(client, db)),
    ),
}


def _entry(db: Db) -> dict[str, Any]:
    found = db["_migrations_journal"].find_one({"kind": "set_field"})
    assert found is not None
    return found


@pytest.mark.parametrize("what", OURS)
def test_our_own_record_that_cannot_be_read_is_named(
    what: str, database: Db, migrator_uri: str
) -> None:
    torture.fill(database)
    torture.migrate(database)
    plant, work = OURS[what]
    plant(database)
    before = snapshot(database)

    message = told(migrator_uri, database.name, lambda client: work(client, database))

    assert f"{database.name}._migrations" in message
    assert "can't be read" in message
    assert SHOWN in message
    assert "docs/privileges.md" in message
    assert snapshot(database) == before


def test_a_document_of_the_application_that_cannot_be_read_is_named_with_its_field(
    database: Db, migrator_uri: str
) -> None:
    torture.fill(database)
    put(database, "organizations", {"_id": 55, "name": "MARK", "x": [1]})

    message = told(
        migrator_uri,
        database.name,
        lambda client: plan.make(client, database.name, torture.DEFINITION),
    )

    assert f"{database.name}.organizations 55 can't be read" in message
    assert f"field 'name' isn't UTF-8 ('{SHOWN}--')" in message


def test_a_run_that_meets_one_says_which_and_goes_on_once_it_is_put_right(
    replica_set: ReplicaSet, database: Db
) -> None:
    torture.fill(database)
    put(database, "items", {"_id": "MARK", "owner": torture.USERS[0]})

    with pytest.raises(MigrationError, match=r"items .* can't be read") as stopped:
        torture.migrate(database)

    assert "isn't UTF-8" in stopped.value.message
    assert database["_migrations"].find_one({"kind": "run"}, {"phase": 1})["phase"] == "failed"
    database["items"].delete_one({"owner": torture.USERS[0], "name": {"$exists": False}})
    assert torture.migrate(database)["phase"] == "applied"


def test_a_binary_value_that_contradicts_itself_is_named_too(
    database: Db, migrator_uri: str
) -> None:
    """The old kind of binary says its length twice, and the server compares them with nothing."""
    torture.fill(database)
    value = (
        b"\x05period\0" + (6).to_bytes(4, "little") + b"\x02" + (9).to_bytes(4, "little") + b"ab"
    )
    fields = bson.encode({"_id": 56})[4:-1] + value + b"\0"
    database["entries"].insert_one(
        RawBSONDocument((len(fields) + 4).to_bytes(4, "little") + fields)
    )

    message = told(
        migrator_uri,
        database.name,
        lambda client: plan.make(client, database.name, torture.DEFINITION),
    )

    assert f"{database.name}.entries" in message
    assert "can't be read" in message
