"""Applications that go on writing: what they wrote is never overwritten, only ours is undone."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bson
import pytest
from bson import ObjectId
from mongo_migration.document import definition
from mongo_migration.errors import InterruptedRunError, MigrationError
from mongo_migration.values.compare import hashable

from embedded.mongod import ReplicaSet
from tests.support import torture
from tests.support.torture import ORGANIZATIONS, USERS, Db, home_of

DOCUMENTS = 400
# They set what they alone know, which contradicts an owner, also before the plan looks.
BESIDE_THEM = definition.load(
    torture.DOCUMENT.replace(
        "bills: createdBy}\n", "bills: createdBy}\n      when_contradicted: skip\n"
    ),
    "torture.yml",
)


class Application:
    """An old and a new release at once, on `items`; it remembers what was acknowledged."""

    def __init__(self, db: Db, seed: int) -> None:
        self._items = db["items"]
        self._dice = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.written: dict[bytes, ObjectId] = {}  # values that the new release wrote
        self.deleted: set[bytes] = set()
        self.inserted: dict[bytes, ObjectId | None] = {}  # with the value that they came with
        self.owners: dict[bytes, set[ObjectId]] = {}  # homes of the owners that documents had
        self.operations = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stop.is_set():
            dice = self._dice.random()
            if dice < 0.25:
                self._insert(None)
            elif dice < 0.4:
                self._insert(self._dice.choice(ORGANIZATIONS))
            else:
                self._touch(dice)
            self.operations += 1
            time.sleep(0.004)

    def _insert(self, organization: ObjectId | None) -> None:
        owner = self._dice.choice(USERS)
        document = {"_id": ObjectId(), "name": "new", "owner": owner}
        if self._dice.random() < 0.5:  # also behind the walk, which goes along _id
            document["_id"] = ObjectId(f"00{self._dice.randbytes(11).hex()}")
        if organization:
            document["organizationId"] = organization
        self._items.insert_one(document)
        self.inserted[hashable(document["_id"])] = organization
        self.owners[hashable(document["_id"])] = {home_of(owner)}

    def _touch(self, dice: float) -> None:
        found = list(self._items.aggregate([{"$sample": {"size": 1}}]))
        if not found:
            return
        key = hashable(found[0]["_id"])
        mine = {"_id": found[0]["_id"]}
        if dice < 0.7:  # the new release sets the field, to what it alone knows
            value = self._dice.choice(ORGANIZATIONS)
            if self._items.update_one(mine, {"$set": {"organizationId": value}}).matched_count:
                self.written[key] = value
        elif dice < 0.9:  # the old release gives a document to another user
            owner = self._dice.choice(USERS)
            self.owners.setdefault(key, {home_of(found[0]["owner"])}).add(home_of(owner))
            self._items.update_one(mine, {"$set": {"owner": owner}})
        else:
            self._items.delete_one(mine)
            self.deleted.add(key)


@contextmanager
def applications(db: Db, number: int) -> Iterator[list[Application]]:
    running = [Application(db, seed) for seed in range(number)]
    for each in running:
        each.start()
    try:
        yield running
    finally:
        for each in running:
            each.stop()


def by_key(db: Db) -> dict[bytes, dict[str, Any]]:
    return {hashable(item["_id"]): item for item in db["items"].find()}


def journalled(db: Db) -> dict[bytes, dict[str, Any]]:
    """Return what the journal says of items, each once."""
    found: dict[bytes, dict[str, Any]] = {}
    for entry in db["_migrations_journal"].find({"collection": "items", "kind": "set_field"}):
        for group in entry["groups"]:
            for identity in group["ids"]:
                assert hashable(identity) not in found
                found[hashable(identity)] = group
    return found


def converge(db: Db, number: int, documents: int, **settings: Any) -> None:
    torture.fill(db, documents)
    before = by_key(db)
    with applications(db, number) as running:
        done = torture.migrate(db, definition=BESIDE_THEM, **settings)
        assert done["phase"] == "applied"
        assert all(each.operations > 5 for each in running)
    now, ours = by_key(db), journalled(db)
    written = {key: value for each in running for key, value in each.written.items()}
    inserted = {key: value for each in running for key, value in each.inserted.items()}
    owners: dict[bytes, set[ObjectId]] = {}
    for each in running:
        for key, homes in each.owners.items():
            owners.setdefault(key, set()).update(homes)
    several = {key for key in written if sum(key in each.written for each in running) > 1}
    left = 0
    for key, item in now.items():
        value = item.get("organizationId")
        if key in written:
            if key not in several:  # two applications: who was the last isn't known here
                assert value == written[key], item
        elif inserted.get(key):
            assert value == inserted[key], item
            assert key not in ours
        elif key in ours:
            assert value == ours[key]["value"]
            assert value in owners.get(key, {home_of(item["owner"])})
        else:
            left += value not in ORGANIZATIONS
    # What came after the last look only: no more than was inserted in the meantime.
    assert left <= max(20, len(inserted) // 2)
    assert len(ours) > documents // 2
    undo(db, before, now, ours)


def undo(
    db: Db, before: dict[bytes, Any], now: dict[bytes, Any], ours: dict[bytes, dict[str, Any]]
) -> None:
    """Roll back: what still holds our value gets its own back, all else stays as it is."""
    done = torture.roll_back_by(db, BESIDE_THEM)
    after = by_key(db)
    assert after.keys() == now.keys()
    conflicts = 0
    for key, item in after.items():
        entry = ours.get(key)
        if entry is None:
            assert item == now[key]
            continue
        mine = now[key].get("organizationId") == entry["value"]
        conflicts += not mine
        expected = dict(now[key])
        if mine:
            expected.pop("organizationId")
            if "before" in entry:
                expected["organizationId"] = entry["before"]
            if key in before:
                assert entry.get("before") == before[key].get("organizationId")
        assert item == expected
    gone = sum(1 for key in ours if key not in now)
    assert done["conflict_count"] == conflicts + gone


def test_a_live_migration_converges_and_overwrites_nothing(database: Db) -> None:
    converge(database, 1, DOCUMENTS, batch_size=20, pause_seconds=0.01)


@pytest.mark.torture
@pytest.mark.parametrize("batch_size", [7, 50, 200])
def test_live_migrations_with_several_writers(database: Db, batch_size: int) -> None:
    converge(database, 4, 3 * DOCUMENTS, batch_size=batch_size)


def test_an_owner_that_changes_after_the_reading_counts(database: Db) -> None:
    torture.fill(database, 60)
    moved: list[Any] = []

    def watch(event: dict[str, Any]) -> None:
        if event.get("collection") == "items" and event.get("kind") == "set_field" and not moved:
            time.sleep(0.3)  # the next batch is read by now
            new = USERS[1]
            left = {"organizationId": {"$nin": ORGANIZATIONS}, "owner": {"$ne": new}}
            moved.extend(item["_id"] for item in database["items"].find(left))
            database["items"].update_many(left, {"$set": {"owner": new}})

    torture.migrate(database, progress=watch)
    assert len(moved) > torture.BATCH
    for item in database["items"].find({"_id": {"$in": moved}}):
        assert item["organizationId"] == home_of(USERS[1])


def test_a_run_that_was_killed_looks_behind_itself(replica_set: ReplicaSet, database: Db) -> None:
    del replica_set
    torture.fill(database, 60)
    stop = torture.StopSignal()

    def watch(event: dict[str, Any]) -> None:
        if event.get("collection") == "items" and event.get("kind") == "set_field":
            stop.ask("to be resumed")

    with pytest.raises(InterruptedRunError):
        torture.migrate(database, stop=stop, progress=watch)
    # The only candidates that are left were written behind the walk.
    database["items"].delete_many({"organizationId": {"$nin": ORGANIZATIONS}})
    database["items"].insert_one({"_id": -1, "owner": USERS[0]})
    torture.migrate(database)
    item = database["items"].find_one({"_id": -1})
    assert item is not None
    assert item["organizationId"] == home_of(USERS[0])


def test_who_takes_the_field_away_again_and_again_ends_the_run_with_a_word(database: Db) -> None:
    torture.fill(database)
    before = torture.state(database)

    def take_away(event: dict[str, Any]) -> None:
        if event.get("collection") == "items":
            gone = {"$unset": {"organizationId": ""}}
            database["items"].update_one({"name": "items 0"}, gone)

    with pytest.raises(MigrationError, match="organizationId is taken away again") as raised:
        torture.migrate(database, progress=take_away)
    assert raised.value.details["phase"] == "failed"
    torture.migrate(database)
    torture.assert_verified(database)
    torture.roll_back(database)
    torture.assert_same(before, torture.state(database))


# -- what the server refuses -------------------------------------------------------------------


def test_a_validator_that_rejects_stops_before_the_batch_and_can_be_mended(database: Db) -> None:
    torture.fill(database)
    before = torture.state(database)
    rule = {"$or": [{"name": {"$ne": "items 15"}}, {"organizationId": {"$not": {"$type": 7}}}]}
    interrupt_after_the_plan(database)
    database.command("collMod", "items", validator=rule)
    error = refused(database)
    assert "validator rejects" in error.message
    assert error.details["code"] == 121
    assert_nothing_of_the_batch(database, 15)
    database.command("collMod", "items", validator={})
    assert torture.migrate(database)["run"] == error.details["run"]
    torture.assert_journal_exact(database, before[0])
    torture.assert_verified(database)
    torture.roll_back(database)
    torture.assert_same(before, torture.state(database))


@pytest.mark.usefixtures("roomy")
def test_a_document_that_grew_to_16_mb_since_the_plan_stops_before_the_batch(database: Db) -> None:
    torture.fill(database)
    before = torture.state(database)
    interrupt_after_the_plan(database)
    grown = {"name": "items 18"}
    room = (16 << 20) - len(bson.encode(database["items"].find_one(grown) or {}))
    database["items"].update_one(grown, {"$set": {"blob": bytes(room - 20)}})
    error = refused(database)
    assert "larger than MongoDB's 16 MB" in error.message
    assert_nothing_of_the_batch(database, 18)
    database["items"].update_one(grown, {"$unset": {"blob": ""}})
    assert torture.migrate(database)["run"] == error.details["run"]
    torture.assert_verified(database)
    torture.roll_back(database)
    torture.assert_same(before, torture.state(database))


def test_a_unique_index_that_rejects_stops_before_the_batch_and_can_be_mended(database: Db) -> None:
    torture.fill(database)
    before = torture.state(database)
    interrupt_after_the_plan(database)
    database["items"].create_index(
        [("organizationId", 1), ("owner", 1)],
        unique=True,
        partialFilterExpression={"organizationId": {"$type": "objectId"}, "tail": {"$gte": 12}},
        name="in_the_way",
    )
    error = refused(database)
    assert "unique index rejects" in error.message
    assert "in_the_way" in error.message
    database["items"].drop_index("in_the_way")
    assert torture.migrate(database)["run"] == error.details["run"]
    torture.assert_journal_exact(database, before[0])
    torture.assert_verified(database)
    torture.roll_back(database)
    torture.assert_same(before, torture.state(database))


def interrupt_after_the_plan(db: Db) -> None:
    stop = torture.StopSignal()

    def ask(event: dict[str, Any]) -> None:
        if event.get("kind") == "set_field":
            stop.ask("something is changed that the plan has looked at")

    with pytest.raises(InterruptedRunError):
        torture.migrate(db, stop=stop, progress=ask)


def refused(db: Db) -> Any:
    with pytest.raises(MigrationError) as raised:
        torture.migrate(db)
    error = raised.value
    assert "Nothing of this batch was written" in error.message
    assert error.details["phase"] == "failed"
    assert error.details["next"] == "ansible-playbook migrate-901.yml"
    run = db["_migrations"].find_one({"kind": "run"})
    assert run is not None
    assert run["phase"] == "failed"
    assert run["error"] in error.message
    return error


def assert_nothing_of_the_batch(db: Db, number: int) -> None:
    ours = journalled(db)
    item = db["items"].find_one({"name": f"items {number}"})
    assert item is not None
    assert hashable(item["_id"]) not in ours
    assert len(ours) % torture.BATCH == 0
    for key, group in ours.items():
        assert by_key(db)[key]["organizationId"] == group["value"]
