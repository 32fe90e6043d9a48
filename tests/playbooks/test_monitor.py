"""monitor.yml, status.yml and preflight.yml as a person and as a script use them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from pymongo import MongoClient

from embedded.mongod import ReplicaSet
from embedded.processes import wait_until
from tests.playbooks.site import Site, site
from tests.support.playbooks import BIN, ROOT, environment
from tests.support.snapshot import differences, snapshot
from tests.support.terminal import CTRL_C, Terminal

HOME = "\x1b[H"


@pytest.fixture(scope="module")
def place(
    replica_set: ReplicaSet,
    client: MongoClient[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("place")
    with site(replica_set, client, folder, dirty=["no_owner"]) as made:
        yield made


@pytest.fixture
def other_place(
    replica_set: ReplicaSet, client: MongoClient[dict[str, Any]], tmp_path: Path
) -> Iterator[Site]:
    """One that a test may change."""
    with site(replica_set, client, tmp_path, dirty=["no_owner"]) as made:
        yield made


def test_the_screen_is_refreshed_in_place_until_ctrl_c(place: Site):
    command = ["ansible-playbook", "monitor.yml", "-i", str(place.inventory), "-e", "interval=0.5"]
    with Terminal([str(BIN / command[0]), *command[1:]], columns=80) as terminal:
        terminal.wait_for(r"(?s)(?:\x1b\[H.*?DATA INTEGRITY.*?){3}", 120)
        terminal.type(CTRL_C)
        assert terminal.wait(60) == 99
    frames = terminal.text.split(HOME)[1:]
    lines = [line.removesuffix("\x1b[K") for line in frames[1].split("\r\n")]
    assert all(len(line.replace("\x1b[J", "")) < 80 for line in lines), "no line wraps"
    assert any(line.startswith("DATABASE") for line in lines)
    assert any("items" in line for line in lines)
    assert "Monitoring ended. (The exit code 99 is Ansible's" in terminal.text
    assert "Traceback" not in terminal.text


def test_one_look_for_scripts_is_json_and_openmetrics(place: Site, tmp_path: Path):
    seen, metrics = tmp_path / "seen.json", tmp_path / "seen.prom"
    log = tmp_path / "app.log"
    log.write_text("ERROR one\nfine\n")
    limits = {"monitor_thresholds": {"connections": None}, "fail_on": "critical"}
    run = place.run(
        "monitor.yml",
        *("-e", f"once=true output={seen} openmetrics={metrics} format=json"),
        *("-e", json.dumps({**limits, "monitor_app_log": {"path": str(log), "pattern": "ERROR"}})),
    )
    assert run.code == 0, run.output
    found = json.loads(seen.read_text())
    assert found["metrics"]["documents"] == sum(
        place.database[name].count_documents({})
        for name in place.database.list_collection_names()
        if not name.startswith("_migrations")
    )
    (app,) = found["applications"]
    assert app["error_ratio"] == 0
    assert app["log_matches"] == 1
    names = [family.name for family in text_string_to_metric_families(metrics.read_text())]
    assert "mongo_migration_app_response_ms" in names


def test_wrong_limits_are_one_clear_message(place: Site):
    run = place.run(
        "monitor.yml", "-e", "once=true", "-e", json.dumps({"monitor_thresholds": {"lag": {}}})
    )
    assert run.code == 2
    assert "monitor_thresholds of the inventory are wrong" in run.output
    assert "lag: there is no such metric" in run.output


def test_the_status_is_json_too(place: Site, tmp_path: Path):
    output = tmp_path / "status.json"
    run = place.run("status.yml", "-e", f"output={output}")
    assert run.code == 0, run.output
    found = json.loads(output.read_text())
    assert found["pending"] == ["003", "004"]
    assert found["lease"] is None
    assert found["conflicts"] == 0
    assert found["server"]["topology"] == "replica_set"


def test_preflight_tells_all_that_would_stop_the_night_and_writes_nothing(
    place: Site, tmp_path: Path
):
    before, output = snapshot(place.database, own=True), tmp_path / "preflight.json"
    mistakes = {
        "contacts": {"on_call_engineer": {"name": "Name of the rota", "phone": "+00 000 000 000"}},
        "app_health_url": "http://127.0.0.1:1/",
        "backup_dir": str(tmp_path / "none"),
    }
    run = place.run(
        "preflight.yml", "-e", f"migration=004 output={output}", "-e", json.dumps(mistakes)
    )
    assert run.code == 2
    assert differences(before, run.everything) == []
    assert run.evidence == []
    found = json.loads(output.read_text())
    assert not found["ready"]
    checks = found["checks"]
    problems = [check for check in checks if check["status"] == "problem"]
    assert all(check["fix"] for check in checks if check["status"] != "ok")
    about = {check["name"] for check in problems}
    assert {"plan", "contacts", "application"} <= about
    # Dirty data and a missing predecessor, both, and each with its remedy.
    plan = " ".join(check["found"] + check["fix"] for check in problems if check["name"] == "plan")
    assert "003 must be applied before 004" in plan
    assert "default_organization" in plan or "organization" in plan
    assert "Not ready:" in run.output


def test_a_migration_is_sampled_into_its_evidence(other_place: Site):
    run = other_place.run(
        "migrate-003.yml", "-e", '{"monitor_enabled": true, "monitor_sample_seconds": 0.2}'
    )
    assert run.code == 0, run.output
    lines = run.read("metrics.jsonl")
    sources = {line["source"] for line in lines}
    assert {"server", "app"} <= sources
    assert all(line["time"].endswith("Z") and line["values"] for line in lines)
    # From before the first write to after the last.
    counts = [line["values"]["documents"] for line in lines if "documents" in line["values"]]
    assert counts[-1] == counts[0] + other_place.database["financialperiods"].count_documents({})
    (folder,) = run.evidence
    assert not (folder / ".metrics.stop").exists()


def test_no_sampling_outlives_its_command(place: Site, tmp_path: Path):
    play = {
        "hosts": "mongodb",
        "gather_facts": False,
        "vars_files": [str(ROOT / "playbooks" / "vars" / "wiring.yml")],
        "vars": {"evidence_path": str(tmp_path), "monitor_enabled": True, "monitor_hosts": []},
        "module_defaults": {"mongo_monitor": "{{ mongo_connection }}"},
        "tasks": [
            {"ansible.builtin.include_role": {"name": "monitor", "tasks_from": "start"}},
            {"ansible.builtin.wait_for": {"timeout": 300}},
        ],
    }
    path = tmp_path / "play.yml"
    path.write_text(yaml.safe_dump([play]))
    metrics, mark = tmp_path / "metrics.jsonl", f"MARK_OF_TEST={tmp_path.name}{os.getpid()}"
    name, _equals, value = mark.partition("=")
    with subprocess.Popen(
        [str(BIN / "ansible-playbook"), str(path), "-i", str(place.inventory)],
        cwd=ROOT,
        env=environment({name: value}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as command:
        try:
            assert wait_until(metrics.exists, 120)
            assert marked(mark, "mongo_monitor")
        finally:
            # As when its terminal's machine runs out of memory: nothing can be said any more.
            command.kill()
    try:
        assert wait_until(lambda: not marked(mark, "mongo_monitor"), 60)
    finally:
        for pid in marked(mark, ""):
            os.kill(pid, signal.SIGKILL)


def marked(mark: str, program: str) -> list[int]:
    """Return the processes that inherited *mark* and have *program* in their command."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environ = (folder / "environ").read_bytes()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if mark.encode() in environ and program.encode() in command:
            found.append(int(folder.name))
    return found
