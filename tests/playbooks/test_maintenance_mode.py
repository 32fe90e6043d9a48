"""Maintenance mode over several applications, each told in its own way; the way out of trouble."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pymongo import MongoClient

from embedded.app import App
from embedded.mongod import ReplicaSet
from tests.playbooks.site import Run, Site, site
from tests.playbooks.webhooks import channel
from tests.support.playbooks import BIN, ROOT, environment

KINDS = ("env", "file", "http", "document")
SECRET = "statuspage-s3cret"


def told(place: Site) -> list[bool]:
    """What each running application says of itself."""
    return [bool(app.get("/api/health").content["maintenance"]) for app in place.apps]


def switch(place: Site, state: str, *more: str) -> Run:
    return place.run("maintenance.yml", "-e", f"state={state}", *more)


def words(run: Run) -> str:
    """All that the user saw, in one line."""
    return " ".join(run.output.split())


@pytest.fixture(scope="module")
def place(
    replica_set: ReplicaSet,
    client: MongoClient[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("maintenance")
    with (
        channel(SECRET) as page,
        site(
            replica_set,
            client,
            folder,
            kinds=KINDS,
            variables={
                "maintenance_expected_minutes": 30,
                "maintenance_health_seconds": 60,
                "maintenance_status_page": {
                    "on": {"url": page.url, "body": {"incident": "{{ maintenance_reason }}"}},
                    "off": {"url": page.url, "body": {"incident": "over"}},
                },
            },
        ) as made,
    ):
        made.page = page  # type: ignore[attr-defined]
        yield made


def test_every_kind_of_flag_reaches_its_application_and_is_taken_back(place: Site) -> None:
    on = switch(place, "on", "-e", "reason=move", "-vvv")
    assert on.code == 0, on.output
    assert told(place) == [True] * 4
    assert on.writes_blocked
    for app in place.apps:
        assert app.post("/api/items", {"name": "too late"}).status == 503

    # An administrator looks an hour later.
    place.database["_migrations"].update_one(
        {"_id": "maintenance"},
        [{"$set": {"since": {"$subtract": ["$since", 65 * 60 * 1000]}}}],
    )
    status = switch(place, "status")
    # 65, and what a slow machine takes.
    assert re.search(r"for (6[5-9]|[7-9]\d) minutes", words(status))
    assert "30 minutes at most: TOO LONG" in words(status)
    assert [f"test-{app.name} on" in words(status) for app in place.apps] == [True] * 4
    assert "-e state=off" in words(status)

    off = switch(place, "off")
    assert off.code == 0, off.output
    assert told(place) == [False] * 4
    assert not off.writes_blocked
    for app in place.apps:
        assert app.post("/api/items", {"name": "again"}).status == 201
    page = place.page  # type: ignore[attr-defined]
    assert page.messages[-2:] == [{"incident": "move"}, {"incident": "over"}]
    # -vvv shows every argument; what opens doors isn't among them.
    for secret in (SECRET, place.apps[2].token, *place.secrets):
        assert secret not in on.output


def test_nothing_is_called_stopped_that_nobody_saw_stopped(place: Site) -> None:
    never = ("-e", "maintenance_write_block=never")
    # Told, and it answers as before.
    takes = {"app_write_probe": {"url": f"{place.app.url}/api/health/live", "method": "GET"}}
    deaf = switch(place, "on", *never, "-e", json.dumps(takes))
    unblocked = deaf.writes_blocked
    off = switch(place, "off")
    # Nobody to be told, and no write block: not even begun.
    nobody = place.run(
        *("migrate-004.yml", *never, "-e", "app_group=nobody"),
        *("-e", '{"migrations_assumed_applied": ["003"]}'),
    )

    assert deaf.code == 2
    assert "answers a write with 200" in words(deaf)
    assert not unblocked
    assert not place.maintenance()["on"]
    assert off.code == 0, off.output
    assert nobody.code == 2
    assert "Nothing would keep writers out" in words(nobody)
    assert "app_write_probe" in words(nobody)
    assert "Maintenance mode is off" in words(nobody)
    assert place.phases("004") == []


def test_a_flag_that_is_described_wrongly_changes_nothing_anywhere(place: Site) -> None:
    wrong = '{"app_flag": {"kind": "http", "on": {"body": {}}, "pth": "/x"}}'
    run = switch(place, "on", "-e", wrong)
    assert run.code == 2
    assert "test-app1: " in words(run)
    assert "off found in app_flag" in words(run)
    assert "app_flag.pth" in words(run)
    assert told(place) == [False] * 4
    assert not run.writes_blocked
    assert not place.maintenance()["on"]


@contextlib.contextmanager
def killed_in_the_middle(
    place: Site, state: str, number: signal.Signals, folder: Path
) -> Iterator[None]:
    """Switch, and kill the command while it restarts the first application."""
    began = folder / f"began-{state}"
    command = ["sh", "-c", f"touch {began}; exec sleep 300"]
    more = yaml.safe_dump({"app_restart_command": f'{command[0]} -c "{command[2]}"'})
    process = subprocess.Popen(
        [
            *(str(BIN / "ansible-playbook"), "maintenance.yml", "-i", str(place.inventory)),
            *("-e", f"state={state}", "-e", f"{{{more.strip()}}}"),
        ],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(lambda: began.exists() or process.poll() is not None)
    assert process.poll() is None, "it ended by itself"
    os.killpg(process.pid, number)
    process.wait(60)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    yield


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline, "it didn't happen within two minutes"
        time.sleep(0.1)


@pytest.mark.torture
def test_a_switch_on_that_was_interrupted_is_shown_and_taken_back(
    place: Site, tmp_path: Path
) -> None:
    with killed_in_the_middle(place, "on", signal.SIGINT, tmp_path):
        status = switch(place, "status")
        assert "maintenance off" in words(status)
        assert "SWITCHING on since" in words(status)
        assert "test-app1 on DIFFERS" in words(status)

        off = switch(place, "off")
        assert off.code == 0, off.output
        assert told(place) == [False] * 4
        assert "switching" not in place.maintenance()


@pytest.mark.torture
def test_a_switch_off_that_was_killed_between_flag_and_restart_is_completed(
    place: Site, tmp_path: Path
) -> None:
    assert switch(place, "on").code == 0
    with killed_in_the_middle(place, "off", signal.SIGKILL, tmp_path):
        # Its file says off already; the process hasn't read it.
        assert "false" in place.apps[0].flag.read_text()
        assert told(place)[0] is True
        assert place.maintenance()["switching"]["to"] == "off"

        off = switch(place, "off")
        assert off.code == 0, off.output
        assert told(place) == [False] * 4
        assert "switching" not in place.maintenance()


@contextlib.contextmanager
def unreachable(place: Site, name: str) -> Iterator[None]:
    """Let one application host be one that nobody answers for."""
    hosts = place.inventory / "hosts.yml"
    before = hosts.read_text()
    content = yaml.safe_load(before)
    content["all"]["children"]["app"]["hosts"][name] |= {
        "ansible_connection": "ssh",
        "ansible_host": "127.0.0.1",
        "ansible_port": 1,
    }
    hosts.write_text(yaml.safe_dump(content))
    try:
        yield
    finally:
        hosts.write_text(before)


@pytest.mark.torture
def test_a_host_that_is_lost_meanwhile_is_named_and_does_not_keep_the_others_in_maintenance(
    place: Site,
) -> None:
    assert switch(place, "on").code == 0
    with unreachable(place, "test-app2"):
        off = switch(place, "off")
        assert off.code == 2
        assert "test-app2 did not take the flag" in words(off)
        assert told(place) == [False, True, False, False]
        assert not off.writes_blocked
        assert "test-app2 unreachable" in words(switch(place, "status"))
    again = switch(place, "off")
    assert again.code == 0, again.output
    assert told(place) == [False] * 4
    assert "switching" not in place.maintenance()


@pytest.mark.torture
def test_a_host_that_is_lost_on_the_way_in_stops_the_switch_with_the_others_told(
    place: Site,
) -> None:
    with unreachable(place, "test-app2"):
        on = switch(place, "on")
        assert on.code == 2
        assert "test-app2 did not take the flag" in words(on)
        assert not on.writes_blocked
        # In an emergency, the write block has to do.
        forced = switch(place, "on", "-e", "maintenance_require_hosts=false")
        assert forced.code == 0, forced.output
        assert forced.writes_blocked
        assert "Going on without these, as asked: test-app2" in words(forced)
    assert switch(place, "off").code == 0
    assert told(place) == [False] * 4


@pytest.mark.torture
def test_a_writer_that_nobody_told_is_named_and_keeps_the_block_off(
    place: Site, replica_set: ReplicaSet, tmp_path: Path
) -> None:
    uri_file = tmp_path / "worker.uri"
    uri_file.write_text(replica_set.uri("app", database=place.database.name))
    worker = App(tmp_path / "apps", "worker", uri_file=uri_file, writes_per_second=30)
    with worker:
        on = switch(place, "on", "-e", "maintenance_drain_seconds=2")
        assert on.code == 2
        assert f"Others still write to {place.database.name}" in words(on)
        assert "worker (127.0.0.1" in words(on)
        assert not on.writes_blocked
        assert "SWITCHING on" in words(switch(place, "status"))
        assert switch(place, "off").code == 0
    assert told(place) == [False] * 4
