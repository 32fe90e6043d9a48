"""A mistake in a command: a non-zero exit code and one clear line, before anything connects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pymongo import MongoClient

from embedded.mongod import ReplicaSet
from tests.playbooks.site import Site, site
from tests.support.inventories import write_inventory
from tests.support.playbooks import ROOT, run_playbook
from tests.support.snapshot import differences, snapshot

KNOWN = "003-create-default-financial-period, 004-add-organization-to-all-models"


@pytest.fixture(scope="module")
def nowhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An inventory whose server doesn't exist: nothing here may get as far as to notice."""
    folder = tmp_path_factory.mktemp("nowhere") / "inventory"
    return write_inventory(folder, uri="mongodb://127.0.0.1:1/", database="bizzai")


@pytest.fixture(scope="module")
def place(
    replica_set: ReplicaSet,
    client: MongoClient[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    with site(replica_set, client, tmp_path_factory.mktemp("place")) as made:
        yield made


def test_a_mistyped_inventory_is_an_error():
    done = run_playbook(["migrate-004.yml"], "prodution")
    assert done.returncode != 0
    assert "prodution" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rollback.yml"], f"Which migration? Pass -e migration=NNN, one of {KNOWN}."),
        (
            ["rollback.yml", "-e", "migration=999"],
            f"There is no migration '999'. Known migrations: {KNOWN}.",
        ),
        (
            ["maintenance.yml", "-e", "state=onn"],
            "Pass -e state=on, -e state=off or -e state=status, not 'onn'.",
        ),
    ],
    ids=["no migration", "an unknown migration", "an unknown state"],
)
def test_a_mistake_is_one_clear_line(nowhere: Path, arguments: list[str], message: str):
    done = run_playbook(arguments, nowhere)
    assert done.returncode == 2
    assert message in done.stdout + done.stderr


def test_an_empty_group_is_an_error(tmp_path: Path):
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"children": {"mongodb": {}, "app": {}}}}))
    done = run_playbook(["migrate-004.yml"], inventory)
    assert done.returncode == 2
    assert "has no host in the group 'mongodb'" in done.stdout + done.stderr


@pytest.mark.parametrize("inventory", ["staging", "production"])
def test_the_example_inventories_are_complete_but_for_their_vault(inventory: str):
    # No confirmation, no ticket, no vault: the first thing that is missing is said.
    done = run_playbook(["status.yml"], inventory)
    assert done.returncode == 2
    assert "copy vault.example.yml to vault.yml" in " ".join((done.stdout + done.stderr).split())


def test_every_entry_point_is_a_playbook():
    playbooks = sorted(path.name for path in ROOT.glob("*.yml"))
    done = run_playbook([*playbooks, "--syntax-check"], "staging")
    assert done.returncode == 0, done.stderr


def test_a_wrong_password_is_one_clear_line_without_the_password(place: Site):
    uri = place.servers.uri("migrator").replace(place.secrets[0], "mistaken-password")
    run = place.run("migrate-003.yml", "-e", f"mongo_uri={uri}")
    assert run.code == 2
    assert "refused the login of 'migrator'" in run.output
    assert "mistaken-password" not in run.output
    assert "Migration 003 did not run" in run.last_words()


def test_the_gate_asks_for_ticket_and_confirmation(place: Site):
    before = snapshot(place.database, own=True)
    gate = {"change_gate_ticket_required": True, "change_gate_confirmation_required": True}
    asked = ["-e", json.dumps(gate)]
    without = place.run("migrate-003.yml", *asked)
    assert without.code == 2
    assert "pass -e ticket=..." in without.output
    # No terminal is no yes.
    silent = place.run("migrate-003.yml", *asked, "-e", "ticket=CHG0000001")
    assert silent.code == 2
    assert f"pass -e confirm={place.database.name}" in silent.output
    assert differences(before, silent.everything) == []


def test_a_restore_makes_the_database_equal_and_asks_first(place: Site):
    assert place.run("backup.yml").code == 0
    before = snapshot(place.database)
    place.database["items"].delete_many({})
    place.database["strangers"].insert_one({"since": "the backup"})
    archive = ["-e", f"archive={place.backups / 'latest.tar.gz'}"]
    silent = place.run("restore.yml", *archive)
    assert silent.code == 2
    assert f"pass -e confirm={place.database.name}" in silent.output
    assert differences(before, silent.data)
    confirmed = place.run("restore.yml", *archive, "-e", f"confirm={place.database.name}")
    assert confirmed.code == 0, confirmed.output
    assert differences(before, confirmed.data) == []
    assert not confirmed.application_in_maintenance
    assert not confirmed.writes_blocked
