"""One application host is told, and seen to have understood: with a real application each time."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database
from release.application import flags, inventory, switch

from embedded.app import App
from embedded.mongod import ReplicaSet
from tests.support.inventories import app_variables

Data = Database[dict[str, Any]]


def replace(path: str, text: str, _mode: str) -> bool:
    file = Path(path)
    before = file.read_text() if file.exists() else None
    file.write_text(text)
    return before != text


def wanted(
    app: App, *, on: bool, always: bool = False, seconds: float = 30, **variables: Any
) -> switch.Wanted:
    """What the inventory of the tests says of an application."""
    host = {**app_variables(app), **variables}
    given = inventory.arguments(
        host, state="on" if on else "off", reason="test", always=always, seconds=seconds
    )
    restart, health = given.get("restart", {}), given["health"]
    return switch.Wanted(
        flag=flags.build(given["flag"], replace, content="test") if "flag" in given else None,
        on=on,
        restart=switch.Restart(
            command=restart.get("command"), always=always, seconds=restart.get("seconds", 30)
        ),
        health=switch.Health(url=health["url"], seconds=health["seconds"]),
        write=switch.write_of(given.get("write")),
    )


def says(app: App) -> bool:
    return bool(app.get("/api/health").content["maintenance"])


@pytest.fixture
def uri_file(replica_set: ReplicaSet, database: Data, tmp_path: Path) -> Path:
    file = tmp_path / "app.uri"
    file.write_text(replica_set.uri("app", database=database.name))
    return file


@pytest.mark.parametrize("kind", ["env", "file", "http"])
def test_an_application_refuses_writes_once_it_is_told_and_takes_them_again(
    kind: str, uri_file: Path, tmp_path: Path, database: Data
) -> None:
    with App(tmp_path / "apps", "one", uri_file=uri_file, flag_kind=kind) as app:
        on = switch.switch(wanted(app, on=True))
        assert (on.problems, on.told, on.changed, on.answered) == ([], True, True, True)
        assert on.restarted is (kind == "env")
        assert says(App(app.folder, app.name))
        assert database["items"].count_documents({}) == 0

        again = switch.switch(wanted(app, on=True))
        assert (again.problems, again.changed, again.restarted) == ([], False, False)

        off = switch.switch(wanted(app, on=False))
        assert (off.problems, off.changed, off.answered) == ([], True, None)
        assert not says(App(app.folder, app.name))
        App(app.folder, app.name).stop()


def test_check_mode_says_what_would_be_and_touches_nothing(uri_file: Path, tmp_path: Path) -> None:
    with App(tmp_path / "apps", "one", uri_file=uri_file) as app:
        pid = app.pid
        found = switch.switch(wanted(app, on=True), check=True)
        assert (found.problems, found.changed, found.restarted) == ([], True, True)
        assert not app.flag.exists()
        assert App(app.folder, app.name).pid == pid


def test_what_goes_wrong_is_named_and_the_rest_is_tried_all_the_same(
    uri_file: Path, tmp_path: Path
) -> None:
    with App(tmp_path / "apps", "one", uri_file=uri_file) as app:
        program = "import sys; print('no such unit'); sys.exit(5)"
        command = f'{sys.executable} -c "{program}"'
        found = switch.switch(wanted(app, on=True, app_restart_command=command))
        # It never read its flag: the write is what tells.
        assert found.problems == [
            "did not restart: its command ended with 5, no such unit",
            "answers a write with 201",
        ]
        assert (found.told, found.restarted, found.answered) == (True, False, False)


def test_a_flag_that_cannot_be_written_leaves_the_application_alone(
    uri_file: Path, tmp_path: Path
) -> None:
    with App(tmp_path / "apps", "one", uri_file=uri_file) as app:
        pid = app.pid
        missing = str(tmp_path / "nowhere" / "flag.env")
        found = switch.switch(wanted(app, on=True, app_flag_path=missing))
        assert not found.told
        assert "did not take the flag" in found.problems[0]
        assert App(app.folder, app.name).pid == pid


def test_a_restart_that_hangs_and_an_application_that_is_gone_are_not_waited_for_for_ever(
    uri_file: Path, tmp_path: Path
) -> None:
    app = App(tmp_path / "apps", "one", uri_file=uri_file)
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
    command = f'{sys.executable} -c "import time; time.sleep(60)"'
    found = switch.switch(
        wanted(
            *(app,),
            on=True,
            seconds=0.2,
            app_restart_command=command,
            app_health_url=url,
            app_write_probe={"url": url},
        )
    )
    assert found.problems == [
        "did not restart: its command takes longer than 0.2 s",
        "does not answer",
        "answers a write with nothing",
    ]
