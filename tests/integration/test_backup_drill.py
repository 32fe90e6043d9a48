"""A drill proves that a backup restores, and touches nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from mongo_migration.backup import create, drill, external, load, open_source
from mongo_migration.errors import ArchiveError
from mongo_migration.support.progress import quiet
from pymongo import MongoClient
from pymongo.database import Database

from tests.support import backups

Client = MongoClient[dict[str, Any]]


def run(client: Client, database: Database[dict[str, Any]], folder: Path, **options: Any) -> Any:
    archive = Path(backups.take(client, database.name, folder)["archive"])
    with open_source.open_source(archive) as source:  # type: ignore[union-attr]
        return drill.drill(
            client,
            source,
            progress=quiet,
            operator=backups.OPERATOR,
            **{"name": drill.scratch_name(database.name), **options},
        )


def test_drill_restores_everything_compares_and_drops(
    client: Client, database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    backups.everything(database)
    before = backups.facts(database)

    result = run(client, database, tmp_path)

    assert result["passed"] is True
    assert result["collections"] == len([name for name in before if "system." not in name])
    assert result["scratch"] not in client.list_database_names()
    assert backups.facts(database) == before


def test_drill_that_differs_fails_and_drops(
    client: Client,
    database: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database["items"].insert_many([{"_id": n} for n in range(10)])
    original = load.build_indexes

    def spoil(database: Any, name: str, *rest: Any) -> Any:
        original(database, name, *rest)
        database[name].delete_one({"_id": 3})

    monkeypatch.setattr(load, "build_indexes", spoil)
    with pytest.raises(ArchiveError, match="items has 9 documents"):
        run(client, database, tmp_path)

    assert drill.scratch_name(database.name) not in client.list_database_names()


def test_drill_never_drops_a_database_that_somebody_needs(
    client: Client, database: Database[dict[str, Any]], tmp_path: Path
) -> None:
    database["items"].insert_one({"_id": 1})
    other = client[drill.scratch_name(database.name)]
    other["precious"].insert_one({"_id": 1})

    with pytest.raises(ArchiveError, match="exists"):
        run(client, database, tmp_path)
    with pytest.raises(ArchiveError, match="'_drill' must be in its name"):
        run(client, database, tmp_path, name=f"{database.name}_precious")

    assert other["precious"].count_documents({}) == 1


def test_external_backup_returns_its_receipt() -> None:
    script = (
        "import json, os; print('making a snapshot'); print(json.dumps({'id': 'snap-1',"
        "'snapshot_time': 'now', 'database': os.environ['BACKUP_DATABASE'],"
        "'ticket': json.loads(os.environ['BACKUP_CHANGE'])['ticket']}))"
    )
    result = external.run(
        [sys.executable, "-c", script],
        database="shop",
        change={"ticket": "CHG-1"},
        timeout=30,
        now=create.utc_now,
    )

    assert result["receipt"] == {
        "id": "snap-1",
        "snapshot_time": "now",
        "database": "shop",
        "ticket": "CHG-1",
    }


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["/no/such/command"], "can't be run"),
        ([sys.executable, "-c", "raise SystemExit('no space')"], "failed with code 1: no space"),
        ([sys.executable, "-c", "print('done')"], "printed no receipt"),
        ([sys.executable, "-c", f"print({json.dumps('{}')!r})"], "printed no receipt"),
        ([sys.executable, "-c", "import time; time.sleep(60)"], "took longer"),
    ],
)
def test_external_backup_without_a_receipt_is_none(command: list[str], message: str) -> None:
    with pytest.raises(ArchiveError, match=message):
        external.run(command, database="shop", change={}, timeout=2, now=create.utc_now)
