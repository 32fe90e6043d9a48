"""Several processes drive one run at once, sleeping and waking, dying and resuming, by the dice.

After each round the content is one of two legal states, document by document, the changelog says
which, and the journal undoes it exactly. `make test` throws the dice for a few rounds, with a seed
that it prints; `make torture` for many.
"""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import ExitStack
from typing import Any

import pytest
from mongo_migration.procedures import verify
from pymongo import MongoClient

from embedded.mongod import ReplicaSet
from tests.support import databases, torture
from tests.support.driver import Job
from tests.support.torture import Db

LEASE_SECONDS = 1.5
ACTIONS = ("migrate", "migrate", "rollback", "verify")
# The engine takes whole seconds from an inventory; a test may sleep less.
SETTINGS = {"batch_size": 5, "lease_seconds": LEASE_SECONDS, "retry_seconds": 20}


class Round:
    """Some processes at one database, and what befalls them."""

    def __init__(self, servers: ReplicaSet, db: Db, dice: random.Random) -> None:
        self._servers = servers
        self._db = db
        self._dice = dice

    def play(self) -> list[dict[str, Any]]:
        """Start them, let them sleep, wake and die; return what became of each."""
        dice = self._dice
        with ExitStack() as stack:
            started = []
            for action in dice.sample(ACTIONS, 3):
                started.append(stack.enter_context(torture.process(self._job(action))))
                time.sleep(dice.uniform(0, 0.4))
            for process in started:
                process.wait_for_life()
            sleeper = dice.choice(started)
            time.sleep(dice.uniform(0, 0.5))
            if sleeper.popen.poll() is None:
                sleeper.send(signal.SIGSTOP)
                time.sleep(LEASE_SECONDS * dice.uniform(1.2, 2.0))
                sleeper.send(signal.SIGCONT)
            return [process.end() for process in started]

    def _job(self, action: str) -> Job:
        dies = self._dice.random() < 0.4
        return Job(
            uri=self._servers.uri(),
            database=self._db.name,
            text=torture.DOCUMENT,
            action=action,
            settings=dict(SETTINGS),
            die_at=self._dice.randrange(5, 120) if dies else 0,
            when=self._dice.choice(("sent", "answered")),
        )


def settle(db: Db, dice: random.Random) -> str:
    """Finish what was left unfinished, in one of the two ways; return the phase."""
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


def rounds(servers: ReplicaSet, seed: int, number: int) -> None:
    dice = random.Random(seed)
    client: MongoClient[dict[str, Any]]
    with servers.client() as client, databases.fresh(client, roles=False) as db:
        torture.fill(db)
        before = torture.plain_state(db)
        torture.migrate(db)
        after = torture.plain_state(db)
        torture.roll_back(db)
        for played in range(number):
            said = f"seed {seed}, round {played}"
            outcomes = Round(servers, db, dice).play()
            phase = settle(db, dice)
            print(said, [sorted(outcome) for outcome in outcomes], phase)
            applied = phase in ("applied", "verified")
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


def test_whatever_the_dice_say_the_content_is_a_legal_state(replica_set: ReplicaSet) -> None:
    rounds(replica_set, seed=int(os.environ.get("SEED", random.randrange(10**6))), number=3)


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(10))
def test_for_many_rounds(seed: int, replica_set: ReplicaSet) -> None:
    rounds(replica_set, seed=seed, number=25)
