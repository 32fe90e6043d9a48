"""Every operation loses its majority while it is at work, there and on the way back.

The connection is the application's, with a URI that asks for everything that would mislead: what
correctness needs is ours to set, whatever it says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from mongo_migration.errors import InterruptedRunError
from mongo_migration.ledger import runs
from mongo_migration.ledger.runs import Run
from mongo_migration.operations.registry import OPERATIONS
from mongo_migration.procedures import migrate, rollback, verify, work
from mongo_migration.server import connection
from mongo_migration.support.stop import StopSignal
from pymongo import MongoClient

from tests.support import corpus, databases
from tests.support.arbiter import WithArbiter, lose_majority
from tests.support.corpus import Case, Db
from tests.support.snapshot import differences, snapshot

HARMFUL = (
    "readPreference=secondary&w=1&journal=false&readConcernLevel=available&retryWrites=false"
    "&retryReads=false&socketTimeoutMS=50&timeoutMS=50&wTimeoutMS=1"
)
# One takes most of a minute: members are waited for. Beside test_majority, one of them runs always.
ALWAYS = {"rename_collection"}
ELSEWHERE = {"command"}  # it runs a program of this host


def first_case_of(kind: str) -> Case:
    """Return the first case of the corpus that has such a step."""
    return next(
        case
        for case in corpus.cases()
        if any(kind in step for step in yaml.safe_load(case.document)["steps"])
    )


@pytest.fixture
def db(with_arbiter: WithArbiter) -> Iterator[Db]:
    with with_arbiter.client() as admin, databases.fresh(admin, roles=True) as fresh:
        yield fresh
        with_arbiter.revive()
        with_arbiter.wait_for_secondaries()


@pytest.fixture
def client(with_arbiter: WithArbiter, db: Db) -> Iterator[MongoClient[dict[str, Any]]]:
    uri = f"{with_arbiter.uri('migrator')}&{HARMFUL}"
    with connection.connect({"uri": uri, "database": db.name}) as client:
        yield client


class Work:
    """One case, migrated and rolled back by the client of that URI."""

    def __init__(self, client: MongoClient[dict[str, Any]], database: str, case: Case) -> None:
        self._client = client
        self._database = database
        self._definition = case.load()
        self.waits: list[str] = []

    def do(self, kind: str, *, until_it_waits: bool = False) -> str:
        """Do it; return its phase."""
        stop = StopSignal()

        def hear(event: dict[str, Any]) -> None:
            if "waiting" in event:
                self.waits.append(event["waiting"])
                if until_it_waits:
                    stop.ask("SIGINT received")

        job = work.Job(
            client=self._client,
            database=self._database,
            settings=migrate.Settings(batch_size=2, retry_seconds=60),
            change={},
            operator={"user": "anna", "host": "bastion", "pid": 17},
            progress=hear,
            stop=stop,
        )
        what = self._definition
        if kind == "migrate":
            return str(migrate.migrate(job, what)["phase"])
        return str(rollback.roll_back(job, what.id, what)["phase"])

    def failures(self) -> list[str]:
        """Return the checks that fail."""
        done = verify.verify(
            client=self._client, database=self._database, definition=self._definition, operator={}
        )
        return list(done["failures"])


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[] if kind in ALWAYS else [pytest.mark.torture])
        for kind in OPERATIONS
        if kind not in ELSEWHERE
    ],
)
def test_each_waits_for_its_majority_hears_a_stop_and_goes_on(
    kind: str,
    with_arbiter: WithArbiter,
    db: Db,
    client: MongoClient[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = first_case_of(kind)
    corpus.fill(db, case, "before")
    before = snapshot(db), corpus.shape(db)
    one, enter = Work(client, db.name, case), Run.enter

    for action, at, done in (
        ("migrate", "running", "applied"),
        ("rollback", runs.ROLLING_BACK, "rolled_back"),
    ):
        down: list[str] = []

        def lose(run: Run, phase: str, at: str = at, down: list[str] = down, **facts: Any) -> None:
            enter(run, phase, **facts)
            if phase == at and not down:
                down.append(lose_majority(with_arbiter, client))

        one.waits.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Run, "enter", lose)
            with pytest.raises(InterruptedRunError, match="SIGINT received"):
                one.do(action, until_it_waits=True)
        assert down
        assert f"{down[0]} is down" in one.waits[0], one.waits
        with_arbiter.revive()
        with_arbiter.wait_for_secondaries()
        assert one.do(action) == done
        assert action == "rollback" or one.failures() == []

    assert differences(before[0], snapshot(db)) == []
    assert corpus.shape(db) == before[1]
