"""A restore that slept while another one took over reaches nothing of that when it wakes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from mongo_migration.errors import LeaseHeldError, MigrationError
from pymongo import MongoClient, monitoring
from pymongo.database import Database
from pymongo.errors import PyMongoError

from tests.support import backups

Client = MongoClient[dict[str, Any]]


class Sleeper(monitoring.CommandListener):
    """Puts every thread of a client to sleep at its n-th command of a kind, before it is sent."""

    def __init__(self, command: str, number: int) -> None:
        self._command, self._left = command, number
        self.asleep, self.awake = threading.Event(), threading.Event()
        self.watching = False

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if not self.watching:
            return
        if event.command_name == self._command and not self.asleep.is_set():
            self._left -= 1
            if not self._left:
                self.asleep.set()
        if self.asleep.is_set():
            assert self.awake.wait(60)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Not needed."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Not needed."""


def two_backups(database: Database[dict[str, Any]], folder: Path) -> tuple[Path, Path]:
    """Return one of the time before, without `gone`, and one with other documents everywhere."""
    database["items"].insert_many([{"_id": n} for n in range(50)])
    database["items"].create_index("later")
    database["_migrations"].insert_one(
        {"_id": "r1", "kind": "run", "number": 1, "phase": "applied"}
    )
    before = Path(backups.take(database.client, database.name, folder / "before")["archive"])
    database["items"].update_many({}, {"$set": {"later": True}})
    database["gone"].insert_many([{"_id": n} for n in range(20)])
    database["_migrations"].insert_one(
        {"_id": "r2", "kind": "run", "number": 2, "phase": "verified"}
    )
    after = Path(backups.take(database.client, database.name, folder / "after")["archive"])
    return before, after


def _restore_when_free(client: Client, database: str, archive: Path) -> None:
    """Restore; a renewal that the other process sent before it fell asleep counts for a moment."""
    for _ in range(5):
        try:
            backups.put_back(client, database, archive)
        except LeaseHeldError:
            continue
        return
    raise AssertionError("the lease of a process that sleeps is held")


@pytest.mark.parametrize(
    ("command", "number"),
    [
        ("insert", 1),  # loading
        ("create", 3),
        ("createIndexes", 1),
        ("commitTransaction", 1),  # saying that it replaces
        ("drop", 2),  # removing `gone`
        ("drop", 3),  # cleaning up
        ("renameCollection", 2),  # replacing `items`
        ("delete", 1),  # the record
        ("commitTransaction", 2),
        ("commitTransaction", 3),
    ],
)
def test_what_it_does_when_it_wakes_has_no_effect(
    command: str,
    number: int,
    replica_set: Any,
    database: Database[dict[str, Any]],
    tmp_path: Path,
) -> None:
    _sleep_and_wake(replica_set.uri("admin"), database, Sleeper(command, number), tmp_path)


@pytest.mark.parametrize(
    ("command", "number"),
    [
        ("aggregate", 1),  # saying that it replaces
        ("drop", 2),
        ("renameCollection", 2),
        ("renameCollection", 3),  # the record
        ("delete", 2),  # saying that it is done
    ],
)
def test_nor_has_it_on_a_server_without_transactions(
    command: str,
    number: int,
    standalone: Any,
    standalone_database: Database[dict[str, Any]],
    tmp_path: Path,
) -> None:
    sleeper = Sleeper(command, number)
    _sleep_and_wake(standalone.uri(None), standalone_database, sleeper, tmp_path)


def _sleep_and_wake(
    uri: str, database: Database[dict[str, Any]], sleeper: Sleeper, folder: Path
) -> None:
    before, after = two_backups(database, folder)
    wanted = backups.facts(database)
    ended: list[Any] = []

    def restore() -> None:
        with MongoClient[dict[str, Any]](uri, tz_aware=True, event_listeners=[sleeper]) as sleepy:
            sleepy.admin.command("ping")
            sleeper.watching = True
            try:
                hold = backups.lease_of("restore", seconds=1)
                ended.append(backups.put_back(sleepy, database.name, before, hold=hold))
            except (MigrationError, PyMongoError) as error:
                ended.append(error)

    thread = threading.Thread(target=restore)
    thread.start()
    try:
        assert sleeper.asleep.wait(30)
        _restore_when_free(database.client, database.name, after)
        assert backups.facts(database) == wanted
    finally:
        sleeper.awake.set()
        thread.join(60)

    assert isinstance(ended[0], MigrationError | PyMongoError)
    found = backups.facts(database)
    assert {name: one for name, one in found.items() if "restore." not in name} == wanted
    assert database["_migrations"].find_one({"_id": "restore"}) is None
