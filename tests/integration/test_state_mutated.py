"""Any part of our state may be put wrong: then there is one clear error, and no harm.

Seeded, so that a failure comes again; ``MUTATIONS=200`` tries so many of each state.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from bson.errors import BSONError
from mongo_migration.document.definition import Definition
from mongo_migration.errors import MigrationError
from mongo_migration.ledger.state_format import StateError
from mongo_migration.operations.registry import ENTRY_KINDS
from mongo_migration.procedures import journal_summary, migrate, rollback, status, verify, work
from mongo_migration.support.stop import StopSignal
from mongo_migration.values import ejson
from pymongo.database import Database
from pymongo.errors import PyMongoError

from tests.integration.test_state_1_0 import FOLDER, MERGE
from tests.integration.test_state_1_0 import load as load_1_0
from tests.support import menagerie, mutations, torture
from tests.support.migrations import Deployment
from tests.support.snapshot import Snapshot, snapshot

Db = Database[dict[str, Any]]
MUTATIONS = int(os.environ.get("MUTATIONS", "6"))
# Nothing of theirs is any migration's business here.
BYSTANDERS = ("organizations", "users", "bystanders")
PHASES = ("applied", "interrupted", "rolling_back", "rolled_back")


def stopping(after: int) -> tuple[StopSignal, Callable[[dict[str, Any]], None]]:
    """Give a stop that is asked for with the event of that number."""
    stop, seen = StopSignal(), iter(range(after))

    def progress(_event: dict[str, Any]) -> None:
        if next(seen, None) is None:
            stop.ask("a test")

    return stop, progress


def change(db: Db, what: Definition, *, back: bool, after: int = 10**6, **more: Any) -> Any:
    """Migrate, or roll back; stop after some events."""
    settings = torture.settings(batch_size=3)
    job = work.Job(settings=settings, **torture.common(db, *stopping(after)))
    if back:
        return rollback.roll_back(job, what.id, what, **more)
    return migrate.migrate(job, what)


def leave(db: Db, phase: str, random: Random) -> None:
    """Leave the menagerie in a phase, as today's release does."""
    menagerie.fill(db)
    if phase == "interrupted":
        with pytest.raises(MigrationError, match="Stopped"):
            change(db, menagerie.DEFINITION, back=False, after=random.randrange(5, 20))
        return
    change(db, menagerie.DEFINITION, back=False)
    if phase == "rolling_back":
        with pytest.raises(MigrationError, match="Stopped"):
            change(db, menagerie.DEFINITION, back=True, after=random.randrange(2, 12))
    if phase == "rolled_back":
        change(db, menagerie.DEFINITION, back=True)


def empty(db: Db) -> None:
    """Drop all that is in the database."""
    for name in db.list_collection_names():
        db.drop_collection(name)


def readers(db: Db, what: Definition) -> Iterator[Callable[[], Any]]:
    """What looks at the state and changes nothing."""
    common: dict[str, Any] = {"client": db.client, "database": db.name}
    yield lambda: status.describe(definition=what, **common)
    yield lambda: journal_summary.describe(migration=what.id, **common)
    yield lambda: rollback.plan(db, what.id, what)
    for expect in ("applied", "rolled_back"):
        yield lambda wanted=expect: verify.verify(
            definition=what, record=False, expect=wanted, **common
        )


def outcome(attempt: Callable[[], Any]) -> MigrationError | None:
    """Return the one clear error; whatever else is raised fails the test."""
    try:
        json.dumps(ejson.to_plain(attempt()))
    except MigrationError as error:
        assert not re.match("Unforeseen|MongoDB:", error.message), error.message
        json.dumps(ejson.to_plain(error.details))
        return error
    return None


def assert_harmless(db: Db, what: Definition, random: Random) -> bool:
    """Put one document wrong and try everything; return whether the state is as before."""
    place = random.choice(("_migrations", "_migrations_journal", "_migrations_journal"))
    documents = list(db[place].find({"$or": [{"kind": "run"}, {"run": {"$exists": True}}]}))
    if not documents:
        return True
    document = random.choice(documents)
    but = ("_id", "definition", *(("kind", "migration") if place == "_migrations" else ()))
    wrong, words = mutations.one(document, random, but=but)
    with suppress(PyMongoError, BSONError):  # the server itself refuses what can't be stored
        db[place].replace_one({"_id": document["_id"]}, wrong)
    before = snapshot(db)
    known = (ejson.short(document["_id"]), str(document.get("run", document["_id"])))
    said = f"{place} {document.get('kind')} {words}"

    for attempt in readers(db, what):
        error = outcome(attempt)
        if isinstance(error, StateError):
            assert any(name in error.message for name in known), said
        assert snapshot(db) == before, said

    back = random.random() < 0.7
    policy = {"on_conflict": random.choice(["keep", "restore", "fail"])} if back else {}
    error = outcome(lambda: change(db, what, back=back, **policy))
    after = snapshot(db)
    _assert_no_harm(before, after, error, said, back=back)
    db[place].replace_one({"_id": document["_id"]}, document, upsert=True)
    return isinstance(error, StateError) and after == before


def _assert_no_harm(
    before: Snapshot, after: Snapshot, error: MigrationError | None, said: str, *, back: bool
) -> None:
    for name in BYSTANDERS:
        assert after.get(name) == before.get(name), said
    if back and isinstance(error, StateError):
        assert after == before, said


@pytest.mark.parametrize("phase", PHASES)
def test_todays_state(phase: str, deployment: Deployment) -> None:
    random = Random(phase)
    db = deployment.client[deployment.data.name]
    leave(db, phase, random)
    if phase == "applied":
        kinds = set(db["_migrations_journal"].distinct("kind"))
        assert kinds == set(ENTRY_KINDS) - {"void"}, "add a step of the new kind to the menagerie"
    for _number in range(MUTATIONS):
        if not assert_harmless(db, menagerie.DEFINITION, random):
            empty(db)
            leave(db, phase, random)


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.json")))
def test_state_of_1_0(name: str, deployment: Deployment) -> None:
    random = Random(name)
    what = MERGE if name.endswith("merged") else torture.DEFINITION
    db = deployment.client[deployment.data.name]
    load_1_0(db, name)
    for _number in range(MUTATIONS):
        if not assert_harmless(db, what, random):
            empty(db)
            load_1_0(db, name)
