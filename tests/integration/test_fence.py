"""Without transactions: what a process sends that slept through its lease, the server refuses."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mongo_migration.errors import LeaseLostError
from mongo_migration.ledger import lease
from mongo_migration.ledger.fence import Fence, UncertainWriteError
from pymongo import (
    DeleteMany,
    DeleteOne,
    InsertOne,
    MongoClient,
    ReplaceOne,
    UpdateMany,
    UpdateOne,
    monitoring,
)
from pymongo.database import Database

from embedded.mongod import Standalone
from tests.support import torture
from tests.support.driver import Job
from tests.support.snapshot import snapshot

Db = Database[dict[str, Any]]
ME = {"user": "tester", "host": "testhost", "pid": 1}

STATEMENTS: list[Any] = [
    InsertOne({"_id": "new"}),
    UpdateOne({"_id": 1}, {"$set": {"by": "sleeper"}}),
    UpdateMany({"$expr": {"$lt": ["$_id", 3]}}, [{"$set": {"by": "sleeper"}}]),
    ReplaceOne({"_id": 2}, {"by": "sleeper"}),
    DeleteOne({"_id": 3}),
    DeleteMany({"_id": {"$in": [4, 5]}}),
]


class Before(monitoring.CommandListener):
    """Does something once, right before the next write is sent."""

    def __init__(self) -> None:
        self.do: Callable[[], object] = lambda: None

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name in ("update", "delete", "aggregate"):
            do, self.do = self.do, lambda: None
            do()

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Not needed."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Not needed."""


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("taken", [True, False], ids=["taken", "over"])
def test_what_is_sent_after_the_lease_is_over_is_refused(
    taken: bool,
    statement: Any,
    standalone: Standalone,
    standalone_database: Db,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    db = standalone_database
    db["items"].insert_many([{"_id": number} for number in range(8)])
    before, listener = snapshot(db), Before()
    # A holder whose heart doesn't beat: what SIGSTOP does to a whole process.
    monkeypatch.setattr(lease.Lease, "_beat", lambda _self: None)

    def sleep() -> None:
        time.sleep(0.6)
        if taken:
            with lease.hold(db, purpose="another", holder=ME, seconds=0.5):
                pass

    options: Any = {"event_listeners": [listener], "tz_aware": True}
    with (
        MongoClient(standalone.uri(None), **options) as client,
        lease.hold(client[db.name], purpose="sleep", holder=ME, seconds=0.5) as sleeper,
    ):
        collection = client[db.name]["items"]
        sleeper.deadline()
        listener.do = sleep
        if taken:
            with pytest.raises(LeaseLostError):
                Fence(sleeper).write(collection, [statement])
            assert snapshot(db) == before
            return
        if isinstance(statement, InsertOne):  # nobody took the lease: it is still ours
            assert Fence(sleeper).write(collection, [statement]) == 1
            return
        with pytest.raises(UncertainWriteError):
            Fence(sleeper).write(collection, [statement])
        assert snapshot(db) == before
        # Renewed, because nobody had taken it.
        assert Fence(sleeper).write(collection, [statement]) > 0
        assert snapshot(db) != before


def job(servers: Standalone, db: Db, action: str, **more: Any) -> Job:
    settings = {"batch_size": 20, "lease_seconds": 1.5}
    return Job(
        uri=servers.uri(None),
        database=db.name,
        text=torture.DOCUMENT,
        action=action,
        settings=settings,
        **more,
    )


@pytest.mark.parametrize(
    ("action", "command"),
    [
        ("migrate", "aggregate _migrations"),  # a journal entry, and the documents of an insert
        ("migrate", "update entries"),
        ("rollback", "update items"),
        ("rollback", "update _migrations_journal"),
        ("rollback", "delete periods"),
    ],
)
def test_a_process_that_wakes_changes_nothing_of_what_another_one_did(
    action: str, command: str, standalone: Standalone, standalone_database: Db, tmp_path: Path
) -> None:
    """Put to sleep before its last command of that kind is sent."""
    db, trace = standalone_database, tmp_path / "trace"
    torture.fill(db)
    if action == "rollback":
        torture.migrate(db, batch_size=20)
    with torture.process(job(standalone, db, action, trace=str(trace))) as process:
        assert "result" in process.end()
    commands = trace.read_text().splitlines()
    last = len(commands) - commands[::-1].index(command)
    undo, again = (
        (torture.roll_back, torture.migrate)
        if action == "migrate"
        else (torture.migrate, torture.roll_back)
    )
    undo(db)
    with torture.process(job(standalone, db, action, sleep_at=last)) as process:
        process.wait_for_sleep()
        time.sleep(1.7)
        again(db)
        undo(db)
        left = snapshot(db, own=True)
        process.send(signal.SIGCONT)
        assert process.end()["error"] == "LeaseLostError"
    assert snapshot(db, own=True) == left
