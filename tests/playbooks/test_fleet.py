"""A database for each tenant, as a user runs it: canaries, the rest, a new tenant, one back."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml
from pymongo import MongoClient

from embedded.mongod import ReplicaSet
from tests.integration.test_fleet import DOCUMENT, fill
from tests.support import hostile
from tests.support.playbooks import run_playbook

Done = CompletedProcess[str]


@dataclass
class Place:
    """Some tenants, and the inventory that means them."""

    admin: MongoClient[dict[str, Any]]
    folder: Path
    prefix: str

    def run(self, playbook: str, *arguments: str) -> Done:
        given = ["-e", "migration=901", *arguments]
        return run_playbook([playbook, *given], self.folder / "inventory")

    def migrated(self) -> list[str]:
        """The tenants whose invoices all have a currency, by their numbers."""
        found = []
        for name in sorted(self.admin.list_database_names()):
            if name.startswith(f"{self.prefix}t"):
                wrong = {"currency": {"$ne": "EUR"}}
                if not self.admin[name]["invoices"].count_documents(wrong):
                    found.append(name.removeprefix(f"{self.prefix}t"))
        return found

    def newest_evidence(self) -> Path:
        return max(path for path in (self.folder / "evidence").iterdir() if path.is_dir())


@pytest.fixture
def place(replica_set: ReplicaSet, tmp_path: Path) -> Iterator[Place]:
    with replica_set.client() as admin:
        made = Place(admin, tmp_path, f"f{secrets.token_hex(4)}_")
        for number in range(5):
            fill(admin, f"{made.prefix}t{number}")
        (tmp_path / "migrations").mkdir()
        (tmp_path / "migrations" / "901-add-currency.yml").write_text(DOCUMENT.lstrip())
        _write_inventory(made, replica_set.uri("admin"))
        yield made
        for name in admin.list_database_names():
            if name.startswith(made.prefix):
                admin.drop_database(name)


def _write_inventory(place: Place, uri: str) -> None:
    here = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
    }
    values = {
        "mongo_uri": uri,
        "mongo_database": f"{place.prefix}home",
        "mongo_databases": f"^{place.prefix}t[0-9]+$",
        "canary": 2,
        "migrations_dir": str(place.folder / "migrations"),
        "evidence_root": str(place.folder / "evidence"),
        "backup_dir": str(place.folder / "backups"),
    }
    hosts = {"all": {"children": {"mongodb": {"hosts": {"tenants-db": here}}}, "vars": values}}
    (place.folder / "inventory").mkdir()
    (place.folder / "inventory" / "hosts.yml").write_text(yaml.safe_dump(hosts))


def test_canaries_then_the_rest_then_a_new_tenant_and_one_back(place: Place) -> None:
    first = place.run("playbooks/migrate.yml")
    assert first.returncode == 0, first.stdout
    assert "3 others wait until they were looked at" in first.stdout
    assert place.migrated() == ["0", "1"]
    assert "-e canary=passed" in first.stdout

    rest = place.run("playbooks/migrate.yml", "-e", "canary=passed")
    assert rest.returncode == 0, rest.stdout
    assert place.migrated() == ["0", "1", "2", "3", "4"]
    archives = (place.folder / "backups").glob("*/backup-*.tar.gz")
    assert len({path.parent.name for path in archives}) == 5
    backups = place.run("backup.yml", "-e", "state=list").stdout
    assert "5 backups of 5 databases" in backups
    assert f"{place.prefix}t4" in backups
    page = place.newest_evidence() / "databases" / f"{place.prefix}t3.json"
    assert json.loads(page.read_text())["migration"]["phase"] == "verified"

    fill(place.admin, f"{place.prefix}t9")
    state = place.admin[f"{place.prefix}t4"]["_migrations"]
    planted = {"_id": "restore", "phase": "replacing", "archive": hostile.EVERYTHING}
    state.insert_one(planted)  # by a tenant that means harm
    drift = place.run("verify.yml")
    state.delete_one({"_id": "restore"})
    assert drift.returncode == 2
    for tenant in ("t4", "t9"):
        assert f"{place.prefix}{tenant}" in drift.stdout
    assert "gone" in drift.stdout
    # What brings it to the new one.
    assert "next      ansible-playbook" in drift.stdout
    assert "migrate.yml" in drift.stdout.partition("next      ")[2].splitlines()[0]
    assert not hostile.harm(drift.stdout)
    for path in place.newest_evidence().rglob("*"):
        if path.is_file() and path.suffix in (".txt", ".md", ".json", ".jsonl", ".html"):
            assert not hostile.harm(path.read_text()), path
            assert "<script>alert" not in path.read_text() or path.suffix != ".html", path

    one = place.run("rollback.yml", "-e", f"databases={place.prefix}t2")
    assert one.returncode == 0, one.stdout
    assert place.migrated() == ["0", "1", "3", "4"]
    shown = place.run("status.yml")
    assert "4 verified, 1 rolled back, 1 without a run" in shown.stdout


def test_what_works_on_one_database_refuses_many_and_says_how_to_name_one(place: Place) -> None:
    refused = place.run("prune.yml")
    assert refused.returncode == 2
    assert "-e mongo_database=NAME -e mongo_databases=none" in refused.stdout
    wrong = place.run("verify.yml", "-e", "lanes=none")
    assert "lanes: must be a whole number" in wrong.stdout
    stranger = place.run("verify.yml", "-e", "databases=stranger")
    assert "which mongo_databases doesn't" in stranger.stdout
