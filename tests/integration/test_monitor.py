"""What a real server shows of itself, to a user who may see it and to one who may not."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mongo_migration.errors import InterruptedRunError, MigrationError
from mongo_migration.ledger import control
from mongo_migration.monitor import loop, measure, snapshot, thresholds
from mongo_migration.monitor.circuit_breaker import Trip
from mongo_migration.pace.throttle import Limits
from mongo_migration.procedures import migrate as runner
from mongo_migration.procedures.work import Job
from mongo_migration.server import connection, members
from mongo_migration.support.stop import StopSignal
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from embedded.mongod import ReplicaSet, Standalone
from embedded.processes import wait_until
from tests.support.migrations import ANNA, Deployment

Client = MongoClient[dict[str, Any]]

DOCUMENT = """
id: "001"
name: colour-items
summary: Gives every item a colour.
downtime: none
steps:
  - set_field: {collections: [items], field: colour, value: {value: red}}
"""


def settings(**changed: Any) -> loop.Settings:
    given: dict[str, Any] = {
        "interval": 0.2,
        "samples": 1,
        "long_operation_seconds": 0.1,
        "thresholds": {},
        "on_critical": "warn",
        **dict.fromkeys(
            ("metrics_file", "output", "openmetrics_file", "max_seconds", "stop_file", "parent_pid")
        ),
    }
    return loop.Settings(**{**given, **changed})


def look(client: Client, database: str, **changed: Any) -> dict[str, Any]:
    return loop.run(
        client,
        database,
        settings(**changed),
        collections={"items": "items", "periods": "periodz"},
        described=[],
        given=[],
        stop=StopSignal(),
    )


@pytest.fixture
def plain_user(replica_set: ReplicaSet, database: Database[dict[str, Any]]) -> Iterator[Client]:
    """The application's own user, who may only read and write its data."""
    uri = replica_set.uri("app", database=database.name)
    with connection.connect({"uri": uri, "database": database.name}) as client:
        yield client


def oplog_is_full(admin: Client) -> bool:
    """Whether the server has begun to forget: then members that are away long need a copy."""
    oplog = admin.local.command("collStats", "oplog.rs")
    return bool(oplog["size"] >= 0.85 * oplog["maxSize"])


def test_everything_is_seen_with_its_unit(deployment: Deployment, independent: Client) -> None:
    deployment.data["items"].insert_many([{"number": number} for number in range(50)])
    deployment.data["items"].create_index("number")
    seen = look(deployment.client, deployment.data.name)
    metrics = seen["metrics"]
    assert seen["gaps"] == []
    assert (metrics["documents"], metrics["indexes"]) == (50, 2)
    assert metrics["connections"] >= 1
    assert 0 < metrics["free_tickets_ratio"] <= 1
    assert metrics["members_down"] == 0
    # Other tests write to this server as well: whether its oplog is full, the server alone knows.
    assert ("oplog_window_hours" in metrics) == oplog_is_full(independent)
    assert 0 < metrics["disk_free_ratio"] < 1
    assert metrics["operations_per_second"] > 0
    assert set(seen["units"]) == set(metrics)
    assert seen["collections"][0]["collection"] == "items"


def test_members_with_a_part_of_their_own_are_neither_down_nor_behind(
    three_members: ReplicaSet, three_database: Database[dict[str, Any]]
) -> None:
    primary = three_members.wait_for_primary()
    aside = next(number for number in range(3) if number != primary)

    def set_aside(configuration: dict[str, Any]) -> None:
        configuration["members"][aside] |= {
            "priority": 0, "votes": 0, "hidden": True, "secondaryDelaySecs": 3600,
        }  # fmt: skip

    def put_back(configuration: dict[str, Any]) -> None:
        configuration["members"][aside] |= {
            "priority": 1, "votes": 1, "hidden": False, "secondaryDelaySecs": 0,
        }  # fmt: skip

    def seen() -> dict[str, float]:
        return measure.measure(snapshot.take(three_database.client, three_database.name), None)

    three_members.reconfigure(set_aside)
    try:
        three_database["items"].insert_one({})
        three_members.kill(aside)
        assert wait_until(
            lambda: (
                not three_database.client.admin.command("replSetGetStatus")["members"][aside][
                    "health"
                ]
            ),
            30,
        )
        values = seen()
        assert values["members_down"] == 0
        assert values["replication_lag_seconds"] < 1
        status = members.read(three_database.client)
        assert status is not None
        assert status.needed == 2
        assert status.has_majority
    finally:
        three_members.restart(aside)
        three_members.reconfigure(put_back)


def test_a_collection_that_is_named_and_missing_is_a_warning(deployment: Deployment) -> None:
    deployment.data["items"].insert_one({})
    seen = look(deployment.client, deployment.data.name)
    assert seen["metrics"]["collections_missing"] == 1
    assert {"collection": "periodz", "missing": True} in seen["collections"]
    assert any("mongo_collections" in finding["advice"] for finding in seen["findings"])


def test_missing_privileges_are_named_gaps(
    plain_user: Client, database: Database[dict[str, Any]]
) -> None:
    database["items"].insert_many([{"number": number} for number in range(7)])
    seen = look(plain_user, database.name)
    assert seen["metrics"]["documents"] == 7, "what may be seen is shown"
    gaps = "\n".join(seen["gaps"])
    assert "server status: this user lacks the role clusterMonitor on admin" in gaps
    assert "current operations: this user lacks the privilege inprog" in gaps
    assert f"index status: this user lacks the role dbAdmin on {database.name}" in gaps
    assert any("NOT SEEN" in line for line in seen["text"])


def test_a_server_alone_has_no_replication_and_no_gaps(
    standalone: Standalone, standalone_database: Database[dict[str, Any]]
) -> None:
    standalone_database["items"].insert_one({})
    with connection.connect({"uri": standalone.uri(None), "database": "bizzai"}) as client:
        seen = look(client, standalone_database.name)
    assert "replication_lag_seconds" not in seen["metrics"]
    assert seen["gaps"] == []


def test_a_long_operation_is_listed_with_how_to_end_it(
    deployment: Deployment, independent: Client
) -> None:
    deployment.data["items"].insert_one({})

    def dawdle() -> None:
        with pytest.raises(OperationFailure):
            independent[deployment.data.name]["items"].find_one(
                {"$where": "sleep(120000) || true"}, comment="dawdler"
            )

    thread = threading.Thread(target=dawdle)
    thread.start()
    found: list[dict[str, Any]] = []

    def listed() -> bool:
        seen = look(deployment.client, deployment.data.name)
        found[:] = [item for item in seen["operations"] if item["comment"] == "dawdler"]
        return bool(found)

    try:
        assert wait_until(listed, 60)
        assert found[0]["namespace"] == f"{deployment.data.name}.items"
        assert found[0]["seconds"] > 0
    finally:
        for item in found:
            independent.admin.command("killOp", op=int(item["opid"]))
        thread.join(150)


def test_slow_queries_and_invalid_documents_are_counted(deployment: Deployment) -> None:
    data = deployment.data
    data["items"].insert_many([{"number": 1}, {"number": "one"}])
    data.command("collMod", "items", validator={"number": {"$type": "int"}})
    data.command("profile", 2, slowms=0)
    try:
        list(data["items"].find({"number": 1}))
        seen = look(deployment.client, data.name)
    finally:
        data.command("profile", 0, slowms=100)
    assert seen["metrics"]["invalid_documents"] == 1
    assert seen["server"]["profiler"] == 2
    assert "slow_queries_per_minute" in seen["metrics"]


def test_the_files_hold_what_was_seen(deployment: Deployment, tmp_path: Path) -> None:
    deployment.data["items"].insert_many([{"number": number} for number in range(12)])
    seen = look(
        deployment.client,
        deployment.data.name,
        samples=2,
        metrics_file=str(tmp_path / "metrics.jsonl"),
        output=str(tmp_path / "seen.json"),
        openmetrics_file=str(tmp_path / "seen.prom"),
    )
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["source"] for line in lines] == ["server", "server"]
    assert lines[0]["time"].endswith("Z")
    assert lines[1]["values"]["documents"] == 12
    assert json.loads((tmp_path / "seen.json").read_text())["metrics"] == seen["metrics"]
    text = (tmp_path / "seen.prom").read_text()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    (sample,) = families["mongo_migration_documents"].samples
    assert (sample.value, sample.labels["database"]) == (12, deployment.data.name)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "metrics.jsonl", "seen.json", "seen.prom",
    ]  # fmt: skip


def test_a_file_that_cant_be_written_is_named(deployment: Deployment, tmp_path: Path) -> None:
    wrong = tmp_path / "nowhere" / "seen.json"
    with pytest.raises(MigrationError, match=f"Can't write {wrong}: No such file"):
        look(deployment.client, deployment.data.name, output=str(wrong))


@contextmanager
def slowly_migrating(deployment: Deployment) -> Iterator[None]:
    """Migrate in a thread of its own, and stop it in the end."""
    deployment.data["items"].insert_many([{"number": number} for number in range(2000)])
    ended: list[Exception] = []
    stop = StopSignal()
    job = Job(
        client=deployment.client,
        database=deployment.data.name,
        settings=runner.Settings(batch_size=10, limits=Limits(pause_seconds=0.5)),
        change={},
        # Its lease counts only as long as its process lives.
        operator={**ANNA, "pid": os.getpid()},
        progress=lambda event: None,
        stop=stop,
    )

    def migrate() -> None:
        try:
            runner.migrate(job, deployment.load((DOCUMENT, "001-colour-items.yml")))
        except InterruptedRunError as error:
            ended.append(error)

    thread = threading.Thread(target=migrate)
    thread.start()
    try:
        yield
    finally:
        stop.ask("the test is over")
        thread.join(60)
    assert ended


def test_a_critical_server_pauses_the_run_and_lets_it_go_on(deployment: Deployment) -> None:
    def asked() -> dict[str, Any] | None:
        run = deployment.data["_migrations"].find_one({"kind": "run"}) or {}
        return run.get("control")

    def at_work() -> bool:
        run = deployment.data["_migrations"].find_one({"kind": "run", "phase": "running"}) or {}
        return run.get("counts", {}).get("modified", 0) > 0

    critical = thresholds.judge({"free_tickets_ratio": 0.0}, thresholds.limits({}))
    trip = Trip(deployment.client, deployment.data.name, action="pause")
    early = Trip(deployment.client, deployment.data.name, action="pause")
    for _look in range(3):
        early.see(critical)  # before there is a run
    with slowly_migrating(deployment):
        assert wait_until(at_work, 60)
        early.see(critical)
        assert asked() is not None, "critical from the start"
        control.give(
            client=deployment.client,
            database=deployment.data.name,
            action="resume",
            limits={},
            operator=ANNA,
        )
        early.see(critical)
        assert asked() is None, "a person has decided"
        trip.see(critical)
        assert asked() is None, "one look may be an outlier"
        trip.see(critical)
        paused = asked()
        assert paused is not None
        assert paused["action"] == "pause"
        assert paused["by"].startswith("monitor@")
        for _look in range(3):
            trip.see([])
        assert asked() is None
        assert [line.partition(":")[0].split()[0] for line in trip.taken] == ["paused", "resumed"]


def test_without_a_run_there_is_nothing_to_trip(deployment: Deployment) -> None:
    critical = thresholds.judge({"free_tickets_ratio": 0.0}, thresholds.limits({}))
    trip = Trip(deployment.client, deployment.data.name, action="abort")
    for _look in range(4):
        trip.see(critical)
    assert trip.taken == []
