"""A primary, a secondary that is down, an arbiter: writes are taken, and never confirmed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mongo_migration.backup import create
from mongo_migration.errors import ConnectionFailedError, InterruptedRunError
from mongo_migration.ledger import lease
from mongo_migration.ledger.runs import Run
from mongo_migration.procedures import migrate, preflight, rollback
from mongo_migration.procedures.work import Job
from mongo_migration.server import connection
from mongo_migration.support import retry
from mongo_migration.support.stop import StopSignal
from pymongo import MongoClient
from pymongo.database import Database

from tests.support import backups, databases
from tests.support.arbiter import WithArbiter, lose_majority
from tests.support.maintenance import set_mode
from tests.support.migrations import ANNA, Deployment

Db = Database[dict[str, Any]]

DOCUMENT = (
    """
id: "901"
name: touched
summary: One field in one collection, and its index.
downtime: none
steps:
  - set_field: {collections: [items], field: touched, value: {value: true}}
  - create_index: {collections: [items], keys: {touched: 1}}
""",
    "901-touched.yml",
)


@pytest.fixture
def servers(with_arbiter: WithArbiter) -> WithArbiter:
    return with_arbiter


@pytest.fixture
def data(servers: WithArbiter) -> Iterator[Db]:
    with servers.client() as admin, databases.fresh(admin, roles=True) as fresh:
        fresh["items"].insert_many([{"_id": number} for number in range(3)])
        yield fresh
        servers.revive()  # or its dropping would wait for it
        servers.wait_for_secondaries()


@pytest.fixture
def client(servers: WithArbiter, data: Db) -> Iterator[MongoClient[dict[str, Any]]]:
    options = {"uri": servers.uri("migrator"), "database": data.name}
    with connection.connect(options) as client:
        yield client


class Told:
    """Hears what is waited for, and asks for a stop when it does."""

    def __init__(self) -> None:
        self.stop = StopSignal()
        self.waits: list[str] = []

    def __call__(self, event: dict[str, Any]) -> None:
        if "waiting" in event:
            self.waits.append(event["waiting"])
            self.stop.ask("SIGINT received")


def changing(client: Any, data: Db, told: Told, tmp_path: Path) -> dict[str, Callable[[], object]]:
    """Return everything that changes something, with a minute's patience."""
    deployment = Deployment(client, data)
    settings = migrate.Settings(retry_seconds=60)
    common: dict[str, Any] = {
        "client": client,
        "database": data.name,
        "settings": settings,
        "change": {},
        "operator": ANNA,
        "progress": told,
        "stop": told.stop,
    }
    return {
        "migrate": lambda: migrate.migrate(Job(**common), deployment.load(DOCUMENT)),
        "rollback": lambda: rollback.roll_back(Job(**common), "901"),
        "restore": lambda: backups.put_back(
            client,
            data.name,
            tmp_path / "archive",
            retry_seconds=60,
            progress=told,
            stop=told.stop,
            hold=lambda database: lease.hold(
                database,
                purpose="restore",
                holder=ANNA,
                seconds=30,
                patience=settings.patience(told.stop, told, "lease"),
            ),
        ),
        "back up": lambda: create.back_up(
            client,
            data.name,
            create.Settings(folder=tmp_path, retry_seconds=60),
            progress=told,
            stop=told.stop,
        ),
    }


@pytest.mark.parametrize("work", ["migrate", "rollback", "restore", "back up"])
def test_without_a_majority_work_says_what_it_waits_for_and_hears_a_stop(
    servers: WithArbiter, data: Db, client: Any, tmp_path: Path, work: str
) -> None:
    if work == "rollback":
        Deployment(client, data).migrate(DOCUMENT)
    if work == "restore":
        made = backups.take(client, data.name, tmp_path / "made")["archive"]
        (tmp_path / "archive").symlink_to(made)
    down = lose_majority(servers, client)
    before = list(data["_migrations"].find())
    told = Told()

    with pytest.raises(InterruptedRunError, match="SIGINT"):
        changing(client, data, told, tmp_path)[work]()

    assert told.waits[0].startswith("waiting for a majority")
    assert f"{down} is down" in told.waits[0]
    assert list(data["_migrations"].find()) == before


def test_work_goes_on_by_itself_when_the_majority_is_back(
    servers: WithArbiter, data: Db, client: Any
) -> None:
    lose_majority(servers, client)
    waits: list[str] = []

    def come_back(event: dict[str, Any]) -> None:
        if "waiting" in event and not waits:
            servers.restart(servers.secondary)
        waits.extend([event["waiting"]] if "waiting" in event else [])

    done = migrate.migrate(
        Job(
            client=client,
            database=data.name,
            settings=migrate.Settings(retry_seconds=60),
            change={},
            operator=ANNA,
            progress=come_back,
            stop=StopSignal(),
        ),
        Deployment(client, data).load(DOCUMENT),
    )

    assert waits
    assert done["phase"] == "applied"
    assert data["items"].count_documents({"touched": True}) == 3


def test_a_majority_that_is_lost_at_work_is_waited_for_and_named(
    servers: WithArbiter, data: Db, client: Any
) -> None:
    waits: list[str] = []
    down: list[str] = []

    def lose(event: dict[str, Any]) -> None:
        if event.get("kind") == "set_field" and not down:
            down.append(lose_majority(servers, client))
        if "waiting" in event:
            if not waits:
                servers.restart(servers.secondary)
            waits.append(event["waiting"])

    done = migrate.migrate(
        Job(
            client=client,
            database=data.name,
            settings=migrate.Settings(retry_seconds=60, batch_size=1),
            change={},
            operator=ANNA,
            progress=lose,
            stop=StopSignal(),
        ),
        Deployment(client, data).load(DOCUMENT),
    )

    assert waits[0].startswith(f"waiting for a majority: {down[0]} is down")
    assert done["phase"] == "applied"
    assert data["items"].count_documents({"touched": True}) == 3


@pytest.mark.parametrize("phase", ["load", "compare", "index"])
def test_a_restore_that_loses_its_majority_waits_for_it_and_goes_on(
    servers: WithArbiter, data: Db, client: Any, tmp_path: Path, phase: str
) -> None:
    data["items"].create_index("touched")
    archive = Path(backups.take(client, data.name, tmp_path)["archive"])
    data["items"].update_many({}, {"$set": {"touched": True}})
    waits: list[str] = []
    down: list[str] = []

    def lose(event: dict[str, Any]) -> None:
        if event.get("phase") == phase and not down and "waiting" not in event:
            down.append(lose_majority(servers, client))
        if "waiting" in event:
            if not waits:
                servers.restart(servers.secondary)
            waits.append(event["waiting"])

    # Of the server's default, which waits for members without an end, nothing may depend.
    backups.put_back(client, data.name, archive, retry_seconds=60, progress=lose)

    assert waits[0].startswith(f"waiting for a majority: {down[0]} is down")
    assert data["items"].count_documents({"touched": True}) == 0


def test_what_was_read_of_a_run_is_believed_only_if_a_majority_confirms_it(
    servers: WithArbiter, data: Db, client: Any, tmp_path: Path
) -> None:
    """Also where nothing would be written, because all is done already."""
    Deployment(client, data).migrate(DOCUMENT)
    down = lose_majority(servers, client)
    told = Told()

    with pytest.raises(InterruptedRunError, match="SIGINT"):
        changing(client, data, told, tmp_path)["migrate"]()

    assert f"{down} is down" in told.waits[0]


def test_a_majority_that_is_lost_between_the_lease_and_the_first_batch_is_waited_for(
    servers: WithArbiter, data: Db, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[str] = []
    prepare = Run.prepare

    def lose(database: Db) -> None:
        monkeypatch.setattr(Run, "prepare", prepare)
        prepare(database)
        lose_majority(servers, client)

    def come_back(event: dict[str, Any]) -> None:
        if "waiting" in event:
            if not waits:
                servers.restart(servers.secondary)
            waits.append(event["waiting"])

    monkeypatch.setattr(Run, "prepare", lose)
    job = Job(
        client=client,
        database=data.name,
        settings=migrate.Settings(retry_seconds=60),
        change={},
        operator=ANNA,
        progress=come_back,
        stop=StopSignal(),
    )
    done = migrate.migrate(job, Deployment(client, data).load(DOCUMENT))

    assert waits[0].startswith("waiting for a majority")
    assert done["phase"] == "applied"
    assert data["_migrations"].count_documents({"kind": "run"}) == 1


def test_patience_ends_with_the_members_names_and_nothing_written(
    servers: WithArbiter, data: Db, client: Any
) -> None:
    down = lose_majority(servers, client)

    with (
        pytest.raises(ConnectionFailedError, match="Nothing was written") as error,
        lease.hold(
            client[data.name],
            purpose="a test",
            holder=ANNA,
            seconds=5,
            patience=retry.Patience(seconds=0),
        ),
    ):
        pass

    assert f"{down} is down" in error.value.message
    assert "1 of the 2 members" in error.value.message
    assert data["_migrations"].find_one({"_id": "lease"}) is None


def test_verification_and_maintenance_end_too(servers: WithArbiter, data: Db, client: Any) -> None:
    deployment = Deployment(client, data)
    deployment.migrate(DOCUMENT)
    down = lose_majority(servers, client)

    with pytest.raises(ConnectionFailedError, match=f"{down} is down"):
        deployment.verify(DOCUMENT, lease_seconds=1)
    with pytest.raises(ConnectionFailedError, match=f"{down} is down"):
        set_mode(client, data.name, "on", majority_seconds=1)

    assert deployment.applied("901")
    assert data["_migrations"].find_one({"_id": "maintenance"}) is None


def test_preflight_counts_the_healthy_votes(servers: WithArbiter, data: Db, client: Any) -> None:
    def majority() -> dict[str, Any]:
        result = preflight.examine(
            client=client,
            database=data.name,
            definition=Deployment(client, data).load(DOCUMENT),
            thresholds={},
            long_operation_seconds=60,
            maintenance=preflight.Maintenance(),
        )
        return next(check for check in result["checks"] if check["name"] == "majority")

    assert majority()["status"] == "ok"
    down = lose_majority(servers, client)
    check = majority()
    assert check["status"] == "problem"
    assert f"{down} is down" in check["found"]
