"""Three members, and the primary is killed, frozen or stepped down while the engine works."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mongo_migration.backup import create
from mongo_migration.errors import ConnectionFailedError, InterruptedRunError
from mongo_migration.ledger import lease
from mongo_migration.server.connection import IDLE_MS
from pymongo.errors import PyMongoError

from embedded.mongod import ReplicaSet
from embedded.processes import wait_until
from tests.support import backups, torture
from tests.support.torture import Db, assert_journal_exact, assert_same, assert_verified

# A member is away for longer than an election takes (2 s), so that each fault is a failover.
AWAY_SECONDS = 3.5


@pytest.fixture
def watched(three_members: ReplicaSet, three_database: Db) -> Iterator[Db]:
    """The database, by a client that notices a frozen server soon."""
    with three_members.client(
        connectTimeoutMS=1000,
        serverSelectionTimeoutMS=3000,
        heartbeatFrequencyMS=500,
        maxIdleTimeMS=IDLE_MS,
    ) as client:
        yield client[three_database.name]


class Faults:
    """Does something to the primary at given batches, as a progress sink."""

    def __init__(self, servers: ReplicaSet, plan: dict[int, str]) -> None:
        self._servers = servers
        self._plan = dict(plan)
        self._batches = 0
        self._repair: threading.Timer | None = None
        self.done: list[str] = []
        self.waits: list[str] = []

    def __call__(self, event: dict[str, Any]) -> None:
        if "waiting" in event:
            self.waits.append(event["waiting"])
        if "kind" not in event:
            return
        self._batches += 1
        if fault := self._plan.pop(self._batches, None):
            self.settle()
            getattr(self, fault)(self._servers.wait_for_primary())
            self.done.append(fault)

    def settle(self) -> None:
        """Return when the last fault is repaired."""
        if self._repair:
            self._repair.join()
            self._servers.wait_for_primary()
            self._servers.wait_for_secondaries()

    def kill(self, member: int) -> None:
        self._servers.kill(member)
        self._later(lambda: self._servers.restart(member))

    def freeze(self, member: int) -> None:
        self._servers.pause(member)
        self._later(lambda: self._servers.resume(member))

    def step_down(self, member: int) -> None:
        # The server may close the connection of the one who asks.
        with suppress(PyMongoError), self._servers.direct(member, "admin") as admin:
            admin.admin.command("replSetStepDown", 5, force=True)
        self._later(lambda: None)

    def _later(self, repair: Callable[[], None]) -> None:
        self._repair = threading.Timer(AWAY_SECONDS, repair)
        self._repair.start()


ONCE_EACH = {2: "kill", 6: "freeze", 10: "step_down"}
AGAIN_AND_AGAIN = {n: ("kill", "freeze", "step_down")[n % 3] for n in range(1, 45, 3)} | {
    n + 1: ("step_down", "kill", "freeze")[n % 3] for n in range(1, 45, 3)
}


def survive(
    servers: ReplicaSet,
    db: Db,
    plan: dict[int, str],
    documents: int,
    *,
    writers_stopped: bool = False,
) -> tuple[Any, Any]:
    torture.fill(db, documents)
    before = torture.state(db)
    faults = Faults(servers, plan)
    done = torture.migrate(db, progress=faults, retry_seconds=60, writers_stopped=writers_stopped)
    faults.settle()
    assert done["phase"] == "applied"
    assert sorted(faults.done) == sorted(plan.values())
    assert done["modified"] == torture.changed_by(documents)
    assert_journal_exact(db, before[0])
    assert_verified(db)
    return before, faults


def survive_back(servers: ReplicaSet, db: Db, plan: dict[int, str], before: Any) -> None:
    faults = Faults(servers, plan)
    done = torture.roll_back(db, progress=faults, retry_seconds=60)
    faults.settle()
    assert done["phase"] == "rolled_back"
    assert done["conflict_count"] == 0
    assert sorted(faults.done) == sorted(plan.values())
    assert_same(before, torture.state(db))


def test_no_index_build_waits_for_a_member_that_is_down(
    three_members: ReplicaSet, watched: Db, tmp_path: Path
) -> None:
    torture.fill(watched)
    primary = three_members.wait_for_primary()
    down = next(member for member in range(3) if member != primary)
    three_members.kill(down)
    try:
        assert torture.migrate(watched, retry_seconds=60)["phase"] == "applied"
        assert_verified(watched)
        archive = Path(backups.take(watched.client, watched.name, tmp_path)["archive"])
        hold = partial(lease.hold, purpose="a test", holder={}, seconds=10)
        restored = backups.put_back(
            watched.client, watched.name, archive, hold=hold, keep_state=True
        )
        assert restored["verified"]
    finally:
        three_members.restart(down)
        three_members.wait_for_secondaries()
    with three_members.direct(down, "admin") as member:
        items = member[watched.name]["items"]
        assert wait_until(lambda: "organizationId_1" in items.index_information(), 60)


@pytest.mark.parametrize("writers_stopped", [False, True], ids=["live", "stopped"])
def test_a_migration_and_its_rollback_go_on_through_failovers(
    three_members: ReplicaSet, watched: Db, writers_stopped: bool
) -> None:
    before, faults = survive(three_members, watched, ONCE_EACH, 40, writers_stopped=writers_stopped)
    assert any("waiting for a primary" in line for line in faults.waits)
    survive_back(three_members, watched, {3: "kill", 8: "step_down"}, before)


class KillAt:
    """Kills the primary at the first sign of a phase, as a progress sink."""

    def __init__(self, servers: ReplicaSet, phase: str) -> None:
        self._servers = servers
        self._phase = phase
        self._killed: int | None = None
        self.waits: list[str] = []

    def __call__(self, event: dict[str, Any]) -> None:
        if "waiting" in event:
            self.waits.append(event["waiting"])
        elif event["phase"] == self._phase and self._killed is None:
            self._killed = self._servers.wait_for_primary()
            self._servers.kill(self._killed)

    def settle(self) -> None:
        assert self._killed is not None, f"nothing was told of '{self._phase}'"
        self._servers.restart(self._killed)
        self._servers.wait_for_secondaries()


def test_a_backup_and_a_restore_begin_anew_when_the_primary_is_lost(
    three_members: ReplicaSet, watched: Db, tmp_path: Path
) -> None:
    blob = b"x" * 500_000
    for name in ("items", "bills"):
        watched[name].insert_many([{"_id": n, "blob": blob} for n in range(100)])
    before = torture.state(watched)

    lost = KillAt(three_members, "back up")
    settings = create.Settings(folder=tmp_path, retry_seconds=60)
    taken = create.back_up(watched.client, watched.name, settings, progress=lost)
    lost.settle()
    watched["items"].delete_many({"_id": {"$lt": 50}})
    lost_again = KillAt(three_members, "load")
    backups.put_back(watched.client, watched.name, Path(taken["archive"]), progress=lost_again)
    lost_again.settle()

    assert any("waiting for a primary" in line for line in lost.waits)
    assert any("waiting for a primary" in line for line in lost_again.waits)
    assert [one.name for one in tmp_path.glob("backup-*")] == [Path(taken["archive"]).name]
    assert not list(tmp_path.glob(".unfinished*"))
    assert_same(before, torture.state(watched))


def test_connections_made_while_a_member_was_starting_are_given_up(
    three_members: ReplicaSet, watched: Db
) -> None:
    """Such a connection believes for good that its member has no sessions."""
    torture.fill(watched, 40)
    before = torture.state(watched)
    batches, waits = 0, list[str]()

    def spoil(event: dict[str, Any]) -> None:
        nonlocal batches
        waits.extend([event["waiting"]] if "waiting" in event else [])
        batches += "kind" in event
        if batches == 3 and not waits:
            for server in watched.client._topology._servers.values():
                for connection in server.pool.conns:
                    connection.supports_sessions = False

    done = torture.migrate(watched, progress=spoil, retry_seconds=60)
    assert done["modified"] == torture.changed_by(40)
    assert any("Sessions are not supported" in line for line in waits)
    assert_journal_exact(watched, before[0])
    assert_verified(watched)


@pytest.mark.torture
def test_failovers_again_and_again(three_members: ReplicaSet, watched: Db) -> None:
    before, _faults = survive(three_members, watched, AGAIN_AND_AGAIN, 160)
    survive_back(three_members, watched, AGAIN_AND_AGAIN, before)


def cut_off(servers: ReplicaSet) -> None:
    primary = servers.wait_for_primary()
    for member in {0, 1, 2} - {primary}:
        servers.pause(member)


def restore(servers: ReplicaSet) -> None:
    for member in range(3):
        servers.resume(member)
    servers.wait_for_primary()
    servers.wait_for_secondaries()


def test_without_a_majority_it_gives_up_at_the_deadline_and_resumes_later(
    three_members: ReplicaSet, watched: Db
) -> None:
    torture.fill(watched)
    before = torture.state(watched)
    batches = 0

    def cut(event: dict[str, Any]) -> None:
        nonlocal batches
        batches += "kind" in event
        if batches == 3 and "kind" in event:
            cut_off(three_members)

    began = time.monotonic()
    with pytest.raises(ConnectionFailedError) as raised:
        torture.migrate(watched, progress=cut, retry_seconds=4, lease_seconds=3)
    assert time.monotonic() - began < 60
    error = raised.value
    assert "No progress for 4 s" in error.message
    assert "When that is settled" in error.message
    assert error.details["next"] == "ansible-playbook migrate-901.yml"
    assert error.details["run"].startswith("901-")
    restore(three_members)
    assert torture.migrate(watched)["run"] == error.details["run"]
    assert_journal_exact(watched, before[0])
    assert_verified(watched)
    torture.roll_back(watched)
    assert_same(before, torture.state(watched))


@pytest.mark.torture
def test_a_stop_is_obeyed_while_waiting_for_a_primary(
    three_members: ReplicaSet, watched: Db
) -> None:
    torture.fill(watched)
    before = torture.state(watched)
    stop = torture.StopSignal()
    cut = False

    def watch(event: dict[str, Any]) -> None:
        nonlocal cut
        if "waiting" in event:
            stop.ask("SIGINT received")
        elif "kind" in event and not cut:
            cut = True
            cut_off(three_members)

    with pytest.raises(InterruptedRunError, match="SIGINT received") as raised:
        torture.migrate(watched, stop=stop, progress=watch, retry_seconds=600)
    assert raised.value.details["next"] == "ansible-playbook migrate-901.yml"
    restore(three_members)
    assert torture.migrate(watched)["run"] == raised.value.details["run"]
    torture.roll_back(watched)
    assert_same(before, torture.state(watched))


@pytest.mark.torture
def test_an_outage_longer_than_the_lease_doesn_t_end_the_run(
    three_members: ReplicaSet, watched: Db
) -> None:
    torture.fill(watched)
    faults = Faults(three_members, {4: "kill"})
    assert torture.migrate(watched, progress=faults, lease_seconds=1)["phase"] == "applied"
    faults.settle()
    assert_verified(watched)
