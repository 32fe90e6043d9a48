"""Our archives and MongoDB's own tools understand each other; proved with dbHash."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mongo_migration.backup import create, fold, open_source
from mongo_migration.support.progress import quiet
from pymongo import MongoClient
from pymongo.database import Database

from embedded import tools
from embedded.mongod import ReplicaSet
from tests.support import backups

Client = MongoClient[dict[str, Any]]
FOUND = {name: tools.find(name) for name in ("mongodump", "mongorestore")}
pytestmark = pytest.mark.skipif(
    None in FOUND.values(), reason="mongodump and mongorestore: `make tools` fetches them"
)


@pytest.fixture
def copy(client: Client, database: Database[dict[str, Any]]) -> Iterator[str]:
    name = f"{database.name}_copy"
    yield name
    client.drop_database(name)


def hashes(database: Database[dict[str, Any]]) -> dict[str, str]:
    """Return dbHash's hash of each collection that it knows of."""
    found = database.command("dbHash")["collections"]
    assert "items" in found
    assert "system.buckets.weather" in found
    # The lease of a restore by us is in the one, the names of the database in the other; their
    # documents and the views are compared as facts.
    return {name: one for name, one in found.items() if name not in ("_migrations", "system.views")}


def run(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [str(FOUND[name]), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_mongorestore_restores_an_archive_whole(
    replica_set: ReplicaSet, database: Database[dict[str, Any]], tmp_path: Path, copy: str
) -> None:
    backups.everything(database)
    # mongorestore inserts, and the server sets a zero timestamp at the top level to its clock.
    database["types"].update_one({}, {"$unset": {"zero_timestamp": ""}})
    archive = backups.take(database.client, database.name, tmp_path)["archive"]
    subprocess.run(["tar", "xzf", archive, "-C", tmp_path], check=True)

    said = run(
        "mongorestore",
        *("--uri", replica_set.uri("admin"), "--stopOnError"),
        *("--bypassDocumentValidation", "--nsFrom", f"{database.name}.*", "--nsTo", f"{copy}.*"),
        str(tmp_path / "dump"),
    )

    assert " 0 document(s) failed to restore" in said
    assert hashes(database.client[copy]) == hashes(database)
    assert backups.facts(database.client[copy]) == backups.facts(database)


@pytest.mark.parametrize("options", [[], ["--gzip"]])
def test_a_folder_of_the_real_mongodump_is_restored_whole(
    replica_set: ReplicaSet,
    database: Database[dict[str, Any]],
    tmp_path: Path,
    copy: str,
    options: list[str],
) -> None:
    backups.everything(database)
    before = backups.facts(database)
    folder = tmp_path / "dump"
    uri = replica_set.uri("admin")
    run("mongodump", "--uri", uri, "-d", database.name, "-o", str(folder), *options)

    backups.put_back(database.client, copy, folder, source_database=database.name)

    assert hashes(database.client[copy]) == hashes(database)
    assert backups.facts(database.client[copy]) == before


def test_mongorestore_restores_what_was_folded(
    replica_set: ReplicaSet, database: Database[dict[str, Any]], tmp_path: Path, copy: str
) -> None:
    backups.everything(database)
    base = Path(backups.take(database.client, database.name, tmp_path)["archive"])
    database["types"].update_one({}, {"$unset": {"zero_timestamp": ""}})
    database["items"].delete_many({"n": {"$lt": 1000}})
    database["items"].insert_one({"_id": 1.0, "n": -1})
    result = backups.take(database.client, database.name, tmp_path, base=base)
    assert result["why_whole"] is None
    with open_source.open_source(Path(result["archive"])) as source:  # type: ignore[union-attr]
        folded = fold.fold(source, create.Settings(folder=tmp_path), progress=quiet)
    subprocess.run(["tar", "xzf", folded["archive"], "-C", tmp_path], check=True)

    run(
        "mongorestore",
        *("--uri", replica_set.uri("admin"), "--stopOnError"),
        *("--bypassDocumentValidation", "--nsFrom", f"{database.name}.*", "--nsTo", f"{copy}.*"),
        str(tmp_path / "dump"),
    )

    assert hashes(database.client[copy]) == hashes(database)
