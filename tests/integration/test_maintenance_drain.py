"""Draining: nobody else writes any more, or we know who does; and switches that were killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from mongo_migration.maintenance import drain, mode
from mongo_migration.maintenance import write_block as blocks
from mongo_migration.maintenance.errors import MaintenanceError
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from embedded.mongod import ReplicaSet
from tests.support.maintenance import set_mode

Client = MongoClient[dict[str, Any]]
Data = Database[dict[str, Any]]

OPERATOR = {"user": "anna", "host": "bastion"}
# An update that stays at work until it is killed, as a scan of a huge collection does.
ENDLESS = {"$where": "sleep(100) || true"}


@pytest.fixture
def migrator(replica_set: ReplicaSet, database: Data) -> Iterator[Client]:
    del database  # whose roles this user needs
    with replica_set.client("migrator") as client:
        yield client


@pytest.fixture
def worker(replica_set: ReplicaSet, database: Data) -> Iterator[Client]:
    """A client of the application that nobody thought of."""
    with MongoClient[dict[str, Any]](
        replica_set.uri("app", database=database.name), appname="worker"
    ) as client:
        yield client


def switch(client: Client, database: Data, state: str, **options: Any) -> dict[str, Any]:
    return set_mode(
        client,
        database.name,
        state,
        **{"reason": "migration 004", "operator": OPERATOR, **options},
    )


def soon(seconds: float = 0.5, **options: Any) -> drain.Settings:
    """Settings that give up soon, where something is sure to be at work."""
    return drain.Settings(seconds=seconds, quiet_seconds=0.3, **options)


def patient(**options: Any) -> drain.Settings:
    return drain.Settings(seconds=60, quiet_seconds=0.3, **options)


@pytest.fixture
def long_update(worker: Client, client: Client, database: Data) -> Iterator[None]:
    """Another client's update that is at work."""
    database["items"].insert_many([{"n": number} for number in range(2000)])

    def work() -> None:
        try:
            worker[database.name]["items"].update_many(ENDLESS, {"$set": {"touched": True}})
        except PyMongoError:
            return  # killed at the end of the test

    def operations() -> list[dict[str, Any]]:
        found = client.admin.aggregate(
            [
                {"$currentOp": {"allUsers": True}},
                {"$match": {"appName": "worker", "op": "update"}},
            ]
        )
        return list(found)

    thread = threading.Thread(target=work)
    thread.start()
    _wait_for(lambda: bool(operations()))
    yield
    for operation in operations():
        client.admin.command("killOp", op=operation["opid"])
    thread.join()


def _wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it didn't happen within a minute"
        time.sleep(0.05)


def test_a_quiet_database_is_drained(migrator: Client, database: Data) -> None:
    database["items"].insert_one({})

    assert drain.wait(migrator, database.name, patient()).drained


@pytest.mark.usefixtures("long_update")
def test_an_update_at_work_is_named_with_its_client(migrator: Client, database: Data) -> None:
    outcome = drain.wait(migrator, database.name, soon())

    assert not outcome.drained
    (writer,) = outcome.writers
    assert writer.startswith("worker (127.0.0.1:")
    assert f"app@admin): update in {database.name}.items" in writer


def test_an_open_transaction_is_waited_for_until_it_ends(
    migrator: Client, worker: Client, database: Data
) -> None:
    database["items"].insert_one({"n": 1})
    with worker.start_session() as session:
        session.start_transaction()
        worker[database.name]["items"].update_one({"n": 1}, {"$set": {"n": 2}}, session=session)

        blocked = drain.wait(migrator, database.name, soon())

        assert not blocked.drained
        assert "a transaction, open for" in blocked.writers[0]
        assert "worker (127.0.0.1:" in blocked.writers[0]
        session.commit_transaction()
    assert drain.wait(migrator, database.name, patient()).drained


def test_short_writes_that_no_look_catches_are_seen_by_the_servers_counters(
    migrator: Client, worker: Client, database: Data
) -> None:
    stopped = threading.Event()

    def work() -> None:
        while not stopped.wait(0.02):
            worker[database.name]["invoices"].insert_one({})

    thread = threading.Thread(target=work)
    thread.start()
    try:
        _wait_for(lambda: database["invoices"].estimated_document_count() > 0)
        outcome = drain.wait(migrator, database.name, soon(1.5))
    finally:
        stopped.set()
        thread.join()

    assert not outcome.drained
    assert outcome.collections == (f"{database.name}.invoices",)
    assert any("worker (127.0.0.1" in writer for writer in outcome.writers)
    assert drain.wait(migrator, database.name, patient()).drained


def test_our_own_records_and_other_databases_are_nobodys_writes(
    migrator: Client, client: Client, database: Data
) -> None:
    stopped = threading.Event()

    def work() -> None:
        while not stopped.wait(0.02):
            database["_migrations"].update_one({"_id": "x"}, {"$inc": {"n": 1}}, upsert=True)
            client[f"{database.name}_crm"]["customers"].insert_one({})

    thread = threading.Thread(target=work)
    thread.start()
    try:
        outcome = drain.wait(migrator, database.name, patient())
    finally:
        stopped.set()
        thread.join()
    assert outcome.drained


@pytest.mark.usefixtures("long_update")
def test_writers_that_do_not_end_fail_the_switch_before_the_block(
    migrator: Client, client: Client, database: Data
) -> None:
    with pytest.raises(MaintenanceError) as error:
        switch(migrator, database, "on", drained=soon())

    assert "worker (127.0.0.1" in error.value.message
    assert "inventory's group of applications" in error.value.message
    assert blocks.write_block_is_on(client) is False
    assert not mode.is_on(database)


@pytest.mark.usefixtures("long_update")
def test_writers_that_do_not_end_are_only_named_where_the_policy_is_to_continue(
    migrator: Client, client: Client, database: Data
) -> None:
    result = switch(migrator, database, "on", drained=soon(policy="continue"))

    assert any("worker (127.0.0.1" in warning for warning in result["warnings"])
    assert result["drain"]["drained"] is False
    assert blocks.write_block_is_on(client) is True


def test_a_user_who_may_not_look_is_told_what_it_lacks(
    client: Client, replica_set: ReplicaSet, database: Data
) -> None:
    roles = [{"role": "readWrite", "db": database.name}]
    client.admin.command("createUser", "blind", pwd="blind", roles=roles)
    try:
        with MongoClient[dict[str, Any]](replica_set.uri("blind", "blind")) as blind:
            outcome = drain.wait(blind, database.name, patient())
    finally:
        client.admin.command("dropUser", "blind")

    assert not outcome.drained
    assert "clusterMonitor" in outcome.unseen


def test_a_switch_that_was_killed_on_its_way_on_is_seen_and_is_not_yet_on(
    migrator: Client, client: Client, database: Data
) -> None:
    assert not switch(migrator, database, "on", phase="begin")["changed"]

    record = mode.state(client, database.name) or {}
    assert record["on"] is False
    assert record["switching"]["to"] == "on"
    assert record["switching"]["by"] == OPERATOR
    assert record["switching"]["reason"] == "migration 004"
    assert blocks.write_block_is_on(client) is False
    assert not mode.is_on(database)


def test_a_completed_switch_is_no_longer_under_way(
    migrator: Client, client: Client, database: Data
) -> None:
    switch(migrator, database, "on", phase="begin")
    completed = switch(migrator, database, "on")

    assert completed["changed"]
    assert completed["switching"]["to"] == "on"
    record = mode.state(client, database.name) or {}
    assert record["on"] is True
    assert "switching" not in record


def test_the_begin_of_off_accepts_writes_and_remembers_that_applications_have_to_follow(
    migrator: Client, worker: Client, client: Client, database: Data
) -> None:
    switch(migrator, database, "on")

    assert switch(migrator, database, "off", phase="begin")["changed"]

    worker[database.name]["items"].insert_one({})
    record = mode.state(client, database.name) or {}
    assert record["on"] is False
    assert record["switching"]["to"] == "off"
    assert not switch(migrator, database, "off")["changed"]
    assert "switching" not in (mode.state(client, database.name) or {})


def test_beginning_again_keeps_since_by_and_reason_of_what_is_on(
    migrator: Client, client: Client, database: Data
) -> None:
    first = switch(migrator, database, "on")
    switch(migrator, database, "on", phase="begin", reason="another", operator={"user": "bob"})
    switch(migrator, database, "on", reason="another", operator={"user": "bob"})

    record = mode.state(client, database.name) or {}
    assert {key: record[key] for key in ("since", "by", "reason")} == {
        key: first[key] for key in ("since", "by", "reason")
    }


def test_check_mode_records_no_begin(migrator: Client, client: Client, database: Data) -> None:
    switch(migrator, database, "on", phase="begin", check=True)

    assert mode.state(client, database.name) is None
