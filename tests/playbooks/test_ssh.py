"""The database's host behind a real sshd: what a person sees, and what is left there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from pymongo import MongoClient

from embedded.mongod import ReplicaSet
from embedded.processes import wait_until
from tests.playbooks.site import Run, Site, site
from tests.support.playbooks import BIN
from tests.support.snapshot import differences, indexes, snapshot
from tests.support.ssh import Sshd, skip_without
from tests.support.terminal import CTRL_C, Terminal

# Slow, so that there is a middle.
SLOW = json.dumps({"migrate_batch_size": 10, "migrate_throttle": {"pause_seconds": 1}})
AT_WORK = r"migrate [█░]+ +\d+\.\d % · [1-9]\d*/\d+ documents"
DOCUMENT = """
id: "901"
name: colour-invoices
summary: Gives every invoice a colour.
downtime: none
steps:
  - set_field: {collections: [invoices], field: colour, value: {value: red}}
"""


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    skip_without()
    with Sshd(tmp_path_factory.mktemp("ssh") / "sshd") as server:
        yield server


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Ansible keeps its files on the hosts."""
    return tmp_path_factory.mktemp("remote")


@pytest.fixture(scope="module")
def place(
    replica_set: ReplicaSet,
    client: MongoClient[dict[str, Any]],
    sshd: Sshd,
    remote: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """A site all of whose hosts are behind ssh."""
    variables = {
        **sshd.variables,
        "migrations_assumed_applied": ["003"],
        "cutover": "stopped",
        "ansible_remote_tmp": str(remote),
    }
    with site(replica_set, client, tmp_path_factory.mktemp("site"), variables=variables) as made:
        hosts = made.inventory / "hosts.yml"
        # What is said there would win over the variables of the group.
        hosts.write_text(
            re.sub(r"ansible_(connection|python_interpreter): .*", r"un\1: 0", hosts.read_text())
        )
        yield made


@pytest.mark.parametrize("become", [False, True], ids=["as the user", "by sudo"])
def test_it_shows_its_progress_and_ctrl_c_stops_it_at_a_batch(
    place: Site, remote: Path, tmp_path: Path, become: bool
):
    sudo = shutil.which("sudo")
    if become and (sudo is None or subprocess.run([sudo, "-n", "true"], check=False).returncode):
        pytest.skip("sudo isn't there, or asks for a password")
    place.database["_migrations"].delete_many({"migration": "901"})
    task = {
        "uri": "{{ mongo_uri }}",
        "database": place.database.name,
        "definition": DOCUMENT.replace("colour,", f"colour{int(become)},"),
        "batch_size": 10,
        "throttle": {"pause_seconds": 2},
    }
    play = {"hosts": "mongodb", "gather_facts": False, "become": become}
    tasks = [{"name": "Migrate", "mongo_migrate": task}]
    path = tmp_path / "play.yml"
    path.write_text(yaml.safe_dump([{**play, "tasks": tasks}]))
    command = [str(BIN / "ansible-playbook"), str(path), "-i", str(place.inventory)]

    # Without pipelining Ansible would copy the module, with its password, to the host.
    with Terminal(command, env={"ANSIBLE_PIPELINING": "false"}) as terminal:
        terminal.wait_for(AT_WORK, 180)
        assert _holding_the_password(place, remote) == []
        terminal.type(CTRL_C)
        assert terminal.wait(120) == 99

    assert "Stopped at a batch boundary: SIGINT received" in terminal.text
    run = place.database["_migrations"].find_one({"kind": "run", "migration": "901"})
    assert run is not None
    assert run["phase"] == "interrupted"
    assert 0 < run["counts"]["modified"] < 79
    lease = place.database["_migrations"].find_one({"_id": "lease"})
    assert lease is not None
    assert lease["expires"] is None
    assert _holding_the_password(place, remote) == []
    assert list(Path("/tmp").glob("mongo-attended-*")) == []


def test_a_connection_that_is_lost_in_mid_run_is_a_failure_that_is_rolled_back(
    place: Site, sshd: Sshd, remote: Path
):
    before, indexes_before = snapshot(place.database), indexes(place.database)
    first: list[Run] = []
    arguments = ("migrate-004.yml", "-e", SLOW)
    terminal = threading.Thread(target=lambda: first.append(place.run(*arguments)))
    terminal.start()
    try:
        wrote = wait_until(lambda: _has_written(place), 400)
        assert not wrote or sshd.cut_off()
    finally:
        terminal.join()

    (lost,) = first
    assert wrote, lost.output
    assert lost.code == 2, lost.output
    assert "UNREACHABLE" not in lost.output
    assert "The connection to test-db was lost during mongo_migrate" in lost.last_words()
    assert "failed and was rolled back" in lost.last_words()
    assert "Maintenance mode is off" in lost.last_words()
    assert not lost.application_in_maintenance
    assert not lost.writes_blocked
    assert differences(before, lost.data) == []
    assert lost.indexes == indexes_before
    assert lost.read("run.json")["outcome"] == "rolled_back"
    assert _holding_the_password(place, remote) == []


def _has_written(place: Site) -> bool:
    run = place.database["_migrations"].find_one({"migration": "004", "phase": "running"})
    return bool(run and run["counts"]["modified"])


def _holding_the_password(place: Site, remote: Path) -> list[Path]:
    password = urlsplit(place.servers.uri("migrator")).password
    assert password
    return [
        path
        for path in remote.rglob("*")
        if path.is_file() and password.encode() in path.read_bytes()
    ]
