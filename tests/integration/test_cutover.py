"""Live first, then a short stop of the writers: two halves of one run, killed anywhere."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from mongo_migration.document import definition
from mongo_migration.errors import DefinitionError, MigrationError
from mongo_migration.procedures import cutover, verify
from pymongo import monitoring

from embedded.mongod import Deployment, ReplicaSet
from tests.support import databases, torture
from tests.support.driver import Job
from tests.support.maintenance import without_block
from tests.support.torture import ORGANIZATIONS, USERS, Db, assert_same, home_of

Maker = Callable[[], Any]
LIVE = {"until": "caught_up"}
FINAL = {"writers_stopped": True}


@pytest.fixture
def make_database(replica_set: ReplicaSet) -> Any:
    with replica_set.client() as admin:
        yield lambda: databases.fresh(admin, roles=False)


def run_of(db: Db) -> dict[str, Any]:
    found = db["_migrations"].find_one({"kind": "run"}, sort=[("number", -1)])
    assert found
    return dict(found)


def straggler(db: Db) -> tuple[Any, ObjectId]:
    """What an old release writes: an item without the field, somewhere behind the walk."""
    identity, owner = ObjectId("00" + random.randbytes(11).hex()), random.choice(USERS)
    db["items"].insert_one({"_id": identity, "name": "late", "owner": owner})
    return identity, home_of(owner)


def test_two_halves_leave_what_one_leaves_and_are_rolled_back_as_one(
    make_database: Maker,
) -> None:
    with make_database() as one, make_database() as two:
        torture.fill(one)
        torture.fill(two)
        before = torture.state(two)
        torture.migrate(one)

        live = torture.migrate(two, **LIVE)
        assert live["phase"] == run_of(two)["phase"] == "caught_up"
        assert_same(torture.plain_state(one), torture.plain_state(two))

        without_block(two, "on")
        final = torture.migrate(two, **FINAL)
        assert final["phase"] == "applied"
        assert final["modified"] == live["modified"]
        torture.assert_verified(two)
        without_block(two, "off")
        assert_same(torture.plain_state(one), torture.plain_state(two))
        torture.assert_journal_exact(two, before[0])

        torture.roll_back(two)
        assert_same(before, torture.state(two))


def test_what_writers_leave_behind_after_the_live_half_is_done_while_they_are_stopped(
    make_database: Maker,
) -> None:
    with make_database() as db:
        torture.fill(db)
        torture.migrate(db, **LIVE)
        late = [straggler(db) for _ in range(7)]
        gone = db["bills"].find_one_and_delete({})
        without_block(db, "on")
        torture.migrate(db, **FINAL)
        torture.assert_verified(db)
        without_block(db, "off")
        for identity, home in late:
            item = db["items"].find_one({"_id": identity})
            assert item
            assert item["organizationId"] == home
        done = torture.roll_back(db)
        assert done["phase"] == "rolled_back"
        assert not db["items"].find_one({"_id": late[0][0]}, {"_id": 0}).get("organizationId")
        assert gone
        assert db["bills"].find_one({"_id": gone["_id"]}) is None


def test_a_final_half_that_was_cut_off_finds_what_was_written_since_then_too(
    make_database: Maker, replica_set: ReplicaSet, tmp_path: Path
) -> None:
    with make_database() as twin:
        torture.fill(twin)
        torture.migrate(twin, **LIVE)
        straggler(twin)
        last = len(commands_of(replica_set, twin, tmp_path, **FINAL))
    with make_database() as db:
        torture.fill(db)
        torture.migrate(db, **LIVE)
        straggler(db)
        # Beyond the first steps, before the end.
        assert died(replica_set, db, die_at=last - 8, **FINAL)
        assert run_of(db)["phase"] == "running"
        # Somebody lets the writers in again, and goes on another day: live, then stopped.
        late = [straggler(db) for _ in range(3)]
        torture.migrate(db, **LIVE)
        late += [straggler(db) for _ in range(3)]
        torture.migrate(db, **FINAL)
        for identity, home in late:
            item = db["items"].find_one({"_id": identity})
            assert item
            assert item["organizationId"] == home
        torture.assert_verified(db)


def test_a_run_that_began_with_stopped_writers_has_no_halves(
    make_database: Maker, replica_set: ReplicaSet, tmp_path: Path
) -> None:
    with make_database() as twin:
        torture.fill(twin)
        last = len(commands_of(replica_set, twin, tmp_path, **FINAL))
    with make_database() as db:
        torture.fill(db)
        without_block(db, "on")
        assert died(replica_set, db, die_at=last - 20, **FINAL)
        assert "baseline" in run_of(db)
        before = torture.state(db)
        torture.migrate(db, **LIVE)
        assert_same(before, torture.state(db))
        assert "cutover" not in run_of(db)
        torture.migrate(db, **FINAL)
        torture.assert_verified(db)


def died(servers: Deployment, db: Db, *, die_at: int, until: str = "applied", **more: Any) -> bool:
    settings = {"batch_size": torture.BATCH, "lease_seconds": 30, **more}
    job = Job(
        uri=servers.uri(),
        database=db.name,
        text=torture.DOCUMENT,
        settings=settings,
        until=until,
        die_at=die_at,
    )
    with torture.process(job) as process:
        return process.end() == {}


def commands_of(servers: Deployment, db: Db, folder: Path, **more: Any) -> list[str]:
    trace = folder / "commands"
    until = more.pop("until", "applied")
    job = Job(
        uri=servers.uri(),
        database=db.name,
        text=torture.DOCUMENT,
        settings={"batch_size": torture.BATCH, "lease_seconds": 30, **more},
        until=until,
        trace=str(trace),
    )
    with torture.process(job) as process:
        assert "result" in process.end()
    return trace.read_text().splitlines()


@pytest.mark.parametrize("half", ["live", "final"])
@pytest.mark.parametrize("number", [3, pytest.param(60, marks=pytest.mark.torture)])
def test_each_half_may_be_killed_at_any_command(
    half: str, number: int, make_database: Maker, replica_set: ReplicaSet, tmp_path: Path
) -> None:
    mine = LIVE if half == "live" else FINAL

    def prepare(db: Db) -> tuple[Any, Any]:
        torture.fill(db)
        before = torture.state(db)
        if half == "final":
            torture.migrate(db, **LIVE)
            db["items"].insert_many(
                [{"_id": f"late {n}", "name": "late", "owner": USERS[0]} for n in range(9)]
            )
        return before

    with make_database() as db:
        prepare(db)
        commands = commands_of(replica_set, db, tmp_path, **mine)
        if half == "live":
            torture.migrate(db, **FINAL)
        wanted = torture.plain_state(db)
    everywhere = range(1, len(commands) + 1)
    for at in sorted(random.Random(5).sample(everywhere, min(number, len(everywhere)))):
        with make_database() as db:
            before = prepare(db)
            assert died(replica_set, db, die_at=at, **mine), (at, commands[at - 1])
            torture.migrate(db, **LIVE)
            torture.migrate(db, **FINAL)
            assert_same(wanted, torture.plain_state(db))
            torture.assert_verified(db)
            torture.roll_back(db)
            db["items"].delete_many({"name": "late"})
            assert_same(before, torture.state(db))


class Asked(monitoring.CommandListener):
    """Notes how many documents of a collection were asked for by name."""

    def __init__(self, collection: str) -> None:
        self._collection = collection
        self.ids = 0

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command.get("find") == self._collection:
            listed = event.command.get("filter", {}).get("_id", {})
            self.ids += len(listed.get("$in", ())) if isinstance(listed, dict) else 0

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing."""


def test_while_writers_are_stopped_only_what_was_written_since_is_proved_again(
    make_database: Maker, replica_set: ReplicaSet
) -> None:
    with make_database() as db:
        torture.fill(db, 600)
        torture.migrate(db, **LIVE)
        straggler(db)
        without_block(db, "on")
        torture.migrate(db, **FINAL)
        name = "every organizationId is as the journal says"

        def proved(*, record: bool) -> int:
            with replica_set.client() as client:
                done = verify.verify(
                    client=client,
                    database=db.name,
                    definition=torture.DEFINITION,
                    operator={},
                    record=record,
                )
            assert done["failures"] == []
            (check,) = [c for c in done["checks"] if c["name"] == f"items: {name}"]
            return int(check["examined"])

        assert proved(record=True) == 1
        # Whoever looks later, looks at all of them.
        assert proved(record=True) > 500
        without_block(db, "off")


def test_a_value_that_somebody_spoilt_meanwhile_ends_the_live_half(make_database: Maker) -> None:
    with make_database() as db:
        torture.fill(db)

        def spoil(event: dict[str, Any]) -> None:
            if event.get("collection") == "bills" and event.get("done", 0):
                db["items"].update_one(
                    {"organizationId": {"$type": "objectId"}, "owner": USERS[0]},
                    {"$set": {"organizationId": wrong}},
                )

        wrong = next(one for one in ORGANIZATIONS if one != home_of(USERS[0]))
        with pytest.raises(MigrationError, match="organizationId is as the journal says"):
            torture.migrate(db, progress=spoil, **LIVE)
        assert run_of(db)["phase"] == "failed"


@pytest.mark.parametrize(
    ("downtime", "more", "kind"),
    [
        ("none", "", "live"),
        ("recommended", "", "live_first"),
        ("required", "", "live_first"),
        ("required", "cutover: stopped", "stopped"),
    ],
)
def test_the_document_and_its_steps_decide_how_it_cuts_over(
    downtime: str, more: str, kind: str
) -> None:
    text = torture.DOCUMENT.replace("downtime: none", f"downtime: {downtime}\n{more}")
    assert cutover.choose(definition.load(text, "torture.yml"))["kind"] == kind


def test_a_step_that_cannot_be_repeated_beside_writers_is_named() -> None:
    text = torture.DOCUMENT.replace("downtime: none", "downtime: required") + (
        "  - create_index: {collections: [items], keys: {name: 1}, options: {unique: true}}\n"
    )
    found = cutover.choose(definition.load(text, "torture.yml"))
    assert found["kind"] == "stopped"
    assert "steps[4].create_index" in found["why"]
    asked = text.replace("downtime: required", "downtime: required\ncutover: live_first")
    with pytest.raises(DefinitionError, match=r"cutover: live_first, but steps\[4\]"):
        cutover.choose(definition.load(asked, "torture.yml"))
