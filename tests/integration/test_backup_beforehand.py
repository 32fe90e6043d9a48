"""The backup of the instant at which writers are stopped, most of it taken before they are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mongo_migration.backup import beforehand, changes, create
from mongo_migration.support.progress import quiet
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from embedded.mongod import ReplicaSet, Standalone
from tests.support import backups, databases

Client = MongoClient[dict[str, Any]]
Db = Database[dict[str, Any]]
ROOT = Path(__file__).parents[2]


def plan(client: Client, database: Db, folder: Path) -> dict[str, Any]:
    return beforehand.plan(client, database.name, create.Settings(folder=folder), seconds=10)


def ahead(client: Client, database: Db, folder: Path, **options: Any) -> dict[str, Any]:
    return beforehand.back_up(
        client, database.name, create.Settings(folder=folder), progress=quiet, **options
    )


def add(client: Client, database: Db, base: str, **options: Any) -> dict[str, Any]:
    """Take what changed since *base*, as with stopped writers."""
    settings = create.Settings(folder=Path(base).parent, base=Path(base))
    return create.back_up(client, database.name, settings, **{"progress": quiet, **options})


def restored(client: Client, archive: str, database: Db) -> Any:
    with databases.fresh(client, roles=False) as other:
        backups.put_back(
            client, other.name, Path(archive), source_database=database.name, keep_state=False
        )
        return backups.facts(other)


def slow(seconds: float) -> Callable[[], float]:
    """Return a clock by which every look at it has taken *seconds*."""
    ticks = iter(range(10_000))
    return lambda: next(ticks) * seconds


def test_it_is_known_beforehand_and_nothing_is_written(
    client: Client, database: Db, independent: Client, tmp_path: Path
) -> None:
    database["items"].insert_one({"_id": 1})
    before = backups.facts(independent[database.name])

    assert plan(client, database, tmp_path / "new") == {"why_not": None, "lately": None}
    assert backups.facts(independent[database.name]) == before
    assert not (tmp_path / "new").exists()


def test_a_standalone_server_does_not_tell(
    standalone: Standalone, standalone_database: Db, tmp_path: Path
) -> None:
    with standalone.client() as client:
        found = plan(client, standalone_database, tmp_path)

    assert "a standalone server" in found["why_not"]


def test_a_user_who_may_not_read_the_stream_is_told(
    client: Client, database: Db, replica_set: ReplicaSet, tmp_path: Path
) -> None:
    database["items"].insert_one({"_id": 1})
    resource = {"db": database.name, "collection": ""}
    finds = {"resource": resource, "actions": ["find", "listCollections", "collStats"]}
    database.command("createRole", "finds", privileges=[finds], roles=[])
    database.command("createUser", "finder", pwd="finder", roles=["finds"])
    try:
        with MongoClient[dict[str, Any]](
            replica_set.uri(None),
            username="finder",
            password="finder",
            authSource=database.name,
            tlsCAFile=None,
        ) as limited:
            found = plan(limited, limited[database.name], tmp_path)
    finally:
        database.command("dropUser", "finder")
        database.command("dropRole", "finds")

    assert f"may not read the change stream of {database.name}" in found["why_not"]


def test_an_oplog_that_does_not_reach_back_is_told(
    client: Client, database: Db, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a gigabyte of writes to make a server forget: here it only says that it has."""

    def fail(*_arguments: Any) -> Any:
        raise OperationFailure("as the server says it", 286)

    monkeypatch.setattr(changes, "_reply", fail)

    assert "oplog doesn't reach back" in plan(client, database, tmp_path)["why_not"]


def test_where_it_took_long_what_changed_meanwhile_is_taken_too(
    client: Client, database: Db, independent: Client, tmp_path: Path
) -> None:
    backups.everything(database)
    quick = ahead(client, database, tmp_path)
    assert quick["earlier"] == []
    assert quick["chain"] == [quick["archive"]]

    result = ahead(client, database, tmp_path, clock=slow(beforehand.ENOUGH_SECONDS + 1))
    assert len(result["earlier"]) == beforehand.MOST_TURNS - 1
    assert result["chain"] == [result["archive"], *reversed(result["earlier"])]
    database["items"].delete_many({"n": {"$lt": 100}})
    last = add(client, database, result["archive"])
    now = backups.facts(independent[database.name])

    assert last["why_whole"] is None
    assert last["chain"] == [last["archive"], *result["chain"]]
    assert restored(client, last["archive"], database) == now


def test_killed_while_the_rest_is_added_it_goes_on_from_what_is_there(
    client: Client, database: Db, independent: Client, replica_set: ReplicaSet, tmp_path: Path
) -> None:
    backups.everything(database)
    first = ahead(client, database, tmp_path)
    database["items"].delete_many({"n": {"$lt": 100}})
    program = f"""
import os, signal
from pathlib import Path
from pymongo import MongoClient
from mongo_migration.backup import create
def sink(event):
    if event["phase"] in ("read changes", "back up") and event.get("done"):
        os.kill(os.getpid(), signal.SIGKILL)
create.back_up(
    MongoClient({replica_set.uri()!r}),
    {database.name!r},
    create.Settings(folder=Path({str(tmp_path)!r}), base=Path({first["archive"]!r})),
    progress=sink,
)
"""
    died = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT / "plugins" / "module_utils")},
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    assert list(tmp_path.glob(".unfinished-*"))

    found = plan(client, database, tmp_path)
    assert found == {"why_not": None, "lately": first["archive"]}
    last = add(client, database, found["lately"])

    assert last["why_whole"] is None
    assert restored(client, last["archive"], database) == backups.facts(independent[database.name])
    assert not list(tmp_path.glob(".unfinished-*"))


def test_what_was_left_long_ago_is_not_added_to(
    client: Client, database: Db, tmp_path: Path
) -> None:
    database["items"].insert_one({"_id": 1})
    archive = Path(ahead(client, database, tmp_path)["archive"])
    archive.rename(archive.with_name("backup-20200101-000000.tar.gz"))

    assert plan(client, database, tmp_path)["lately"] is None


@pytest.fixture
def three_client(three_members: ReplicaSet) -> Iterator[Client]:
    with three_members.client(connectTimeoutMS=1000, serverSelectionTimeoutMS=3000) as client:
        yield client


@pytest.mark.slow
def test_a_primary_that_is_killed_while_the_rest_is_added_costs_time_and_nothing_else(
    three_members: ReplicaSet, three_client: Client, three_database: Db, tmp_path: Path
) -> None:
    database = three_client[three_database.name]
    database["items"].insert_many([{"_id": n, "n": n} for n in range(2000)])
    first = ahead(three_client, database, tmp_path)
    database["items"].update_many({"n": {"$lt": 500}}, {"$set": {"changed": True}})
    repairs: list[threading.Timer] = []

    def sink(event: dict[str, Any]) -> None:
        if event["phase"] == "read changes" and not repairs:
            primary = three_members.wait_for_primary()
            three_members.kill(primary)
            repairs.append(threading.Timer(3.5, three_members.restart, [primary]))
            repairs[0].start()

    last = add(three_client, database, first["archive"], progress=sink)
    (repair,) = repairs
    repair.join()

    assert last["why_whole"] is None
    three_members.wait_for_primary()
    three_members.wait_for_secondaries()
    assert restored(three_client, last["archive"], database) == backups.facts(three_database)
