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
            ["migrate-004.yml", "-e", "migration=003"],
            "migrate-004.yml carries out migration 004, and -e migration=003 asks for another.",
        ),
        (
            ["release.yml", "-e", '{"migrations": [8]}'],
            "migrations: 8 isn't text; write ids in quotes",
        ),
        (
            ["rollback.yml", "-e", "migration=004", "-e", "on_conflict=maybe"],
            "-e on_conflict: must be one of keep, restore, fail, not 'maybe'. Nothing was started.",
        ),
        (
            ["migrate-004.yml", "-e", "migrate_batch_size=many"],
            "migrate_batch_size: must be of type int, not 'many'. Nothing was started.",
        ),
        (
            ["preflight.yml", "-e", "migration=004", "-e", "maintenance_undrained=mabye"],
            "maintenance_undrained: must be one of fail, continue, not 'mabye'.",
        ),
        (
            ["migrate-004.yml", "-e", "mongo_collections=foo"],
            "mongo_collections: must be a mapping from the names in documents",
        ),
        (
            ["maintenance.yml", "-e", "state=onn"],
            "Pass -e state=on, -e state=off or -e state=status, not 'onn'.",
        ),
    ],
    ids=[
        "no migration",
        "an unknown migration",
        "another migration than the file's",
        "an id that is not text",
        "a choice that there isn't",
        "a number that is none",
        "what the run would refuse, in preflight",
        "names that are no mapping",
        "an unknown state",
    ],
)
def test_a_mistake_is_one_clear_line(nowhere: Path, arguments: list[str], message: str):
    done = run_playbook(arguments, nowhere)
    assert done.returncode == 2
    assert message in done.stdout + done.stderr


def test_all_mistakes_are_told_at_once(nowhere: Path):
    wrong = {
        "watch_minutes": "soon",
        "backup_verification": "perhaps",
        "monitor_thresholds": {"lagg": {"warn": 1}},
        "migration_variables": {"009": {"a": 1}, "4": {"a": 1}},
        "migrations_assumed_applied": [3],
    }
    done = run_playbook(["migrate-003.yml", "-e", json.dumps(wrong)], nowhere)
    assert done.returncode == 2
    assert "6 things are wrong, and nothing was started" in done.stdout
    for words in ("watch_minutes", "backup_verification", "lagg", "'009'", '"004"', "3 isn't text"):
        assert words in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--start-at-task", "Back up"], "--start-at-task leaves out the checks"),
        (["--tags", "backup"], "--tags backup would do a part of this command"),
        (["--skip-tags", "gate"], "--skip-tags gate would do a part of this command"),
        (["--step"], "--step lets a person leave out single tasks"),
    ],
)
@pytest.mark.parametrize("playbook", ["migrate-004.yml", "status.yml"])
def test_options_that_leave_out_what_protects_are_refused(
    nowhere: Path, playbook: str, options: list[str], message: str
):
    done = run_playbook([playbook, *options], nowhere)
    assert done.returncode != 0
    assert message in done.stdout + done.stderr
    assert "Nothing was started." in done.stdout + done.stderr


def test_a_limit_without_a_deployment_is_refused(tmp_path: Path):
    hosts = {"mongodb": {"hosts": {"db1": {}}}, "app": {"hosts": {"app1": {}}}}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"children": hosts}}))
    done = run_playbook(["verify.yml", "-e", "migration=004", "--limit", "app"], inventory)
    assert done.returncode != 0
    assert "--limit app leaves no deployment: of the group 'mongodb' (db1)" in done.stderr


def test_a_limit_to_the_deployment_leaves_out_no_check(nowhere: Path):
    done = run_playbook(
        ["rollback.yml", "-e", "migration=999", "--limit", "test-db"],
        nowhere,
        {"ANSIBLE_STRATEGY": "free"},
    )
    assert done.returncode == 2
    assert "There is no migration '999'" in done.stdout


def test_no_inventory_is_a_default_unless_it_says_so(nowhere: Path):
    for env in ({}, {"ANSIBLE_INVENTORY": str(nowhere)}):
        done = run_playbook(["migrate-004.yml"], None, env)
        assert done.returncode == 2
        assert "No inventory was named" in done.stdout
    # It says so, and goes on to where a document is missing.
    allowed = ["-e", "inventory_may_be_default=true", "-e", "migration=999"]
    done = run_playbook(["rollback.yml", *allowed], None, {"ANSIBLE_INVENTORY": str(nowhere)})
    assert "There is no migration '999'" in done.stdout


def test_two_documents_of_one_number_are_refused_everywhere(nowhere: Path, tmp_path: Path):
    for name in ("005-add-currency", "005-add-colour"):
        text = (ROOT / "playbooks/migrations/003-create-default-financial-period.yml").read_text()
        (tmp_path / f"{name}.yml").write_text(text.replace('id: "003"', 'id: "005"'))
    folder = ["-e", f"migrations_dir={tmp_path}"]
    for command in (
        ["preflight.yml", "-e", "migration=005"],
        ["release.yml", "-e", "migrations=005"],
        ["rollback.yml", "-e", "migration=005"],
        ["verify.yml", "-e", "migration=005"],
    ):
        done = run_playbook([*command, *folder], nowhere)
        assert done.returncode == 2
        assert "005-add-currency.yml" in done.stdout
        assert "005-add-colour.yml" in done.stdout
    # The way out of another migration names them, and goes on.
    (tmp_path / "004-other.yml").write_text(text.replace('id: "003"', 'id: "004"'))
    done = run_playbook(["emergency-rollback.yml", "-e", "migration=004", *folder], nowhere)
    assert "005-add-colour.yml" in done.stdout + done.stderr
    assert "Stop what is at work" in done.stdout


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
