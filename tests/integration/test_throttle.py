"""A migration among others: what it sees of the server, and how it gives way."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from mongo_migration.pace.sampler import Sampler
from mongo_migration.pace.throttle import FIRST_SIZE, FROZEN_SIZE, SMALLEST, Limits, Sample
from mongo_migration.procedures import migrate as runner
from mongo_migration.procedures.work import Job
from mongo_migration.support.stop import StopSignal
from pymongo import MongoClient

from embedded.mongod import ReplicaSet, Standalone
from tests.support.migrations import ANNA, Deployment

DOCUMENT = """
id: "001"
name: colour-items
summary: Gives every item a colour.
downtime: none
steps:
  - set_field: {collections: [items], field: colour, value: {value: red}}
"""
ITEMS = 6000


class Server:
    """A server under a load that the test makes up."""

    def __init__(self, sample: Sample | None) -> None:
        self.sample = sample
        self.missing = ["one signal is left out"]

    def newest(self) -> Sample | None:
        # As if it had been sampled after every batch.
        return None if self.sample is None else Sample(**vars(self.sample))

    def count_batch(self) -> None:
        pass


@pytest.fixture
def items(deployment: Deployment) -> Deployment:
    deployment.data["items"].insert_many([{"number": number} for number in range(ITEMS)])
    return deployment


def migrate(
    deployment: Deployment,
    *,
    load: Server | None,
    writers_stopped: bool = False,
    limits: Limits | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    result = runner.migrate(
        Job(
            client=deployment.client,
            database=deployment.data.name,
            settings=runner.Settings(limits=limits or Limits(), writers_stopped=writers_stopped),
            change={},
            operator=ANNA,
            progress=events.append,
            stop=StopSignal(),
            load=load,
        ),
        deployment.load((DOCUMENT, "001.yml")),
    )
    return result, [event for event in events if event.get("batch")]


def test_a_signal_over_its_limit_makes_batches_small_and_says_why(items: Deployment) -> None:
    few = 700  # every further batch is one longer pause
    items.data["items"].delete_many({"number": {"$gte": few}})
    result, batches = migrate(items, load=Server(Sample(latency_ratio=4.0)))
    sizes = [event["batch"] for event in batches]
    assert sizes[0] == FIRST_SIZE
    assert min(sizes[:-1]) == sizes[-2] == SMALLEST
    assert batches[-1]["throttle"] == "latency of others 4.0x > 2x"
    assert "one signal is left out" in result["warnings"]
    assert result["modified"] == few


def test_a_calm_server_lets_batches_grow(items: Deployment) -> None:
    # A batch may take its time: how busy this machine is, is nothing of the server.
    limits = Limits(target_seconds=10)
    _result, batches = migrate(items, load=Server(None), limits=limits)
    assert max(event["batch"] for event in batches) > FIRST_SIZE
    assert not batches[0]["throttle"]


def test_under_maintenance_the_throttle_lets_go(items: Deployment) -> None:
    _result, batches = migrate(items, load=Server(Sample(lag_seconds=900.0)), writers_stopped=True)
    assert batches[0]["batch"] == min(FROZEN_SIZE, ITEMS)


def test_users_who_work_meanwhile_lose_nothing(items: Deployment) -> None:
    over = threading.Event()
    data = items.data["items"]
    sales: list[int] = []

    def work() -> None:
        number = 0
        while not over.is_set():
            number = (number + 37) % ITEMS
            assert data.find_one({"number": number}) is not None
            sold = data.update_one({"number": number}, {"$inc": {"sold": 1}})
            sales.append(sold.modified_count)
            over.wait(0.005)

    users = [threading.Thread(target=work) for _ in range(2)]
    for user in users:
        user.start()
    try:
        migrate(items, load=None)
    finally:
        over.set()
        for user in users:
            user.join()
    assert len(sales) > 0
    assert set(sales) == {1}
    assert data.count_documents({"colour": "red"}) == ITEMS
    (sold,) = data.aggregate([{"$group": {"_id": None, "sold": {"$sum": "$sold"}}}])
    assert sold["sold"] == len(sales)


def sample_of(client: MongoClient[dict[str, Any]]) -> tuple[Sample, list[str]]:
    sampler = Sampler(client)
    sampler.start(wait=lambda seconds: None)
    sampler.stop()
    return sampler.read(), sampler.missing


def test_a_user_with_the_documented_roles_sees_every_signal(deployment: Deployment) -> None:
    items = deployment.data["items"]
    for number in range(50):  # so that there is somebody's latency to judge
        items.insert_one({"number": number})
    sampler = Sampler(deployment.client)
    sampler.start(wait=lambda seconds: None)
    sampler.stop()
    sampler.read()
    for number in range(50):
        items.find_one({"number": number})
    seen = sampler.read()
    assert sampler.missing == []
    assert seen.lag_seconds is not None
    assert seen.lag_seconds < 60
    assert seen.latency_ratio is not None
    assert seen.free_tickets is not None
    assert 0.5 < seen.free_tickets <= 1
    assert seen.dirty_ratio is not None
    assert 0 <= seen.dirty_ratio < 1
    assert seen.flow_control is False


def test_a_user_without_them_is_told_once_what_is_left_out(
    replica_set: ReplicaSet, app_uri: str
) -> None:
    del replica_set
    with MongoClient[dict[str, Any]](app_uri) as client:
        sampler = Sampler(client)
        sampler.start(wait=lambda seconds: None)
        sampler.stop()
        assert sampler.read().lag_seconds is not None
        seen = sampler.read()
    assert (seen.latency_ratio, seen.free_tickets, seen.dirty_ratio) == (None, None, None)
    (words,) = sampler.missing
    assert "lacks the role clusterMonitor" in words


def test_a_standalone_server_has_no_lag(standalone: Standalone) -> None:
    with standalone.client() as client:
        seen, missing = sample_of(client)
    assert seen.lag_seconds is None
    assert seen.free_tickets is not None
    assert missing == []
