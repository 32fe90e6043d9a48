"""The lease: one process works, others are told who; one that slept through it writes nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from typing import Any

import pytest
from bson.timestamp import Timestamp
from mongo_migration.errors import (
    InterruptedRunError,
    LeaseHeldError,
    LeaseLostError,
    MigrationError,
)
from mongo_migration.ledger import lease
from mongo_migration.ledger.journal import Journal
from mongo_migration.support import retry
from mongo_migration.support.stop import StopSignal
from pymongo.errors import AutoReconnect

from embedded.mongod import ReplicaSet, Standalone
from tests.support import torture
from tests.support.driver import Job
from tests.support.snapshot import snapshot
from tests.support.torture import Db, assert_journal_exact, assert_same, assert_verified

PAUSE_SECONDS = 0.15
HOUR = 3600.0
ME = {"user": "anna", "host": "here", "pid": 1}


def job(uri: str, db: Db, **more: Any) -> Job:
    settings = {
        "batch_size": torture.BATCH,
        "pause_seconds": PAUSE_SECONDS,
        "lease_seconds": 2,
        **more.pop("settings", {}),
    }
    return Job(uri=uri, database=db.name, text=torture.DOCUMENT, settings=settings, **more)


def runs(db: Db) -> list[dict[str, Any]]:
    return list(db["_migrations"].find({"kind": "run"}))


@pytest.mark.parametrize("number", [2, pytest.param(10, marks=pytest.mark.torture)])
def test_of_simultaneous_migrations_exactly_one_works(
    replica_set: ReplicaSet, database: Db, number: int
) -> None:
    torture.fill(database)
    before = torture.state(database)
    started = [torture.Process(job(replica_set.uri(), database)) for _ in range(number)]
    try:
        done = [process.end() for process in started]
    finally:
        for process in started:
            process.popen.kill()
    worked = [each["result"] for each in done if each.get("result", {}).get("changed")]
    refused = [each for each in done if "error" in each]
    assert len(worked) == 1
    assert len(runs(database)) == 1
    assert len(refused) >= (1 if number == 2 else number // 2)
    for each in refused:
        assert each["error"] == "LeaseHeldError"
        assert "tester@testhost (pid " in each["message"]
        assert "since 20" in each["message"]
        assert "migrate 901 torture" in each["message"]
        assert "status.yml" in each["message"]
        assert each["details"]["holder"]["pid"] in {process.popen.pid for process in started}
    assert_journal_exact(database, before[0])
    assert_verified(database)
    torture.roll_back(database)
    assert_same(before, torture.state(database))


def test_a_rollback_waits_for_nobody_who_works(replica_set: ReplicaSet, database: Db) -> None:
    torture.fill(database)
    with torture.process(job(replica_set.uri(), database)) as process:
        process.wait_for_batches(2)
        with pytest.raises(LeaseHeldError, match="holds the lease"):
            torture.roll_back(database)
        assert process.end()["result"]["phase"] == "applied"


@pytest.mark.parametrize(
    ("kind", "action"),
    [
        ("replica_set", "migrate"),
        ("standalone", "rollback"),
        pytest.param("replica_set", "rollback", marks=pytest.mark.torture),
        pytest.param("standalone", "migrate", marks=pytest.mark.torture),
    ],
)
def test_a_process_that_slept_through_its_lease_writes_nothing(
    request: pytest.FixtureRequest, kind: str, action: str
) -> None:
    servers: ReplicaSet | Standalone = request.getfixturevalue(kind)
    database: Db = request.getfixturevalue(
        "database" if kind == "replica_set" else "standalone_database"
    )
    torture.fill(database)
    before = torture.state(database)
    with torture.process(job(servers.uri(), database)) as process:
        process.wait_for_batches(3)
        process.send(signal.SIGSTOP)
        time.sleep(2.2)
        if action == "migrate":
            torture.migrate(database)
        else:
            torture.roll_back(database)
        left = snapshot(database, own=True)
        written = last_write(database)
        process.send(signal.SIGCONT)
        done = process.end(30)
    assert done["error"] == "LeaseLostError", done
    assert done["details"]["next"]
    assert snapshot(database, own=True) == left
    if kind == "replica_set":
        assert last_write(database) == written
    if action == "migrate":
        assert_journal_exact(database, before[0])
        assert_verified(database)
        torture.roll_back(database)
    assert_same(before, torture.state(database))


def last_write(db: Db) -> Timestamp | None:
    """Return when the oplog last saw this database, if there is an oplog."""
    oplog = db.client["local"]["oplog.rs"]
    pattern = f"^{db.name}[.]"
    entry = oplog.find_one(
        {"$or": [{"ns": {"$regex": pattern}}, {"o.applyOps.ns": {"$regex": pattern}}]},
        sort=[("$natural", -1)],
    )
    return entry["ts"] if entry else None


@pytest.mark.parametrize("point", range(1, 8))
@pytest.mark.torture
def test_a_process_stopped_at_any_time_writes_nothing_after_another_took_over(
    replica_set: ReplicaSet, database: Db, point: int
) -> None:
    torture.fill(database)
    before = torture.state(database)
    with torture.process(job(replica_set.uri(), database, settings={"pause_seconds": 0})) as it:
        it.wait_for_batches(1)
        time.sleep(point * 0.017)
        it.send(signal.SIGSTOP)
        time.sleep(2.2)
        torture.roll_back(database)
        left = snapshot(database, own=True)
        it.send(signal.SIGCONT)
        done = it.end(30)
    assert done.get("error") == "LeaseLostError" or done["result"]["phase"] == "applied"
    assert snapshot(database, own=True) == left
    assert_same(before, torture.state(database))


@pytest.mark.parametrize("hours", [-26, pytest.param(26, marks=pytest.mark.torture)])
def test_a_wrong_clock_neither_steals_nor_loses_the_lease(
    replica_set: ReplicaSet, database: Db, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torture.fill(database)
    right = time.time
    with torture.process(job(replica_set.uri(), database, clock_ahead=hours * HOUR)) as process:
        process.wait_for_batches(1)
        with pytest.raises(LeaseHeldError):
            torture.migrate(database)
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: right() - 2 * hours * HOUR)
            with pytest.raises(LeaseHeldError):
                torture.migrate(database)
        assert process.end()["result"]["phase"] == "applied"
    run = max(runs(database), key=lambda each: each["number"])
    now = database.client.admin.command("hello")["localTime"]
    assert abs((now.replace(tzinfo=UTC) - run["started"]).total_seconds()) < HOUR / 2
    assert_verified(database)


@pytest.mark.torture
def test_a_holder_that_slept_goes_on_if_nobody_took_over(
    replica_set: ReplicaSet, database: Db
) -> None:
    torture.fill(database)
    with torture.process(job(replica_set.uri(), database)) as process:
        process.wait_for_batches(2)
        process.send(signal.SIGSTOP)
        time.sleep(2.5)
        process.send(signal.SIGCONT)
        assert process.end(30)["result"]["phase"] == "applied"
    assert_verified(database)


def test_a_stop_ends_the_wait_for_a_lease_of_somebody_who_may_have_died(database: Db) -> None:
    """It would last for a minute, since nobody can tell who sleeps from who died elsewhere."""
    other = {"user": "bob", "host": "elsewhere", "pid": os.getpid()}
    with lease.hold(database, purpose="migrate 901", holder=other, seconds=60) as held:
        held._stop.set()  # its heart stands still
        before, stop, told = database["_migrations"].find_one({"_id": "lease"}), StopSignal(), []

        def hear(event: dict[str, Any]) -> None:
            told.append(event)
            stop.ask("SIGINT received")

        patience = retry.Patience.telling(hear, "lease", 60, stop)
        with (
            pytest.raises(InterruptedRunError, match="SIGINT received"),
            lease.hold(database, purpose="p", holder=ME, seconds=60, patience=patience),
        ):
            pytest.fail("it was taken")
        assert "waiting for the lease of bob@elsewhere" in str(told)
        assert database["_migrations"].find_one({"_id": "lease"}) == before


def test_each_taking_has_a_greater_token(database: Db) -> None:
    tokens = []
    for _ in range(3):
        with lease.hold(database, purpose="test", holder={"pid": os.getpid()}, seconds=5) as held:
            tokens.append(held.token)
            assert lease.last_token(database) == held.token
    assert tokens == [1, 2, 3]
    assert lease.read(database) is None


def test_many_threads_take_turns_and_never_two_at_once(database: Db) -> None:
    inside, most, lock = 0, 0, threading.Lock()

    def take(_number: int) -> bool:
        nonlocal inside, most
        try:
            with lease.hold(database, purpose="test", holder={"pid": os.getpid()}, seconds=0.6):
                with lock:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.05)
                with lock:
                    inside -= 1
        except LeaseHeldError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        took = list(pool.map(take, range(8)))
    assert any(took)
    assert most == 1


def test_a_lost_lease_is_said_before_the_next_write(database: Db) -> None:
    with lease.hold(database, purpose="test", holder={"pid": os.getpid()}, seconds=0.4) as held:
        held.check()
        database["_migrations"].update_one({"_id": "lease"}, {"$inc": {"token": 1}})
        time.sleep(0.5)
        with pytest.raises(LeaseLostError, match="lost its lease"):
            held.check()


def test_waiting_for_a_primary_ends_at_the_deadline_and_says_why() -> None:
    now = 0.0
    said: list[str] = []

    class Patient(StopSignal):
        def wait(self, seconds: float) -> None:
            nonlocal now
            now += seconds

    def attempt() -> None:
        raise AutoReconnect("connection refused")

    with pytest.raises(
        MigrationError, match="No progress for 60 s, waiting for a primary: connection refused"
    ) as raised:
        retry.retry_until_deadline(
            attempt,
            progressed=lambda: 0,
            recover=lambda: None,
            seconds=60,
            stop=Patient(),
            waiting=said.append,
            clock=lambda: now,
        )
    assert "it resumes" in raised.value.message
    assert now == pytest.approx(60, abs=0.1)
    assert said[0].startswith("waiting for a primary, 60 s left: connection refused")
    assert len(said) < 20  # the pauses grow


@pytest.mark.parametrize("settled", [False, True])
def test_a_journal_entry_left_by_a_sleeper_goes_unless_who_took_over_has_settled_it(
    standalone_database: Db, monkeypatch: pytest.MonkeyPatch, settled: bool
) -> None:
    db = standalone_database
    torture.fill(db)
    before = torture.state(db)
    left: dict[Any, Any] = {}
    write = Journal.write

    def sleep_through(
        journal: Journal, entry: dict[str, Any], session: Any, **options: Any
    ) -> None:
        """Lose the lease right after, or right before, the journal entry is written."""
        if entry["seq"] != 3:
            return write(journal, entry, session, **options)
        monkeypatch.setattr(Journal, "write", write)
        if settled:
            write(journal, entry, session, **options)
        time.sleep(0.7)
        torture.roll_back(db)
        left.update(snapshot(db, own=True))
        return None if settled else write(journal, entry, session, **options)

    # A holder whose heart doesn't beat: what SIGSTOP does to a whole process.
    monkeypatch.setattr(lease.Lease, "_beat", lambda _self: None)
    monkeypatch.setattr(Journal, "write", sleep_through)
    with pytest.raises(LeaseLostError):
        torture.migrate(db, lease_seconds=0.5)
    assert snapshot(db, own=True) == left
    assert_same(before, torture.state(db))
