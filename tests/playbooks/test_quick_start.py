"""The quick start: from a connection string to the plan of an own migration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from authoring import init, new_migration
from embedded.mongod import ReplicaSet
from tests.support import newcomers
from tests.support.playbooks import run_playbook

Client = MongoClient[dict[str, Any]]


def test_the_plan_of_an_own_migration_on_an_own_database(
    client: Client,
    replica_set: ReplicaSet,
    database: Database[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    root = newcomers.checkout(tmp_path / "project")
    database["customers"].insert_many([{"_id": number} for number in range(50)])
    roles = [{"role": "readWrite", "db": database.name}]
    with newcomers.login(client, replica_set.uri("migrator"), roles) as uri:
        monkeypatch.setenv("MONGO_URI", uri)
        assert init.main(["--name", "shop", "--database", database.name], root) == 0
        constant = new_migration.Constant(collection="customers", field="source", value="web")
        new_migration.create("add-source", root, constant=constant)
        done = run_playbook(
            [
                *("playbooks/migrate.yml", "-e", "migration=001", "--check", "--diff"),
                *("--vault-password-file", str(root / "vault-password")),
                *("-e", f"evidence_root={tmp_path / 'evidence'}"),
            ],
            root / "shop",
        )
    assert done.returncode == 0, done.stdout
    assert "No problems: the migration would run." in done.stdout
    assert newcomers.PASSWORD not in done.stdout
    assert database.list_collection_names() == ["customers"]
    assert database["customers"].count_documents({"source": {"$exists": True}}) == 0
