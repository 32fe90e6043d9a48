"""Which backup is the newest of a database, and which one a run may rely on."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mongo_migration.backup import belief, create, estimate, listing
from mongo_migration.backup.crypt import Lock
from mongo_migration.errors import ArchiveError
from mongo_migration.procedures import status
from mongo_migration.support.progress import quiet
from pymongo import MongoClient
from pymongo.database import Database
from pyrage import x25519

from embedded.mongod import Standalone
from embedded.processes import wait_until
from tests.support import archives, backups, databases

Client = MongoClient[dict[str, Any]]
SEALED = Lock(recipients=(str(x25519.Identity.generate().to_public()),))


def begin(database: Database[dict[str, Any]], run: str = "004-1") -> str:
    """Write what a run writes of itself before its first document."""
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
    database["_migrations"].insert_one({"_id": run, "kind": "run", "number": 1, "started": now})
    return run


@pytest.fixture
def small(database: Database[dict[str, Any]]) -> Database[dict[str, Any]]:
    database["items"].insert_many([{"_id": n} for n in range(10)])
    return database


def require(client: Client, database: str, archive: Path, run: str) -> None:
    belief.require(client, database, archive, run, progress=quiet)


@pytest.mark.parametrize("lock", [Lock(), SEALED])
def test_the_backup_from_before_a_run_is_believed(
    lock: Lock, client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    archive = Path(backups.take(client, small.name, tmp_path, lock=lock)["archive"])
    run = begin(small)
    small["items"].delete_many({})

    require(client, small.name, archive, run)


@pytest.mark.parametrize("lock", [Lock(), SEALED])
def test_what_was_taken_later_or_is_damaged_or_missing_isnt(
    lock: Lock, client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    archive = Path(backups.take(client, small.name, tmp_path, lock=lock)["archive"])
    small["_migrations"].insert_one(
        {"_id": "old", "started": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)}
    )
    with pytest.raises(ArchiveError, match="after the run old had begun"):
        require(client, small.name, archive, "old")

    run = begin(small)
    raw = bytearray(archive.read_bytes())
    raw[len(raw) // 2] ^= 1
    archive.write_bytes(raw)
    with pytest.raises(ArchiveError, match="damaged"):
        require(client, small.name, archive, run)
    archive.unlink()
    with pytest.raises(ArchiveError, match="isn't there"):
        require(client, small.name, archive, run)


def test_a_backup_that_knows_the_run_isnt_from_before_it(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    run = begin(small)
    archive = Path(backups.take(client, small.name, tmp_path)["archive"])

    with pytest.raises(ArchiveError, match=f"the run {run} had begun already"):
        require(client, small.name, archive, run)


def test_a_backup_of_another_database_or_deployment_isnt(
    client: Client,
    small: Database[dict[str, Any]],
    standalone_database: Database[dict[str, Any]],
    tmp_path: Path,
) -> None:
    archive = Path(backups.take(client, small.name, tmp_path)["archive"])
    run = begin(small)
    with databases.fresh(client, roles=False) as other:
        other["items"].insert_one({"_id": 1})
        begin(other)
        with pytest.raises(ArchiveError, match="is of the database"):
            require(client, other.name, archive, run)
    typed = tmp_path / "backup-20200101-000000.tar.gz"
    written = {"database": small.name, "finished": "2020-01-01T00:00:00Z", "set_name": "rs0"}
    archives.write(typed, {"items": [{"_id": 1}]}, **written)
    with pytest.raises(ArchiveError, match="another database of the same name"):
        require(client, small.name, typed, run)
    elsewhere = standalone_database.client[small.name]
    try:
        begin(elsewhere)
        with pytest.raises(ArchiveError, match="another deployment"):
            require(standalone_database.client, small.name, archive, run)
    finally:
        standalone_database.client.drop_database(small.name)


def test_the_newest_backup_is_that_of_the_database(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    """The link shows the newest of all that share the folder."""
    mine = backups.take(client, small.name, tmp_path)["archive"]
    with databases.fresh(client, roles=False) as other:
        other["items"].insert_one({"_id": 1})
        theirs = backups.take(client, other.name, tmp_path)["archive"]
        options: dict[str, Any] = {"now": create.utc_now(), "progress": quiet, "verify": False}
        listed = listing.find(tmp_path, database=small.name, **options)

    assert listed["latest"] == theirs
    assert listed["newest"]["archive"] == mine
    assert listing.find(tmp_path, database="nobody", **options)["newest"] is None


@pytest.fixture
def locked(standalone_database: Database[dict[str, Any]]) -> Any:
    """A server that a killed backup left locked."""
    standalone_database["items"].insert_one({"_id": 1})
    admin = standalone_database.client.admin
    admin.command("fsync", lock=True)
    yield standalone_database
    while admin.command({"currentOp": 1, "$ownOps": True}).get("fsyncLock"):
        admin.command("fsyncUnlock")


def test_a_server_that_is_locked_against_writes_is_named(
    locked: Database[dict[str, Any]], tmp_path: Path
) -> None:
    client = locked.client
    archive = tmp_path / "backup-20261123-020533.tar.gz"
    archives.write(archive, {"items": [{"_id": 1}]}, database=locked.name)

    for attempt in (
        lambda: estimate.plan(client, locked.name, create.Settings(folder=tmp_path)),
        lambda: backups.take(client, locked.name, tmp_path),
        lambda: backups.take(client, locked.name, tmp_path, fsync_lock=True),
        lambda: backups.put_back(client, locked.name, archive),
    ):
        with pytest.raises(ArchiveError, match=r"db\.fsyncUnlock\(\)"):
            attempt()

    found = status.describe(client=client, database=locked.name, definition=None)
    assert any("db.fsyncUnlock()" in problem for problem in found["problems"])
    assert client.admin.command("fsyncUnlock")["lockCount"] == 0  # nobody locked it once more


LOCKING = """
import sys, time
from pathlib import Path
from mongo_migration.backup import create
from pymongo import MongoClient
settings = create.Settings(folder=Path(sys.argv[3]), fsync_lock=True)
client = MongoClient(sys.argv[1], tz_aware=True)
create.back_up(client, sys.argv[2], settings, progress=lambda event: time.sleep(1))
"""


def test_a_backup_that_is_killed_while_it_locks_the_server_is_named_by_the_next_one(
    standalone: Standalone, standalone_database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    data, admin = standalone_database, standalone_database.client.admin
    data["items"].insert_many([{"_id": n} for n in range(50)])

    def is_locked() -> bool:
        return bool(admin.command({"currentOp": 1, "$ownOps": True}).get("fsyncLock"))

    command = [sys.executable, "-c", LOCKING, standalone.uri(None), data.name, str(tmp_path)]
    with subprocess.Popen(command) as process:
        try:
            assert wait_until(is_locked, 30, 0.05)
        finally:
            process.kill()
    try:
        with pytest.raises(ArchiveError, match=r"was killed leaves it so.*db\.fsyncUnlock\(\)"):
            backups.take(data.client, data.name, tmp_path, fsync_lock=True)
    finally:
        left = admin.command("fsyncUnlock")["lockCount"]

    assert left == 0  # once is enough: the second backup didn't lock it again
    archive = Path(backups.take(data.client, data.name, tmp_path, fsync_lock=True)["archive"])
    assert [path.name for path in tmp_path.glob("backup-*")] == [archive.name]
    data["items"].insert_one({"_id": "writes are possible again"})
