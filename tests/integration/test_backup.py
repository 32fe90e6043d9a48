"""What a backup promises: one point in time, verified, and never half a file under a final name."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tarfile
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import bson
import pytest
from mongo_migration.backup import create, dump, estimate, listing, open_source, store
from mongo_migration.backup.reader import Reader
from mongo_migration.errors import ArchiveError, InterruptedRunError
from mongo_migration.support.progress import quiet
from mongo_migration.values import raw
from mongo_migration.values.digest import Digest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from tests.support import backups

Client = MongoClient[dict[str, Any]]


@pytest.fixture
def small(database: Database[dict[str, Any]]) -> Database[dict[str, Any]]:
    database["items"].insert_many([{"_id": n, "n": n} for n in range(100)])
    return database


def test_raw_documents_are_those_of_the_driver(database: Database[dict[str, Any]]) -> None:
    documents = [{"_id": n, "text": "x" * (n % 700)} for n in range(12_345)]
    database["items"].insert_many(documents)

    assert list(raw.raw_documents(database, "items")) == list(map(bson.encode, documents))
    assert list(
        raw.raw_documents(
            database,
            "items",
            filter={"_id": {"$gte": 12_000}},
            projection={"text": 0},
            batch_size=7,
        )
    ) == [bson.encode({"_id": n}) for n in range(12_000, 12_345)]
    assert list(raw.raw_documents(database, "missing")) == []


def test_a_pass_that_stops_early_leaves_no_cursor(
    database: Database[dict[str, Any]], independent: Client
) -> None:
    database["items"].insert_many([{"_id": n} for n in range(5000)])
    documents = raw.raw_documents(database, "items", comment="stops early", batch_size=10)
    next(documents)
    documents.close()  # type: ignore[attr-defined]

    idle = independent.admin.aggregate(
        [
            {"$currentOp": {"allUsers": True, "idleCursors": True}},
            {"$match": {"cursor.originatingCommand.comment": "stops early"}},
        ]
    )
    assert list(idle) == []


def test_archive_is_named_linked_and_private(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    old_umask = os.umask(0o022)
    try:
        result = backups.take(client, small.name, tmp_path / "backups")
    finally:
        os.umask(old_umask)
    archive = Path(result["archive"])

    assert archive.name.startswith("backup-20")
    assert archive.stat().st_mode & 0o777 == 0o600
    assert archive.parent.stat().st_mode & 0o777 == 0o700
    assert (archive.parent / "latest.tar.gz").readlink() == Path(archive.name)
    assert sorted(path.name for path in archive.parent.iterdir()) == [archive.name, "latest.tar.gz"]
    assert result["bytes"] == archive.stat().st_size


def test_manifest_tells_the_truth(
    client: Client, small: Database[dict[str, Any]], independent: Client, tmp_path: Path
) -> None:
    small["items"].create_index("n", name="by n")
    manifest = backups.take(client, small.name, tmp_path, note={"ticket": "CHG-1"})["manifest"]

    documents = [bson.encode(one) for one in independent[small.name]["items"].find()]
    (items,) = manifest["collections"]
    assert manifest["database"] == small.name
    assert manifest["consistent"] is True
    assert manifest["server"]["version"] == client.server_info()["version"]
    assert manifest["note"] == {"ticket": "CHG-1"}
    assert items["count"] == 100
    assert items["size"] == sum(map(len, documents))
    assert items["digest"] == Digest.of(documents).hexdigest()
    assert items["indexes"] == ["_id_", "by n"]


def test_every_kind_of_collection_has_its_files(
    client: Client, database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    backups.everything(database)
    archive = backups.take(client, database.name, tmp_path)["archive"]
    with tarfile.open(archive) as tar:
        found = {Path(name).name for name in tar.getnames()}

    assert {"weather.metadata.json", "system.buckets.weather.bson"} <= found
    assert "view.metadata.json" in found
    assert "view.bson" not in found
    assert "a+name%2Fwith+%C3%BCn%C3%AFcode+%26+more.bson" in found
    assert "manifest.json" in found


def test_two_collections_are_of_one_point_in_time(
    client: Client, database: Database[dict[str, Any]], independent: Client, tmp_path: Path
) -> None:
    """Writers move amounts between two collections in transactions; the sum never changes."""
    accounts = 3000
    for name in ("left", "right"):
        database[name].insert_many(
            [{"_id": n, "amount": 100, "pad": "x" * 500} for n in range(accounts)]
        )
    stop, moved = threading.Event(), [0, 0]

    def move(worker: int) -> None:
        number = worker
        while not stop.is_set():
            number = (number + 7) % accounts
            try:
                with independent.start_session() as session, session.start_transaction():
                    one = independent[database.name]
                    one["left"].update_one(
                        {"_id": number}, {"$inc": {"amount": -1}}, session=session
                    )
                    one["right"].update_one(
                        {"_id": accounts - 1 - number}, {"$inc": {"amount": 1}}, session=session
                    )
                moved[worker] += 1
            except PyMongoError:
                continue

    threads = [threading.Thread(target=move, args=(worker,)) for worker in range(2)]
    for thread in threads:
        thread.start()
    try:
        archives = [
            backups.take(client, database.name, tmp_path / str(n))["archive"] for n in range(3)
        ]
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert sum(moved) > 20
    for archive in archives:
        with Reader(Path(archive)) as reader:
            amounts = {
                one.name: sum(
                    bson.decode(document)["amount"]
                    for batch in reader.batches(one)
                    for document in batch
                )
                for one in reader.manifest.collections
            }
        assert amounts["left"] + amounts["right"] == 200 * accounts
        assert amounts["left"] != 100 * accounts


@pytest.mark.parametrize("made_again", [True, False])
def test_a_collection_dropped_meanwhile_does_not_spoil_it(
    made_again: bool,
    client: Client,
    small: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first attempt can't read the collection at its snapshot; the second succeeds."""
    small["people"].insert_one({"_id": 1})
    original, attempts = dump.snapshot, []

    def snapshot(*arguments: Any, **options: Any) -> Any:
        what = original(*arguments, **options)
        if not attempts:  # between the catalog and the reading of it
            small["items"].drop()
            if made_again:
                small["items"].insert_one({"_id": "new"})
        attempts.append(what.time)
        return what

    monkeypatch.setattr(dump, "snapshot", snapshot)
    result = backups.take(client, small.name, tmp_path)

    assert len(attempts) == 2
    assert result["manifest"]["documents"] == 1 + made_again


def test_missing_database_is_refused(client: Client, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="has no collections"):
        backups.take(client, "test_nothing_here", tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_plan_says_what_it_would_take_and_writes_nothing(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    folder = tmp_path / "not" / "there"
    plan = estimate.plan(client, small.name, create.Settings(folder=folder))

    assert plan["documents"] == 100
    assert plan["bytes"] > 1000
    assert plan["fits"] is True
    assert plan["consistent"] is True
    assert not folder.exists()


def test_too_little_room_is_seen_beforehand(
    client: Client,
    small: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store.Store, "free", lambda self: 1000)

    with pytest.raises(ArchiveError, match="Nothing was written"):
        backups.take(client, small.name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_halfway_leaves_what_was_there(
    client: Client, database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    database["items"].insert_many([{"_id": n, "blob": os.urandom(5000)} for n in range(600)])
    earlier = backups.take(client, database.name, tmp_path)["archive"]
    before = sorted(path.name for path in tmp_path.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(ArchiveError, match="filled up"):
            backups.take(client, database.name, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)

    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "latest.tar.gz").resolve() == Path(earlier)
    with open_source.open_source(Path(earlier)) as reader:  # type: ignore[union-attr]
        reader.check(quiet)


def test_an_archive_that_was_not_written_right_gets_no_name(
    client: Client,
    small: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    earlier = backups.take(client, small.name, tmp_path)["archive"]
    original = dump.write

    def write(database: Any, file: Any, **options: Any) -> Any:
        manifest = original(database, file, **options)
        file.seek(manifest.files[-1].content + 40)
        file.write(b"a disk that lies")
        file.flush()
        return manifest

    monkeypatch.setattr(dump, "write", write)
    with pytest.raises(ArchiveError, match="damaged"):
        backups.take(client, small.name, tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        Path(earlier).name,
        "latest.tar.gz",
    ]
    assert (tmp_path / "latest.tar.gz").resolve() == Path(earlier)


def test_kill_leaves_a_file_that_the_next_run_removes(
    client: Client, database: Database[dict[str, Any]], replica_set: Any, tmp_path: Path
) -> None:
    database["items"].insert_many([{"_id": n, "blob": os.urandom(5000)} for n in range(2000)])
    script = (
        "import sys; from pathlib import Path; from pymongo import MongoClient\n"
        "from mongo_migration.backup import create\n"
        "import time\n"
        "def slowly(event): time.sleep(0.3)\n"
        "create.back_up(MongoClient(sys.argv[1], tz_aware=True), sys.argv[2],\n"
        "    create.Settings(folder=Path(sys.argv[3])), progress=slowly)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, replica_set.uri("migrator"), database.name, tmp_path],
    )
    while process.poll() is None and not list(tmp_path.glob(".unfinished-*")):
        time.sleep(0.02)
    time.sleep(0.5)
    assert store.Store(tmp_path).prepare() == []  # its process lives: hands off
    process.kill()
    process.wait()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".unfinished-")

    result = backups.take(client, database.name, tmp_path)

    assert result["cleaned"] == [left.name]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        Path(result["archive"]).name,
        "latest.tar.gz",
    ]


@pytest.mark.parametrize("phase", ["back up", "verify archive"])
def test_a_stop_leaves_nothing_behind(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path, phase: str
) -> None:
    earlier = Path(backups.take(client, small.name, tmp_path)["archive"])
    before = {path.name: path.lstat().st_mtime_ns for path in tmp_path.iterdir()}
    seen = []

    def stop_at(event: dict[str, Any]) -> None:
        seen.append(event["phase"])
        if event["phase"] == phase:
            raise InterruptedRunError("a person wants it")

    with pytest.raises(InterruptedRunError):
        create.back_up(client, small.name, create.Settings(folder=tmp_path), progress=stop_at)
    assert seen[-1] == phase
    assert {path.name: path.lstat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert (tmp_path / "latest.tar.gz").resolve() == earlier


def test_two_backups_in_one_second_get_two_names(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    moment = create.utc_now()
    settings = create.Settings(folder=tmp_path)
    names = {
        create.back_up(client, small.name, settings, progress=quiet, now=lambda: moment)["archive"]
        for _ in range(3)
    }

    assert len(names) == 3
    assert (tmp_path / "latest.tar.gz").resolve() == Path(max(names))


def test_retention_keeps_the_newest_and_what_runs_rely_on(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    moments = [create.utc_now() - timedelta(days=days) for days in (40, 30, 20, 10, 0)]
    made = []
    for moment in moments:
        settings = create.Settings(folder=tmp_path)
        result = create.back_up(
            client, small.name, settings, progress=quiet, now=lambda moment=moment: moment
        )
        made.append(Path(result["archive"]))
    small["_migrations"].insert_many(
        [
            {"_id": "a", "kind": "run", "number": 1, "phase": "applied", "backup": str(made[0])},
            {
                "_id": "b",
                "kind": "run",
                "number": 2,
                "phase": "rolled_back",
                "backup": str(made[1]),
            },
        ]
    )
    made[2].write_bytes(b"damaged")

    result = backups.take(client, small.name, tmp_path, retention=store.Retention(count=1, days=15))

    assert result["removed"] == [made[1].name]
    assert made[0].exists()
    assert made[2].exists()  # nobody knows what is in it
    assert made[3].exists()  # younger than 15 days


def test_list_tells_damaged_from_intact_without_a_server(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    first = Path(backups.take(client, small.name, tmp_path)["archive"])
    time.sleep(1.1)
    second = Path(backups.take(client, small.name, tmp_path)["archive"])
    content = bytearray(first.read_bytes())
    content[300] ^= 1
    first.write_bytes(content)

    quick = listing.find(tmp_path, now=create.utc_now(), progress=quiet, verify=False)
    thorough = listing.find(tmp_path, now=create.utc_now(), progress=quiet, verify=True)

    assert [one["archive"] for one in quick["backups"]] == [str(second), str(first)]
    assert [one["verified"] for one in thorough["backups"]] == [True, False]
    assert "damaged" in thorough["backups"][1]["problem"]
    assert [one["latest"] for one in quick["backups"]] == [True, False]
    assert quick["backups"][0]["documents"] == 100


def test_snapshot_window_is_widened_and_put_back(
    client: Client, small: Database[dict[str, Any]], tmp_path: Path
) -> None:
    name = "minSnapshotHistoryWindowInSeconds"
    before = client.admin.command({"getParameter": 1, name: 1})[name]
    seen = []

    def look(event: dict[str, Any]) -> None:
        if event["phase"] == "back up":
            seen.append(client.admin.command({"getParameter": 1, name: 1})[name])

    settings = create.Settings(folder=tmp_path, snapshot_window=before + 900)
    create.back_up(client, small.name, settings, progress=look)

    assert seen == [before + 900]
    assert client.admin.command({"getParameter": 1, name: 1})[name] == before


def test_a_backup_that_outlasts_the_window_is_told_beforehand(
    client: Client,
    small: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def warnings(**options: Any) -> list[str]:
        settings = create.Settings(folder=tmp_path, **options)
        found: list[str] = estimate.plan(client, small.name, settings)["warnings"]
        return found

    assert warnings() == []
    monkeypatch.setattr(estimate, "_experience", lambda store, database: (0.5, 5.0))
    (warning,) = warnings()

    assert "the server's snapshot history window is 300 s" in warning
    assert "backup_snapshot_window" in warning
    assert warnings(snapshot_window=100_000) == []


def test_past_the_window_the_backup_says_what_to_do(
    client: Client,
    small: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "minSnapshotHistoryWindowInSeconds"
    before = client.admin.command({"getParameter": 1, name: 1})[name]
    original = dump.snapshot

    def snapshot(*arguments: Any, **options: Any) -> Any:
        what = original(*arguments, **options)
        client.admin.command({"setParameter": 1, name: 0})
        for number in range(30):  # time passes with writes
            small["other"].insert_one({"n": number})
            time.sleep(0.1)
        return what

    monkeypatch.setattr(dump, "snapshot", snapshot)
    try:
        with pytest.raises(ArchiveError, match="snapshot_window"):
            backups.take(client, small.name, tmp_path)
    finally:
        client.admin.command({"setParameter": 1, name: before})
    assert list(tmp_path.iterdir()) == []


def test_a_standalone_can_be_locked_for_a_consistent_backup(
    standalone_database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    client = standalone_database.client
    standalone_database["items"].insert_many([{"_id": n} for n in range(50)])

    manifest = backups.take(client, standalone_database.name, tmp_path, fsync_lock=True)["manifest"]

    assert manifest["consistent"] is True
    assert "locked" in manifest["reason"]
    standalone_database["items"].insert_one({"_id": "writes are possible again"})


def test_memory_stays_flat(
    client: Client, database: Database[dict[str, Any]], replica_set: Any, tmp_path: Path
) -> None:
    """Documents of 5 MiB: the largest replies, and nothing that compresses."""
    for start in range(0, 60, 6):
        database["big"].insert_many(
            [{"_id": n, "blob": os.urandom(5 << 20)} for n in range(start, start + 6)]
        )
    script = (
        "import sys; from pathlib import Path; from pymongo import MongoClient\n"
        "from mongo_migration.backup import create\n"
        "create.back_up(MongoClient(sys.argv[1], tz_aware=True), sys.argv[2],\n"
        "    create.Settings(folder=Path(sys.argv[3])), progress=lambda event: None)\n"
        # Not ru_maxrss: that also counts what the parent had when it started this process.
        "status = Path('/proc/self/status').read_text()\n"
        "print(int(status.partition('VmHWM:')[2].split()[0]) // 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, replica_set.uri("migrator"), database.name, tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )

    assert int(done.stdout) <= 300
