"""Killed with SIGKILL at any command it sends, the migration resumes and is still undone exactly.

A process dies before its n-th command reaches the server, or after the server did it and before
the engine heard of it. `make test` tries a few of these points, `make torture` every one.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mongo_migration.ledger.runs import Run

from embedded.mongod import Deployment, ReplicaSet
from embedded.processes import wait_until
from tests.support import databases, torture
from tests.support.driver import Job
from tests.support.torture import Db, assert_journal_exact, assert_same, assert_verified

KINDS = ("transactions", "journal first")
# A dead holder's lease isn't waited for: any resume is far quicker than this.
LEASE_SECONDS = 30


@pytest.fixture(params=KINDS)
def servers(request: pytest.FixtureRequest) -> Deployment:
    name = "replica_set" if request.param == KINDS[0] else "standalone"
    found: Deployment = request.getfixturevalue(name)
    return found


@pytest.fixture
def make_database(servers: Deployment) -> Iterator[Callable[[], Any]]:
    with servers.client() as admin:
        yield lambda: databases.fresh(admin, roles=False)


Maker = Callable[[], Any]


def job(servers: Deployment, db: Db, **more: Any) -> Job:
    return Job(
        uri=servers.uri(),
        database=db.name,
        text=torture.DOCUMENT,
        settings={"batch_size": torture.BATCH, "lease_seconds": LEASE_SECONDS},
        **more,
    )


def run(what: Job) -> dict[str, Any]:
    with torture.process(what) as process:
        return process.end()


def undisturbed(
    servers: Deployment, make_database: Maker, folder: Path, action: str
) -> tuple[Any, list[str]]:
    """Return the state after an undisturbed run, and the commands that it took."""
    with make_database() as db:
        torture.fill(db)
        if action == "rollback":
            torture.migrate(db)
        trace = folder / "commands"
        done = run(job(servers, db, action=action, trace=str(trace)))
        assert "result" in done, done
        return torture.plain_state(db), trace.read_text().splitlines()


def points(commands: list[str], number: int | None) -> list[tuple[int, str]]:
    """Return where to die: all commands, or one of each sort and some more at random."""
    everywhere = [(n, when) for n in range(1, len(commands) + 1) for when in ("sent", "answered")]
    if number is None:
        return everywhere
    # Commands that write are where something can be lost; one in the middle of each sort.
    chosen = []
    for name in dict.fromkeys(commands):
        if not name.startswith(("find ", "aggregate ", "listIndexes", "hello", "buildInfo")):
            at = [n for n, other in enumerate(commands, 1) if other == name]
            chosen += [(at[len(at) // 2], "answered"), (at[-1], "sent")]
    dice = random.Random(7)
    return sorted(dice.sample(chosen, min(number, len(chosen))))


def kill_and_resume(
    servers: Deployment, make_database: Maker, wanted: Any, point: tuple[int, str]
) -> None:
    with make_database() as db:
        torture.fill(db)
        before = torture.state(db)
        dead = run(job(servers, db, die_at=point[0], when=point[1]))
        assert dead == {}
        began = time.monotonic()
        torture.migrate(db, lease_seconds=LEASE_SECONDS)
        assert time.monotonic() - began < LEASE_SECONDS / 3
        assert_same(wanted, torture.plain_state(db))
        assert_journal_exact(db, before[0])
        assert_verified(db)
        torture.roll_back(db)
        assert_same(before, torture.state(db))


def kill_rollback_and_resume(
    servers: Deployment, make_database: Maker, point: tuple[int, str]
) -> None:
    with make_database() as db:
        torture.fill(db)
        before = torture.state(db)
        torture.migrate(db)
        assert run(job(servers, db, action="rollback", die_at=point[0], when=point[1])) == {}
        began = time.monotonic()
        done = torture.roll_back(db, lease_seconds=LEASE_SECONDS)
        assert time.monotonic() - began < LEASE_SECONDS / 3
        assert done["phase"] == "rolled_back"
        assert done["conflict_count"] == 0
        assert_same(before, torture.state(db))


def try_all(
    chosen: list[tuple[int, str]], commands: list[str], attempt: Callable[[tuple[int, str]], None]
) -> None:
    """Try each point; name all that failed, not the first alone."""
    failed = []
    for point in chosen:
        try:
            attempt(point)
        except Exception as error:
            what = str(error).strip().splitlines()
            failed.append(f"{point} {commands[point[0] - 1]}: {type(error).__name__} {what[:3]}")
    assert failed == []


def test_a_killed_migration_resumes_to_the_undisturbed_state(
    servers: Deployment, make_database: Maker, tmp_path: Path
) -> None:
    wanted, commands = undisturbed(servers, make_database, tmp_path, "migrate")
    try_all(
        points(commands, 4),
        commands,
        lambda point: kill_and_resume(servers, make_database, wanted, point),
    )


def test_a_killed_rollback_resumes_to_the_state_from_before(
    servers: Deployment, make_database: Maker, tmp_path: Path
) -> None:
    _wanted, commands = undisturbed(servers, make_database, tmp_path, "rollback")
    try_all(
        points(commands, 2),
        commands,
        lambda point: kill_rollback_and_resume(servers, make_database, point),
    )


@pytest.mark.torture
def test_a_migration_killed_at_each_of_its_commands_resumes(
    servers: Deployment, make_database: Maker, tmp_path: Path
) -> None:
    wanted, commands = undisturbed(servers, make_database, tmp_path, "migrate")
    try_all(
        points(commands, None),
        commands,
        lambda point: kill_and_resume(servers, make_database, wanted, point),
    )


@pytest.mark.torture
def test_a_rollback_killed_at_each_of_its_commands_resumes(
    servers: Deployment, make_database: Maker, tmp_path: Path
) -> None:
    _wanted, commands = undisturbed(servers, make_database, tmp_path, "rollback")
    try_all(
        points(commands, None),
        commands,
        lambda point: kill_rollback_and_resume(servers, make_database, point),
    )


@pytest.fixture
def tested_servers(tmp_path: Path) -> Iterator[ReplicaSet]:
    """A server that lets a test hold an index build where it is."""
    folder = tmp_path / "servers"
    with ReplicaSet(folder, cache_gb=0.25, parameters=["enableTestCommands=1"]) as servers:
        yield servers


def hold_builds(admin: Any, mode: str, db: Db | None = None) -> None:
    if db is not None:
        Run.prepare(db)  # whose index isn't meant
    admin.admin.command("configureFailPoint", "hangAfterStartingIndexBuild", mode=mode)


@pytest.mark.parametrize("then", ["migrate", "rollback"])
def test_killed_during_an_index_build(tested_servers: ReplicaSet, then: str) -> None:
    with tested_servers.client() as admin, databases.fresh(admin, roles=False) as db:
        torture.fill(db)
        before = torture.state(db)
        hold_builds(admin, "alwaysOn", db)
        with torture.process(job(tested_servers, db)) as process:
            assert wait_until(lambda: building(db), 30)
            process.send(signal.SIGKILL)
            process.end()
        hold_builds(admin, "off")
        if then == "migrate":
            torture.migrate(db, lease_seconds=LEASE_SECONDS)
            assert_journal_exact(db, before[0])
            assert_verified(db)
        torture.roll_back(db, lease_seconds=LEASE_SECONDS)
        assert_same(before, torture.state(db))


def test_a_signal_is_obeyed_during_an_index_build(tested_servers: ReplicaSet) -> None:
    with tested_servers.client() as admin, databases.fresh(admin, roles=False) as db:
        torture.fill(db)
        before = torture.state(db)
        hold_builds(admin, "alwaysOn", db)
        with torture.process(job(tested_servers, db)) as process:
            assert wait_until(lambda: building(db), 30)
            process.send(signal.SIGTERM)
            done = process.end(20)
        assert done["error"] == "InterruptedRunError", done
        assert done["details"]["phase"] == "interrupted"
        hold_builds(admin, "off")
        torture.migrate(db)
        assert_verified(db)
        torture.roll_back(db)
        assert_same(before, torture.state(db))


def building(db: Db) -> bool:
    """Return whether an index of items is being built."""
    if "items" not in db.list_collection_names():
        return False
    reply = db.command("listIndexes", "items", includeBuildUUIDs=True)
    return any("buildUUID" in item for item in reply["cursor"]["firstBatch"])


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(10))
def test_killed_at_random_times_until_it_ends(
    servers: Deployment, make_database: Maker, seed: int
) -> None:
    """Again and again, a migration and then its rollback; each time a little later, or not."""
    dice = random.Random(seed)
    with make_database() as db:
        torture.fill(db, 200)
        before = torture.state(db)
        for action, end in (("migrate", torture.migrate), ("rollback", torture.roll_back)):
            for _ in range(4):
                with torture.process(job(servers, db, action=action)) as process:
                    process.wait_for_life()
                    time.sleep(dice.uniform(0, 0.6))
                    process.send(signal.SIGKILL)
                    process.end()
            end(db)
            if action == "migrate":
                assert_journal_exact(db, before[0])
                assert_verified(db)
        assert_same(before, torture.state(db))
