"""The sandbox starts, is emptied and filled again, and goes without a trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.app import App
from embedded.processes import ProcessError
from embedded.sandbox import Sandbox, _with_database
from embedded.seed import seed
from tests.support.playbooks import run_playbook

# Uses every variable of the sandbox that the roles use.
PLAYBOOK = """\
- hosts: mongodb
  gather_facts: false
  tasks:
    - ansible.builtin.assert:
        that:
          - mongo_uri is match('mongodb://migrator:')
          - maintenance_probe_uri is match('mongodb://app:')
          - mongo_database == 'bizzai'
          - backup_dir == sandbox_folder ~ '/backups'
- hosts: app
  gather_facts: false
  tasks:
    - ansible.builtin.copy:
        dest: "{{ app_flag_path }}"
        content: "MAINTENANCE_MODE=true\\n"
        mode: "0644"
    - ansible.builtin.command: "{{ app_restart_command }}"
    - ansible.builtin.uri:
        url: "{{ app_health_url }}"
    - ansible.builtin.uri:
        url: "{{ app_write_probe.url }}"
        method: "{{ app_write_probe.method }}"
        body: "{{ app_write_probe.body }}"
        body_format: json
        status_code: "{{ app_write_probe.refused_status }}"
    - ansible.builtin.uri:
        url: "{{ item.url }}"
        return_content: true
      loop: "{{ app_smoke_tests }}"
"""


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    # A space in the path: commands of the inventory must quote it.
    made = Sandbox(tmp_path / "the sandbox", environment={})
    yield made
    made.remove()


@pytest.fixture
def playbook(tmp_path: Path) -> Path:
    path = tmp_path / "play.yml"
    path.write_text(PLAYBOOK)
    return path


def test_the_inventory_reaches_the_servers(sandbox: Sandbox, playbook: Path):
    sandbox.start_mongodb()
    with sandbox.client() as client:
        assert not sandbox.empty(client)
        seed(client[sandbox.database], 100)
        apps = sandbox.start_apps()
        done = run_playbook(
            [playbook, "-e", f'{{"sandbox_folder": "{sandbox.folder}"}}'], inventory="sandbox"
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert [app.get("/api/health").content["maintenance"] for app in apps] == [True, True]
        # A second demo: out of maintenance, with nothing of the first one's data.
        assert sandbox.empty(client)
        assert client[sandbox.database].list_collection_names() == []
        assert not any(
            app.get("/api/health").content["maintenance"] for app in sandbox.start_apps()
        )


def test_a_missing_sandbox_says_how_to_start_it(tmp_path: Path, playbook: Path):
    done = run_playbook(
        [playbook, "-e", f'{{"sandbox_folder": "{tmp_path}/none"}}'], inventory="sandbox"
    )
    assert done.returncode != 0
    assert "start it with make demo" in done.stdout + done.stderr


def test_removing_stops_every_process(tmp_path: Path):
    sandbox = Sandbox(tmp_path / "sandbox", environment={})
    sandbox.start_mongodb()
    apps: list[App] = sandbox.start_apps()
    done = sandbox.remove()
    assert done == ["stopped app1", "stopped app2", "stopped MongoDB", "removed sandbox/"]
    assert not any(app.alive for app in apps)
    assert not sandbox.folder.exists()
    assert sandbox.remove() == []


def test_a_filled_database_on_a_server_of_ones_own_is_left_alone(
    tmp_path: Path, replica_set, database
):
    environment = {"MONGO_URI": replica_set.uri("admin"), "MONGO_DATABASE": database.name}
    database["customers"].insert_one({"name": "somebody's"})
    sandbox = Sandbox(tmp_path / "sandbox", environment=environment)
    sandbox.start_mongodb()
    with sandbox.client() as client:
        with pytest.raises(ProcessError, match="isn't empty"):
            sandbox.empty(client)
        assert database["customers"].count_documents({}) == 1
        database["customers"].drop()
        assert not sandbox.empty(client)
        seed(client[database.name], 100)
        # Now it is ours, so a second demo may drop it.
        assert sandbox.empty(client)


def test_the_login_stays_where_the_uri_said():
    there = _with_database("mongodb://u:p@h:1/?replicaSet=rs0", "shop")
    assert there == "mongodb://u:p@h:1/shop?replicaSet=rs0&authSource=admin"
    assert (
        _with_database("mongodb://u:p@h/users", "shop") == "mongodb://u:p@h/shop?authSource=users"
    )
    assert _with_database("mongodb://h", "shop") == "mongodb://h/shop"
