"""Steering a run from another connection, while it is at work."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from mongo_migration.errors import InterruptedRunError, MigrationError
from mongo_migration.ledger import control, lease
from mongo_migration.operations import building
from mongo_migration.procedures import migrate, rollback, watching
from mongo_migration.procedures.work import Job
from mongo_migration.support.stop import StopSignal
from pymongo import MongoClient

from embedded.processes import wait_until
from tests.support.migrations import ANNA, Deployment

DOCUMENT = """
id: "001"
name: colour-items
summary: Gives every item a colour.
downtime: none
steps:
  - set_field: {collections: [items], field: colour, value: {value: red}}
  - create_index: {collections: [items], keys: {colour: 1, number: 1}}
"""
# A process that lives: the lease of a dead one of this machine is nobody's.
HERE = {**ANNA, "pid": os.getpid()}
BEN = {"user": "ben", "host": "laptop", "pid": os.getpid()}
SETTINGS = migrate.Settings(batch_size=50, pause_seconds=0.05, lease_seconds=3)
ITEMS = 1000
Event = dict[str, Any]


class AtWork:
    """A run in a thread: what it reported, and how it ended."""

    def __init__(self, deployment: Deployment, work: Callable[..., dict[str, Any]]) -> None:
        self.events: list[Event] = []
        self.stop = StopSignal()
        self.result: dict[str, Any] | None = None
        self.error: Exception | None = None
        self._work = work
        self._database = deployment.data
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def until(self, happened: Callable[[Event], bool]) -> None:
        assert wait_until(lambda: any(happened(one) for one in [*self.events]), 20), self.events
        assert self.error is None

    def end(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.result = self._work(progress=self.events.append, stop=self.stop)
        except MigrationError as error:
            self.error = error


@pytest.fixture
def items(deployment: Deployment) -> Deployment:
    deployment.data["items"].insert_many([{"number": number} for number in range(ITEMS)])
    return deployment


def migrating(deployment: Deployment, settings: migrate.Settings = SETTINGS) -> AtWork:
    def work(**more: Any) -> dict[str, Any]:
        return migrate.migrate(
            Job(
                client=deployment.client,
                database=deployment.data.name,
                settings=settings,
                change={},
                operator=HERE,
                **more,
            ),
            deployment.load((DOCUMENT, "001.yml")),
        )

    return AtWork(deployment, work)


def rolling_back(deployment: Deployment) -> AtWork:
    def work(**more: Any) -> dict[str, Any]:
        return rollback.roll_back(
            Job(
                client=deployment.client,
                database=deployment.data.name,
                settings=SETTINGS,
                change={},
                operator=HERE,
                **more,
            ),
            "001",
            definition=deployment.known["001"],
        )

    return AtWork(deployment, work)


def give(deployment: Deployment, action: str, **limits: Any) -> dict[str, Any]:
    client: MongoClient[dict[str, Any]] = deployment.data.client
    return control.give(
        client=client,
        database=deployment.data.name,
        action=action,
        limits=limits,
        operator=BEN,
    )


def coloured(deployment: Deployment) -> int:
    return deployment.data["items"].count_documents({"colour": "red"})


def run_document(deployment: Deployment) -> dict[str, Any]:
    found = deployment.data["_migrations"].find_one({"kind": "run"})
    assert found is not None
    return found


def test_a_paused_run_stands_still_keeps_its_lease_and_goes_on(items: Deployment) -> None:
    run = migrating(items)
    run.until(lambda event: event.get("done", 0) >= 100)
    given = give(items, "pause")
    assert given["changed"]
    assert given["holder"]["user"] == "anna"
    assert not give(items, "pause")["changed"]
    run.until(lambda event: "paused" in event)
    before = coloured(items)
    time.sleep(SETTINGS.lease_seconds + 0.5)
    assert 0 < coloured(items) == before < ITEMS
    held = lease.read(items.data)
    assert held is not None
    assert held["expires"] > datetime.now(UTC), "it goes on beating"
    (words,) = {event["paused"] for event in run.events if "paused" in event}
    assert words.startswith("paused by ben@laptop since ")

    assert give(items, "resume")["changed"]
    run.end()
    assert run.error is None
    assert coloured(items) == ITEMS
    assert run_document(items)["phase"] == "applied"


def test_an_abort_ends_a_paused_run_too_and_the_next_start_has_forgotten_it(
    items: Deployment,
) -> None:
    run = migrating(items)
    run.until(lambda event: event.get("done", 0) >= 100)
    give(items, "pause")
    run.until(lambda event: "paused" in event)
    give(items, "abort")
    run.end()
    assert isinstance(run.error, InterruptedRunError)
    assert "aborted by ben@laptop from another terminal" in run.error.message
    assert run.error.details["next"] == "ansible-playbook migrate-001.yml"
    assert run_document(items)["phase"] == "interrupted"
    assert lease.read(items.data) is None
    assert 0 < coloured(items) == run_document(items)["counts"]["modified"] < ITEMS

    again = migrating(items)
    again.end()
    assert again.error is None
    assert coloured(items) == ITEMS


def test_a_rollback_is_steered_as_well(items: Deployment) -> None:
    migrating(items).end()
    undoing = rolling_back(items)
    undoing.until(lambda event: event.get("phase") == "rollback" and event.get("done", 0) >= 100)
    assert give(items, "abort")["phase"] == "rolling_back"
    undoing.end()
    assert isinstance(undoing.error, InterruptedRunError)
    assert run_document(items)["phase"] == "rolling_back"
    assert 0 < coloured(items) < ITEMS

    again = rolling_back(items)
    again.end()
    assert again.error is None
    assert coloured(items) == 0
    assert run_document(items)["phase"] == "rolled_back"


def test_limits_count_from_the_next_batch_on(items: Deployment) -> None:
    run = migrating(items)
    run.until(lambda event: event.get("done", 0) >= 100)
    assert give(items, "limits", batch_size=10, pause_seconds=0.0)["limits"] == {
        "batch_size": 10,
        "pause_seconds": 0.0,
    }
    run.until(lambda event: event.get("batch") == 10)
    give(items, "limits")
    run.end()
    sizes = [event["batch"] for event in run.events if event.get("batch")]
    assert sizes[0] == 50
    assert sizes.index(10) > 0
    assert coloured(items) == ITEMS


def test_a_limit_that_makes_no_sense_reaches_no_run(items: Deployment) -> None:
    with pytest.raises(MigrationError, match="batch_size must be at least 1"):
        give(items, "limits", batch_size=0)


def test_without_a_run_at_work_there_is_nothing_to_steer(items: Deployment) -> None:
    with pytest.raises(MigrationError, match="No run is at work"):
        give(items, "pause")
    migrating(items).end()
    with pytest.raises(MigrationError, match="No run is at work"):
        give(items, "abort")
    assert "control" not in run_document(items)


def test_a_run_whose_process_died_takes_no_commands(items: Deployment) -> None:
    migrating(items).end()
    items.data["_migrations"].update_one({"kind": "run"}, {"$set": {"phase": "running"}})
    with pytest.raises(MigrationError, match="the process that did it is gone"):
        give(items, "pause")
    with (
        lease.hold(items.data, purpose="restore of an archive", holder=BEN, seconds=5),
        pytest.raises(MigrationError, match="held for: restore of an archive"),
    ):
        give(items, "pause")


def test_an_index_build_shows_its_progress_and_ends_its_waiting_when_asked(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "_LOOK_SECONDS", 0.02)
    for start in range(0, 80_000, 20_000):
        deployment.data["items"].insert_many(
            [{"number": start + number, "colour": "red"} for number in range(20_000)]
        )
    run = migrating(deployment)
    run.until(lambda event: event["phase"] == "index" and event["total"] > 0)
    run.stop.ask("test")
    run.end()
    # The build may have been over first; then there is nothing left to stop.
    assert run.error is None or isinstance(run.error, InterruptedRunError)

    migrating(deployment).end()
    assert run_document(deployment)["phase"] == "applied"
    assert "colour_1_number_1" in deployment.data["items"].index_information()


def watched(
    deployment: Deployment, stop: StopSignal | None = None, **more: Any
) -> tuple[Any, list[Event]]:
    events: list[Event] = []
    found = watching.watch(
        client=deployment.data.client,
        database=deployment.data.name,
        report=events.append,
        stop=stop or StopSignal(),
        **{"between_seconds": 0.5, **more},
    )
    return found, events


def test_another_terminal_watches_a_run_to_its_end(items: Deployment):
    run = migrating(items)
    run.until(lambda event: event.get("done", 0) >= 100)
    found, events = watched(items)
    run.end()
    assert (found["found"], found["at_work"], found["phase"]) == (True, False, "applied")
    assert found["work"].startswith("migrate 001 colour-items, by anna@")
    counted = [event["done"] for event in events if event.get("total") == ITEMS]
    assert counted == sorted(counted)
    assert counted
    assert counted[0] >= 100


def test_a_watch_shows_a_pause_and_ends_alone(items: Deployment):
    run = migrating(items)
    run.until(lambda event: event.get("done", 0) >= 100)
    give(items, "pause")
    run.until(lambda event: "paused" in event)
    found, events = watched(items, at_most_seconds=0.1)
    assert "paused by" in events[-1]["paused"]
    assert (found["at_work"], found["phase"]) == (True, "running")
    stop = StopSignal()
    stop.ask("SIGINT received")
    assert watched(items, stop)[0]["at_work"] is True
    assert run.result is None  # it was not asked for anything
    give(items, "abort")
    run.end()
    found, _events = watched(items)
    assert (found["found"], found["phase"]) == (False, "interrupted")


def test_where_nobody_is_at_work_a_watch_ends_at_once(deployment: Deployment):
    found, events = watched(deployment, between_seconds=60)
    assert (found["found"], found["run"], events) == (False, None, [])
