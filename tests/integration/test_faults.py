"""Every fault during every operation: it goes on or stops clearly, and nothing is lost.

The members have networks of their own, so that cables can be pulled; a fault strikes while the
operation, in a process of its own, stands still in its middle. Meanwhile somebody else writes with
majority: none of that may be lost either. `make test` tries one pair, `make torture` all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mongo_migration.errors import LeaseHeldError, MigrationError

from embedded.mongod import ReplicaSet
from embedded.processes import wait_until
from tests.support import backups, databases, fault_report, faults, namespaces, torture
from tests.support.driver import Job
from tests.support.faults import CarefulWriter, Clock, DiskFull, Fault
from tests.support.namespaces import NamespacedReplicaSet
from tests.support.torture import Db, assert_journal_exact, assert_same, assert_verified

# Longer than an election takes (2 s), so that each fault of the primary is a failover.
AWAY_SECONDS = 5.0
PATIENCE = 240.0
LEASE_SECONDS = 8
OPERATIONS = ("migrate", "rollback", "backup", "restore", "index build")
SHORT = {("isolated", "migrate")}
INDEX = torture.DOCUMENT.partition("steps:")[0].replace("901", "902") + (
    "steps:\n  - create_index: {collections: [items, bills], keys: {name: 1}}\n"
)

PAIRS = [
    pytest.param(
        fault,
        operation,
        marks=[] if (fault, operation) in SHORT else [pytest.mark.torture],
        id=f"{fault} during {operation}",
    )
    for fault in faults.FAULTS
    for operation in OPERATIONS
]


@pytest.fixture(scope="module")
def cabled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NamespacedReplicaSet]:
    """Three members whose cables can be pulled, and which let a test hold an index build."""
    if reason := namespaces.missing():
        pytest.skip(reason)
    servers = NamespacedReplicaSet(
        tmp_path_factory.mktemp("cabled"),
        cache_gb=0.25,
        parameters=["enableTestCommands=1"],
        arguments=["--maxConns", str(faults.MAX_CONNECTIONS)],
    )
    with servers:
        yield servers


@pytest.fixture
def db(cabled: NamespacedReplicaSet) -> Iterator[Db]:
    with (
        cabled.client(
            connectTimeoutMS=2000, serverSelectionTimeoutMS=30000, heartbeatFrequencyMS=500
        ) as client,
        databases.fresh(client, roles=False) as fresh,
    ):
        yield fresh


@pytest.fixture(scope="module")
def report(
    cabled: NamespacedReplicaSet, request: pytest.FixtureRequest
) -> Iterator[list[fault_report.Row]]:
    rows: list[fault_report.Row] = []
    yield rows
    with cabled.client() as client:
        fault_report.write(rows, client.server_info()["version"])
    terminal: Any = request.config.pluginmanager.get_plugin("terminalreporter")
    if terminal:
        terminal.write_line("")
        for line in fault_report.table(rows):
            terminal.write_line(line)


class Operation:
    """One operation: what it needs, how it is run, and how its result is looked at."""

    def __init__(self, name: str, servers: ReplicaSet, db: Db, folder: Path, archives: Path):
        self.name = name
        self.servers = servers
        self.db = db
        self.archives = archives
        self._go = folder / "go"
        torture.fill(db, 60)
        self.before = torture.state(db)
        self.wanted = self.before
        self.job: dict[str, Any] = {"action": name, "hold_at": 2}
        prepare: Callable[[], None] = getattr(self, f"_before_{name.replace(' ', '_')}", _nothing)
        prepare()

    def _before_rollback(self) -> None:
        torture.migrate(self.db)

    def _before_backup(self) -> None:
        self.job |= {"archive": str(self.archives), "hold_at": 1}

    def _before_restore(self) -> None:
        taken = backups.take(self.db.client, self.db.name, self.archives)
        self.db["items"].delete_many({})
        self.db["bills"].update_many({}, {"$set": {"ruined": True}})
        # Not while the archive is read, but in the middle of what is written from it.
        self.job |= {"archive": taken["archive"], "hold_at": 1, "hold_phase": "index"}

    def _before_index_build(self) -> None:
        self.job |= {"action": "migrate", "text": INDEX, "hold_at": 0}
        # On the primary alone: on a secondary it would hold the index of the journal, too.
        self._hold_builds("alwaysOn", [self.servers.wait_for_primary()])

    def start(self, fault: Fault) -> Any:
        """Return the process as a context; it stands still when :meth:`reach` returns."""
        return torture.process(self._job(hold_until=str(self._go)), fault.environment)

    def reach(self, process: torture.Process) -> None:
        """Return when the operation is in its middle."""
        if self.name == "index build":
            assert wait_until(self._building, PATIENCE), process.errors
        else:
            process.wait_for(lambda event: "held" in event, PATIENCE)
        assert process.popen.poll() is None, process.end()

    def go_on(self) -> None:
        """Let the operation go on, into the fault."""
        self._go.touch()

    def release_build(self) -> None:
        """Let a held index build go on; the fault may have ended the server that held it."""
        if self.name == "index build":
            alive = [n for n, member in enumerate(self.servers.members) if member.alive]
            self._hold_builds("off", alive)

    def again(self) -> dict[str, Any]:
        """Give the same command again, when all is well."""
        with torture.process(self._job(hold_at=0)) as process:
            return process.end(PATIENCE)

    def check(self, done: dict[str, Any]) -> None:
        """Look at what came of it."""
        assert "result" in done, done
        look: Callable[[dict[str, Any]], None] = getattr(
            self, f"_after_{self.name.replace(' ', '_')}"
        )
        look(done["result"])

    def _after_migrate(self, _result: dict[str, Any]) -> None:
        assert_journal_exact(self.db, self.before[0])
        assert_verified(self.db)
        torture.roll_back(self.db)
        assert_same(self.before, torture.state(self.db))

    def _after_rollback(self, result: dict[str, Any]) -> None:
        assert result["conflict_count"] == 0
        assert_same(self.before, torture.state(self.db))

    def _after_backup(self, result: dict[str, Any]) -> None:
        assert_same(self.before, torture.state(self.db))
        left = {path.name for path in self.archives.iterdir() if path.name.startswith("backup-")}
        assert all(name.startswith(Path(result["archive"]).name) for name in left), left
        copy = self.db.client[f"{self.db.name}_copy"]
        backups.put_back(self.db.client, copy.name, Path(result["archive"]))
        assert_same(self.before, torture.state(copy))

    def _after_restore(self, _result: dict[str, Any]) -> None:
        assert_same(self.before, torture.state(self.db))

    def _after_index_build(self, _result: dict[str, Any]) -> None:
        for name in ("items", "bills"):
            assert dict(self.db[name].index_information()["name_1"]["key"]) == {"name": 1}
        assert torture.state(self.db)[0] == self.before[0]

    def _job(self, **more: Any) -> Job:
        return Job(
            **{
                "uri": self.servers.uri(),
                "database": self.db.name,
                "text": torture.DOCUMENT,
                "settings": {
                    "batch_size": torture.BATCH,
                    "lease_seconds": LEASE_SECONDS,
                    "retry_seconds": 120,
                },
                **self.job,
                **more,
            }
        )

    def _building(self) -> bool:
        reply = self.db.command("listIndexes", "items", includeBuildUUIDs=True)
        return any("buildUUID" in item for item in reply["cursor"]["firstBatch"])

    def _hold_builds(self, mode: str, members: list[int]) -> None:
        for number in members:
            with self.servers.direct(number, "admin") as admin:
                admin.admin.command("configureFailPoint", "hangAfterStartingIndexBuild", mode=mode)


def _nothing() -> None:
    """Most operations need nothing before."""


@pytest.mark.parametrize(("name", "during"), PAIRS)
def test_a_fault_loses_nothing(  # noqa: PLR0917 - fixtures
    cabled: NamespacedReplicaSet,
    db: Db,
    tmp_path: Path,
    report: list[fault_report.Row],
    name: str,
    during: str,
) -> None:
    with faults.fault(name, cabled, tmp_path) as fault:
        archives = fault.target if isinstance(fault, DiskFull) else tmp_path / "archives"
        archives.mkdir(exist_ok=True)
        operation = Operation(during, cabled, db, tmp_path, archives)
        with CarefulWriter(db.client, f"{db.name}_others") as writer:
            done, seconds = _strike(operation, fault)
        stopped = str(done.get("error", ""))
        if stopped:
            assert done["message"]
            began = time.monotonic()
            done = operation.again()
            seconds += time.monotonic() - began
        operation.check(done)
        lost = writer.lost()
        report.append(
            fault_report.Row(
                fault=name,
                during=during,
                outcome="again" if stopped else "went on",
                stopped_by=stopped,
                seconds_to_go_on=round(seconds, 1),
                acknowledged=len(writer.acknowledged),
                lost=len(lost),
                notes=fault.notes,
            )
        )
        assert lost == []


def _strike(operation: Operation, fault: Fault) -> tuple[dict[str, Any], float]:
    """Let the fault strike in the middle; return the result and how long it took to go on."""
    with operation.start(fault) as process:
        operation.reach(process)
        fault.strike()
        began = time.monotonic()
        seen = len(process.events)
        _look_in_meanwhile(operation, fault)
        operation.go_on()
        moved = wait_until(
            lambda: len(process.events) > seen + 1 or process.popen.poll() is not None,
            AWAY_SECONDS,
        )
        seconds = time.monotonic() - began
        wait_until(lambda: time.monotonic() - began > AWAY_SECONDS, AWAY_SECONDS + 1)
        # A member that is still held can't follow the others.
        fault.repair(operation.release_build)
        done = process.end(PATIENCE)
        return done, seconds if moved else time.monotonic() - began


def _look_in_meanwhile(operation: Operation, fault: Fault) -> None:
    """What others must and mustn't be able to do while the fault lasts."""
    if isinstance(fault, DiskFull) and operation.name != "backup":
        with pytest.raises(MigrationError):
            backups.take(operation.db.client, operation.db.name, fault.target)
    if isinstance(fault, Clock) and operation.name in ("migrate", "rollback", "index build"):
        # Longer than the lease lasts: only by its heartbeat it is still held. A clock that is wrong
        # by hours must neither end nor steal it.
        time.sleep(LEASE_SECONDS + 1)
        intrude = torture.roll_back if operation.name == "rollback" else torture.migrate
        with pytest.raises(LeaseHeldError):
            intrude(operation.db)
