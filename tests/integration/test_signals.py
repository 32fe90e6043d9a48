"""Signals and words from another terminal: the run ends at a batch boundary and can be resumed."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest
from mongo_migration.document import definition
from mongo_migration.errors import InterruptedRunError
from mongo_migration.ledger import control, lease
from mongo_migration.support.progress import quiet

from embedded.mongod import ReplicaSet
from embedded.processes import wait_until
from tests.support import torture
from tests.support.driver import Job
from tests.support.snapshot import snapshot
from tests.support.torture import Db, assert_same, assert_verified

# Slow enough to be met at work: 13 batches and more with a pause after each.
PAUSE_SECONDS = 0.15


def job(servers: ReplicaSet, db: Db, **more: Any) -> Job:
    slow = {"batch_size": torture.BATCH, "pause_seconds": PAUSE_SECONDS}
    return Job(uri=servers.uri(), database=db.name, text=torture.DOCUMENT, settings=slow, **more)


def newest(db: Db) -> dict[str, Any]:
    run = db["_migrations"].find_one({"kind": "run"}, sort=[("number", -1)])
    assert run is not None
    return run


def assert_says_how_to_go_on(done: dict[str, Any], run: dict[str, Any], action: str) -> None:
    command = "rollback.yml -e migration=901" if action == "rollback" else "migrate-901.yml"
    assert done["error"] == "InterruptedRunError"
    assert done["details"]["run"] == run["_id"]
    assert done["details"]["phase"] == run["phase"]
    assert command in done["details"]["next"]
    assert done["details"]["next"] in done["message"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_a_migration_within_one_batch(
    replica_set: ReplicaSet, database: Db, number: signal.Signals
) -> None:
    torture.fill(database)
    before = torture.state(database)
    with torture.process(job(replica_set, database)) as process:
        process.wait_for_batches(3)
        seen = newest(database)["seq"]
        process.send(number)
        done = process.end(10)
    run = newest(database)
    assert run["phase"] == "interrupted"
    assert run["seq"] <= seen + 2  # one that was under way, and one between our look and the signal
    assert number.name in done["message"]
    assert_says_how_to_go_on(done, run, "migrate")
    assert lease.read(database) is None
    assert torture.migrate(database)["run"] == run["_id"]
    assert_verified(database)
    torture.roll_back(database)
    assert_same(before, torture.state(database))


def test_a_signal_stops_a_rollback_within_one_batch(replica_set: ReplicaSet, database: Db) -> None:
    torture.fill(database)
    before = torture.state(database)
    torture.migrate(database)
    with torture.process(job(replica_set, database, action="rollback")) as process:
        process.wait_for_batches(3)
        process.send(signal.SIGTERM)
        done = process.end(10)
    run = newest(database)
    assert run["phase"] == "rolling_back"
    assert_says_how_to_go_on(done, run, "rollback")
    assert lease.read(database) is None
    torture.roll_back(database)
    assert_same(before, torture.state(database))


@pytest.mark.parametrize("action", ["migrate", "rollback"])
def test_another_terminal_aborts(replica_set: ReplicaSet, database: Db, action: str) -> None:
    torture.fill(database)
    before = torture.state(database)
    if action == "rollback":
        torture.migrate(database)
    with torture.process(job(replica_set, database, action=action)) as process:
        process.wait_for_batches(2)
        control.give(
            client=database.client,
            database=database.name,
            action="abort",
            limits={},
            operator={"user": "third", "host": "elsewhere"},
        )
        done = process.end(10)
    run = newest(database)
    assert run["phase"] == ("rolling_back" if action == "rollback" else "interrupted")
    assert "third@elsewhere" in done["message"]
    assert_says_how_to_go_on(done, run, action)
    # The word was for that process: a resumed one doesn't obey it again.
    if action == "migrate":
        torture.migrate(database)
        assert_verified(database)
    torture.roll_back(database)
    assert_same(before, torture.state(database))


def test_a_stop_is_obeyed_while_an_index_is_built(database: Db) -> None:
    torture.fill(database)
    stop = torture.StopSignal()

    def watch(event: dict[str, Any]) -> None:
        if event.get("kind") == "create_index":
            stop.ask("enough")

    with pytest.raises(InterruptedRunError) as raised:
        torture.migrate(database, stop=stop, progress=watch)
    assert raised.value.details["phase"] == "interrupted"
    assert torture.migrate(database, progress=quiet)["phase"] == "applied"
    assert_verified(database)


def test_a_second_signal_changes_nothing(replica_set: ReplicaSet, database: Db) -> None:
    torture.fill(database)
    with torture.process(job(replica_set, database)) as process:
        process.wait_for_batches(2)
        for _ in range(5):
            process.send(signal.SIGINT)
            time.sleep(0.01)
        done = process.end(10)
    assert_says_how_to_go_on(done, newest(database), "migrate")
    torture.migrate(database)
    assert_verified(database)


# A check for which the server needs a minute, as it does for a hundred million documents.
SLOW_CHECK = """
postconditions:
  - name: the server takes its time
    no_rows:
      in: items
      pipeline:
        - $match:
            $expr:
              $function:
                lang: js
                args: [$slow]
                body: "function(slow) { if (slow) sleep(60000); return false; }"
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_verification_though_the_server_is_at_work_for_it(
    replica_set: ReplicaSet, database: Db, number: signal.Signals
) -> None:
    torture.fill(database)
    text = torture.DOCUMENT + SLOW_CHECK
    loaded = definition.load(text, "torture.yml")
    torture.migrate(database, definition=loaded)
    database["items"].update_one({}, {"$set": {"slow": True}})
    before = snapshot(database, own=True)
    asked = Job(uri=replica_set.uri(), database=database.name, text=text, action="verify")
    with torture.process(asked) as process:

        def is_waited_for() -> bool:
            at_work = database.client.admin.aggregate(
                [{"$currentOp": {}}, {"$match": {"ns": f"{database.name}.items"}}]
            )
            return any("pipeline" in operation.get("command", {}) for operation in at_work)

        assert wait_until(is_waited_for, 30, 0.1)
        process.send(number)
        began = time.monotonic()
        done = process.end(30)
        assert time.monotonic() - began < 5
    run = newest(database)
    assert done["error"] == "InterruptedRunError"
    assert (run["phase"], run["_id"]) == ("applied", done["details"]["run"])
    for words in (number.name, "had only read", "is applied, as before", done["details"]["next"]):
        assert words in done["message"]
    assert "verify.yml -e migration=901" in done["details"]["next"]
    assert snapshot(database, own=True) == before
