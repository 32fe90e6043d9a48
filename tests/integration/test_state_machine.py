"""Several processes drive one database at once, sleeping and waking, dying and resuming, by dice.

In one half of the rounds the dice are loaded: a process sleeps at a command that writes a state,
commits, or begins what will, for longer than its lease, and others take over (see
`tests/support/dice`). In the other half, each of several processes migrates, rolls back, verifies
or restores; any may die at a random command, or fall asleep at one for longer than its lease.
Another terminal pauses, resumes and aborts them, and the server steps down, or is killed and loses
what it hadn't written to its journal.

After each round the content is one of the legal states, document by document, the changelog says
which, and the journal undoes it exactly; what lost its lease has had no effect since. `make test`
throws the dice for a few rounds, with a seed that it prints; `make torture` for many.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from mongo_migration.errors import MigrationError
from mongo_migration.ledger import control
from mongo_migration.procedures import verify
from pymongo.errors import PyMongoError

from embedded.mongod import Deployment, ReplicaSet, Standalone
from tests.conftest import CACHE_GB
from tests.support import backups, databases, torture
from tests.support import dice as loaded
from tests.support.driver import Job
from tests.support.torture import Db, Process

LEASE_SECONDS = 1.5
ACTIONS = ("migrate", "migrate", "migrate", "rollback", "rollback", "verify", "restore")
SETTINGS = {**loaded.SETTINGS, "lease_seconds": LEASE_SECONDS}
ME = {"user": "dice", "host": "testhost", "pid": 1}


class Round:
    """Some processes at one database, and what befalls them."""

    def __init__(
        self, servers: Deployment, db: Db, archive: Path, dice: random.Random, *, harsh: bool
    ) -> None:
        self._servers = servers
        self._db = db
        self._archive = archive
        self._dice = dice
        self._harsh = harsh
        self.told: list[str] = []

    def play(self) -> list[str]:
        """Start them, let them sleep, wake and die; return what became of each."""
        dice = self._dice
        with ExitStack() as stack:
            started = []
            for action in dice.sample(ACTIONS, 3):
                started.append(stack.enter_context(torture.process(self._job(action))))
                time.sleep(dice.uniform(0, 0.3))
            watch = threading.Thread(target=self._wake, args=(started,), daemon=True)
            watch.start()
            for _ in range(dice.randrange(3)):
                time.sleep(dice.uniform(0.1, 1.0))
                dice.choice(self._moves())()
            watch.join(120)
            return [
                f"{self.told[place]}: {loaded.said(process.end())}"
                for place, process in enumerate(started)
            ]

    def _job(self, action: str) -> Job:
        dice = self._dice
        dies, sleeps = dice.random() < 0.3, dice.random() < 0.6
        job = Job(
            uri=self._servers.uri(*([] if self._servers.auth else [None])),
            database=self._db.name,
            text=torture.DOCUMENT,
            action=action,
            archive=str(self._archive) if action == "restore" else "",
            settings={**SETTINGS, "writers_stopped": dice.random() < 0.4},
            die_at=dice.randrange(5, 120) if dies else 0,
            sleep_at=dice.randrange(5, 100) if sleeps else 0,
            when=dice.choice(("sent", "answered")),
        )
        self.told.append(f"{action} die {job.die_at} sleep {job.sleep_at} {job.when}")
        return job

    def _wake(self, started: list[Process]) -> None:
        """Let each that fell asleep sleep for longer than its lease, and go on."""
        since: dict[int, float] = {}
        while any(process.popen.poll() is None for process in started):
            for process in started:
                pid = process.popen.pid
                if not process.sleeps():
                    since.pop(pid, None)
                elif time.monotonic() > since.setdefault(pid, time.monotonic()) + 2 * LEASE_SECONDS:
                    process.send(signal.SIGCONT)
            time.sleep(0.05)

    def _moves(self) -> list[Callable[[], None]]:
        moves: list[Callable[[], None]] = [self._command]
        if isinstance(self._servers, ReplicaSet):
            moves.append(self._step_down)
        if self._harsh:
            moves.append(self._crash)
        return moves

    def _command(self) -> None:
        """Pause whoever works, and let it go on; or abort."""
        if self._dice.random() < 0.5:
            self._give("abort")
            return
        self._give("pause")
        time.sleep(0.3)
        self._give("resume")

    def _give(self, action: str) -> None:
        for _ in range(40):  # what is paused must not stay so because there was no primary
            with suppress(PyMongoError, MigrationError):
                control.give(
                    client=self._db.client,
                    database=self._db.name,
                    action=action,
                    limits={},
                    operator=ME,
                )
                return
            if action != "resume":
                return
            time.sleep(0.1)

    def _step_down(self) -> None:
        loaded.step_down(self._servers, self._db)

    def _crash(self) -> None:
        self._servers.kill()
        self._servers.restart()
        if isinstance(self._servers, ReplicaSet):
            self._servers.wait_for_primary()


def settle(db: Db, archive: Path, dice: random.Random) -> str:
    """Finish what was left unfinished, in one of the two ways; return the phase."""
    if db["_migrations"].find_one({"_id": "restore"}):
        backups.put_back(db.client, db.name, archive)
    run = db["_migrations"].find_one({"kind": "run"}, sort=[("number", -1)])
    phase = run["phase"] if run else "rolled_back"
    patient = {"lease_seconds": LEASE_SECONDS}
    if phase == "rolling_back":
        return str(torture.roll_back(db, **patient)["phase"])
    if phase in ("planned", "running", "interrupted", "failed"):
        if phase != "planned" and dice.random() < 0.5:
            return str(torture.roll_back(db, **patient)["phase"])
        return str(torture.migrate(db, **patient)["phase"])
    return str(phase)


def rounds(servers: Deployment, folder: Path, seed: int, number: int, *, harsh: bool) -> None:
    dice = random.Random(seed)
    with (
        servers.client(*([] if servers.auth else [None])) as client,
        databases.fresh(client, roles=False) as db,
    ):
        torture.fill(db)
        before = torture.plain_state(db)
        torture.migrate(db)
        after = torture.plain_state(db)
        torture.roll_back(db)
        archive = Path(backups.take(client, db.name, folder)["archive"])
        for played in range(number):
            said = f"seed {seed}, round {played}"
            outcomes = Round(servers, db, archive, dice, harsh=harsh).play()
            print(said, *outcomes, sep="\n  ")
            phase = settle(db, archive, dice)
            print("  then", phase)
            applied = phase in ("applied", "verified")
            print(
                "  of", [(r["number"], r["phase"]) for r in db["_migrations"].find({"kind": "run"})]
            )
            torture.assert_same(after if applied else before, torture.plain_state(db))
            if applied:
                done = verify.verify(
                    client=client, database=db.name, definition=torture.DEFINITION, operator={}
                )
                assert done["failures"] == [], said
                if dice.random() < 0.7:
                    torture.roll_back(db)
                    torture.assert_same(before, torture.plain_state(db))
            numbers = [run["number"] for run in db["_migrations"].find({"kind": "run"})]
            assert len(set(numbers)) == len(numbers), said


def a_seed() -> int:
    return int(os.environ.get("SEED", random.randrange(10**6)))


def test_whatever_the_dice_say_the_content_is_a_legal_state(
    replica_set: ReplicaSet, tmp_path: Path
) -> None:
    rounds(replica_set, tmp_path, a_seed(), number=1, harsh=False)


@pytest.mark.parametrize("kind", ["replica_set", "standalone"])
def test_what_slept_through_its_lease_at_the_worst_moment_has_no_effect(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    loaded.play(request.getfixturevalue(kind), tmp_path, a_seed(), rounds=2)


@pytest.fixture(scope="module", params=[ReplicaSet, Standalone])
def own_servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """Servers that may be killed."""
    folder = tmp_path_factory.mktemp("dice")
    auth = request.param is ReplicaSet
    with request.param(folder, auth=auth, cache_gb=CACHE_GB) as servers:
        yield servers


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(int(os.environ.get("SEEDS", "10"))))
def test_for_many_rounds(seed: int, own_servers: Deployment, tmp_path: Path) -> None:
    seed += int(os.environ.get("SEED", "0"))
    rounds(own_servers, tmp_path, seed, number=25, harsh=True)


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(int(os.environ.get("SEEDS", "10"))))
def test_of_those_that_sleep_for_many_rounds(
    seed: int, own_servers: Deployment, tmp_path: Path
) -> None:
    seed += int(os.environ.get("SEED", "0"))
    loaded.play(own_servers, tmp_path, seed, rounds=35)
