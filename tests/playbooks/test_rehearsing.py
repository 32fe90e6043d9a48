"""rehearse.yml as a user runs it, and what the gate and the plan make of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from embedded import binary
from embedded.mongod import ReplicaSet
from tests.playbooks.site import Run, Site, site
from tests.support.snapshot import differences, snapshot

GATED = {"change_gate_rehearsal_days": 14, "change_gate_rehearsal": "copy"}


@pytest.fixture(scope="module")
def place(
    replica_set: ReplicaSet,
    client: MongoClient[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    with site(replica_set, client, tmp_path_factory.mktemp("place")) as made:
        yield made


def scratch(place: Site) -> list[str]:
    names = place.database.client.list_database_names()
    return [name for name in names if name.startswith(f"{place.database.name}_")]


def words(run: Run) -> str:
    return " ".join(run.output.split())


def test_rehearsed_on_a_copy_the_gate_lets_it_pass_and_the_plan_says_how_long(
    place: Site, tmp_path: Path
):
    before = snapshot(place.database, own=True)
    empty = f"backup_dir={tmp_path}"
    none = place.run("rehearse.yml", "-e", "migration=003", "-e", empty, "--check")
    assert none.code == 2
    assert "There is no backup of" in words(none)
    assert f"next      ansible-playbook backup.yml -i {place.inventory}" in none.output

    done = place.run("rehearse.yml", "-e", "migration=003", "-e", "rehearsal_backup=fresh")
    assert done.code == 0, done.output
    assert done.counters["changed"] == 1  # the backup
    assert "was rehearsed on the data of" in words(done)
    assert "were, byte by byte, those of the backup" in words(done)
    assert scratch(place) == []
    assert differences(before, done.everything) == []
    assert not done.application_in_maintenance
    told, run = done.read("rehearsal.json"), done.read("run.json")
    assert run["verified"] is True
    assert run["digest"] == told["digest"]
    assert [turn["direction"] for turn in told["turns"]] == ["up", "down", "up"]
    report = done.read("report.html")
    assert "migrate again" in report
    assert f"{place.database.name}_rehearsal" in report
    assert "built-in method" not in report

    gated = json.dumps(GATED)
    passed = place.run("migrate-003.yml", "--check", "-e", gated)
    assert passed.code == 0, passed.output
    assert "went up, down and up on a copy of the data of" in words(passed)
    assert "A run would be refused" not in passed.output
    assert "Rehearsed on" in words(passed)
    assert passed.read("plan.json")["estimate"]["seconds"] == told["seconds"]["migrate"]
    looked = place.run("preflight.yml", "-e", "migration=003")
    assert "Rehearsed on" in words(looked)
    # It proves nothing about another choice.
    otherwise = {**GATED, "migration_variables": {"003": {"unresolved_entries": "skip"}}}
    refused = place.run("migrate-003.yml", "--check", "-e", json.dumps(otherwise))
    assert "it had another value of unresolved_entries" in words(refused)
    assert "Run rehearse.yml -e migration=003 with this inventory" in words(refused)


def test_a_server_of_its_own_takes_the_copy_of_what_builds_on_another(place: Site):
    own = ["-e", "rehearsal_server=own", "-e", f"rehearsal_mongod={binary.find()}"]
    assert place.run("backup.yml").code == 0
    before = snapshot(place.database, own=True)
    checked = place.run("rehearse.yml", "-e", "migration=004", "--check", *own)
    unknown = place.run("rehearse.yml", "-e", "migration=004", "-e", "repair=wrong_types,spelling")
    assert "There is no repair 'spelling'" in words(unknown)
    repairs = "repair=wrong_types,duplicate_periods"
    done = place.run("rehearse.yml", "-e", "migration=004", "-e", repairs, *own)

    assert checked.code == 0, checked.output
    assert "a server of its own, which is removed afterwards" in words(checked)
    assert f"documents, into {place.database.name}_rehearsal on a server" in words(checked)
    assert done.code == 0, done.output
    told = done.read("rehearsal.json")
    assert told["server"]["set_name"] == "rehearsal"
    phases = [one["phase"] for one in told["phases"]]
    assert phases.index("repair=wrong_types first") < phases.index("migrate 003 first")
    assert [one["repair"] for one in told["repairs"]] == ["wrong_types", "duplicate_periods"]
    assert f"after {repairs}: up, verified" in words(done)
    assert "repair.yml" in done.output and "-e repair=wrong_types --check --diff" in done.output
    assert list((place.backups / "rehearsal").iterdir()) == []
    assert differences(before, done.everything) == []


def test_what_a_killed_rehearsal_left_is_named_by_status_and_removed_by_one_command(place: Site):
    name = place.database.name
    copy = place.database.client[f"{name}_rehearsal"]
    mark = {"_id": "scratch", "name": copy.name, "of": name, "purpose": "rehearsal of 004 on b"}
    copy["_migrations_scratch"].insert_one(mark)
    copy["items"].insert_one({"_id": 1})
    place.database.client[f"{name}_rehearsal_mine"]["precious"].insert_one({"_id": 1})
    server = place.backups / "rehearsal" / "rehearsal-server-abc"
    server.mkdir(parents=True, exist_ok=True)
    (server / "made-by-migration-playbooks.json").write_text("{}")
    before = snapshot(place.database, own=True)
    own = ["-e", "rehearsal_server=own"]
    clear = f"ansible-playbook rehearse.yml -i {place.inventory} -e state=absent"

    found = place.run("status.yml", *own)
    checked = place.run("rehearse.yml", "-e", "state=absent", "--check")
    there = scratch(place)
    done = place.run("rehearse.yml", "-e", "state=absent")
    again = place.run("rehearse.yml", "-e", "state=absent")
    quiet = place.run("status.yml", *own)

    assert found.code == checked.code == done.code == again.code == quiet.code == 0, done.output
    assert (
        f"LEFT BEHIND {copy.name}, rehearsal of 004 on b: the command that made it was killed"
        in (words(found))
    )
    assert f"LEFT BEHIND {server}" in words(found)
    assert clear in words(found)
    assert there == [copy.name, f"{name}_rehearsal_mine"]
    assert f"to remove {copy.name}" in words(checked)
    assert clear in words(checked)
    assert f"Removed: {copy.name}, {server}" in words(done)
    assert done.counters["changed"] == 1
    assert done.read("rehearsal.json")["removed"] == [copy.name, str(server)]
    assert scratch(place) == [f"{name}_rehearsal_mine"]
    assert not server.exists()
    assert "nothing is left of any rehearsal or drill" in words(again)
    assert again.counters["changed"] == 0
    assert "LEFT BEHIND" not in quiet.output
    assert differences(before, quiet.everything) == []
    place.database.client.drop_database(f"{name}_rehearsal_mine")
