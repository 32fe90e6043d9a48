"""An application hangs in its transaction: it is named, and nobody else has to stand behind us."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymongo
import pytest
from bson import Binary
from mongo_migration.ledger import transaction
from mongo_migration.procedures import migrate, plan, preflight, rollback
from mongo_migration.procedures.work import Job
from mongo_migration.server import transactions
from mongo_migration.support.stop import StopSignal
from pymongo import MongoClient

from embedded.mongod import ReplicaSet
from embedded.processes import wait_until
from tests.support.migrations import ANNA, Deployment

Client = MongoClient[dict[str, Any]]

INDEX = (
    """
id: "901"
name: numbered
summary: An index.
downtime: none
steps:
  - create_index: {collections: [items], keys: {number: 1}}
""",
    "901-numbered.yml",
)
FIELD = (
    """
id: "902"
name: coloured
summary: A field.
downtime: none
steps:
  - set_field: {collections: [items], field: colour, value: {value: red}}
""",
    "902-coloured.yml",
)


@pytest.fixture
def shop(replica_set: ReplicaSet, deployment: Deployment) -> Iterator[Client]:
    deployment.data["items"].insert_many([{"_id": number} for number in range(50)])
    with replica_set.client("app", appname="shop") as client:
        yield client


@contextmanager
def hanging(shop: Client, deployment: Deployment) -> Iterator[None]:
    """An open transaction of the shop that changed an item, and does nothing more."""
    with shop.start_session() as session:
        session.start_transaction()
        items = shop[deployment.data.name]["items"]
        items.update_one({"_id": 1}, {"$set": {"sold": True}}, session=session)
        yield
        session.abort_transaction()


class Work:
    """Does something in a thread, and hears what it waits for."""

    def __init__(self, deployment: Deployment, work: Any, **options: Any) -> None:
        self.waits: list[str] = []
        self.ended: list[Any] = []
        self._job = Job(
            client=deployment.client,
            database=deployment.data.name,
            settings=migrate.Settings(retry_seconds=60),
            change={},
            operator=ANNA,
            progress=self._hear,
            stop=StopSignal(),
        )
        self._options = options
        self._work = work
        self._thread = threading.Thread(target=self._do)
        self._thread.start()

    def _do(self) -> None:
        try:
            self.ended.append(self._work(self._job, **self._options))
        except Exception as error:
            self.ended.append(error)

    def _hear(self, event: dict[str, Any]) -> None:
        if "waiting" in event:
            self.waits.append(event["waiting"])

    def waited(self) -> str:
        assert wait_until(lambda: bool(self.waits or self.ended), 30), "nothing is waited for"
        assert not self.ended, self.ended
        return self.waits[0]

    def end(self) -> Any:
        self._thread.join(60)
        [found] = self.ended
        return found


def someone_writes(deployment: Deployment) -> None:
    """Write as everybody does, which must not stand behind anything for long."""
    with pymongo.timeout(15):
        deployment.data["items"].insert_one({})


def test_an_index_build_and_its_drop_let_others_pass_while_a_transaction_holds_the_collection(
    deployment: Deployment, shop: Client
) -> None:
    with hanging(shop, deployment):
        work = Work(deployment, migrate.migrate, definition=deployment.load(INDEX))
        said = work.waited()
        someone_writes(deployment)
    assert "waiting for the lock of items" in said
    assert "a transaction of shop (" in said
    assert "killAllSessionsByPattern" in said
    assert work.end()["phase"] == "applied"
    assert "number_1" in deployment.data["items"].index_information()

    with hanging(shop, deployment):
        work = Work(
            deployment, rollback.roll_back, migration="901", definition=deployment.load(INDEX)
        )
        assert "a transaction of shop (" in work.waited()
        someone_writes(deployment)
    assert work.end()["phase"] == "rolled_back"
    assert "number_1" not in deployment.data["items"].index_information()


def test_a_document_that_a_transaction_holds_is_waited_for_under_its_name(
    deployment: Deployment, shop: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "_SECONDS", 0.2)
    with hanging(shop, deployment):
        work = Work(deployment, migrate.migrate, definition=deployment.load(FIELD))
        said = work.waited()
    assert said.startswith("waiting for a transaction of shop (")
    assert work.end()["modified"] == 50


def test_preflight_and_the_plan_see_a_transaction_that_hangs(
    deployment: Deployment,
    shop: Client,
    independent: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plan, "HUNG_SECONDS", 0.0)

    def examine() -> list[dict[str, Any]]:
        result = preflight.examine(
            client=deployment.client,
            database=deployment.data.name,
            definition=deployment.load(INDEX),
            thresholds={},
            long_operation_seconds=0.001,
            maintenance=preflight.Maintenance(needed=False),
        )
        return [check for check in result["checks"] if check["name"] == "open transactions"]

    with hanging(shop, deployment):
        found = examine()
        warnings = deployment.plan(INDEX)["warnings"]
        [open_one] = [one for one in transactions.read(independent) if "shop" in one.who]
        lsid = {"id": Binary(open_one.session, 4), "uid": open_one.user}
        # What the remedy says, as the driver says it.
        independent.admin.command("killAllSessionsByPattern", [{"lsid": lsid}])
        assert not [one for one in transactions.read(independent) if "shop" in one.who]

    [check] = [one for one in found if "shop" in one["found"]]
    assert check["status"] == "problem"
    assert "killAllSessionsByPattern" in check["fix"]
    assert any("a transaction of shop (" in warning for warning in warnings)
