"""Several deployments in one release: one after the other, up to the first that can't be done."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml
from pymongo import MongoClient
from pymongo.database import Database

from embedded.mongod import ReplicaSet, Standalone
from tests.integration.test_fleet import DOCUMENT, fill
from tests.support.playbooks import run_playbook

Data = Database[dict[str, Any]]


@dataclass
class Two:
    """A database of the same name on two servers, and the inventory that names both."""

    east: Data
    west: Data
    folder: Path

    def release(self) -> CompletedProcess[str]:
        return run_playbook(["release.yml", "-e", "migrations=901"], self.folder / "inventory")


def phases(data: Data) -> list[str]:
    return [run["phase"] for run in data["_migrations"].find({"kind": "run"})]


def changed(data: Data) -> int:
    return data["invoices"].count_documents({"currency": "EUR"})


@pytest.fixture
def two(replica_set: ReplicaSet, standalone: Standalone, tmp_path: Path) -> Iterator[Two]:
    name = f"two_{secrets.token_hex(4)}"
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "901-add-currency.yml").write_text(DOCUMENT.lstrip())
    here = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
    }
    hosts = {
        "east": {**here, "mongo_uri": replica_set.uri("admin")},
        "west": {**here, "mongo_uri": standalone.uri(None)},
    }
    values = {
        "mongo_database": name,
        "migrations_dir": str(tmp_path / "migrations"),
        "evidence_root": str(tmp_path / "evidence"),
        "backup_dir": str(tmp_path / "backups" / "{{ inventory_hostname }}"),
    }
    (tmp_path / "inventory").mkdir()
    inventory = {"all": {"children": {"mongodb": {"hosts": hosts}}, "vars": values}}
    (tmp_path / "inventory" / "hosts.yml").write_text(yaml.safe_dump(inventory))
    with replica_set.client() as one, standalone.client(None) as other:
        clients: list[MongoClient[dict[str, Any]]] = [one, other]
        for client in clients:
            fill(client, name)
        yield Two(one[name], other[name], tmp_path)
        for client in clients:
            client.drop_database(name)


def test_the_one_that_is_ill_is_left_and_the_same_command_goes_on_there(two: Two) -> None:
    documents = two.east["invoices"].count_documents({})
    two.west["invoices"].insert_one({"_id": "lost", "customer": 99})
    first = two.release()
    assert first.returncode == 2, first.stdout
    assert (phases(two.east), changed(two.east)) == (["verified"], documents)
    assert (phases(two.west), changed(two.west)) == ([], 0)
    assert "--limit west -e migrations=901" in first.stdout

    two.west["invoices"].delete_one({"_id": "lost"})
    before = list(two.east["_migrations"].find({"kind": "run"}))
    again = two.release()
    assert again.returncode == 0, again.stdout
    assert list(two.east["_migrations"].find({"kind": "run"})) == before
    assert (phases(two.west), changed(two.west)) == (["verified"], documents)


def test_where_the_first_is_ill_the_second_is_not_begun(two: Two) -> None:
    two.east["invoices"].insert_one({"_id": "lost", "customer": 99})
    done = two.release()
    assert done.returncode == 2, done.stdout
    for data in (two.east, two.west):
        assert (phases(data), changed(data)) == ([], 0)
    assert not (two.folder / "backups" / "west").exists()
