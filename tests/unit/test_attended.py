"""A module that another host's command attends: through a folder, by real signals."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from mongo_migration.support import attended, stop


def folder_of(tmp_path: Path) -> Path:
    return tmp_path / f"{attended.PREFIX}{'0' * 32}"


def heard(stopped: stop.StopSignal) -> str:
    stopped.wait(20)
    return stopped.reason


@pytest.fixture
def stopped() -> stop.StopSignal:
    return stop.listen()


def test_an_order_is_the_signal_of_that_name(tmp_path: Path, stopped: stop.StopSignal):
    folder = folder_of(tmp_path)
    with attended.attended(str(folder / "progress.json")) as file:
        assert file == str(folder / "progress.json")
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / attended.ORDER).write_text("SIGINT")
        assert heard(stopped) == "SIGINT received"
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_is_gone_ends_it(tmp_path: Path, stopped: stop.StopSignal):
    folder = folder_of(tmp_path)
    now = [0.0]
    with attended.attended(str(folder / "p.json"), lapse=60, clock=lambda: now[0]):
        # Who never looked can't be missed.
        now[0] = 1000.0
        time.sleep(2 * attended._LOOK_SECONDS)
        assert not stopped.asked()
        (folder / attended.TRACE).touch()
        time.sleep(2 * attended._LOOK_SECONDS)
        now[0] = 1061.0
        assert heard(stopped) == "SIGHUP received"


def test_a_folder_that_somebody_else_made_is_left_alone(tmp_path: Path):
    folder = folder_of(tmp_path)
    folder.mkdir()
    (folder / attended.ORDER).write_text("SIGINT")
    others = set(threading.enumerate())
    with attended.attended(str(folder / "progress.json")) as file:
        assert file is None
        assert set(threading.enumerate()) <= others
    assert folder.is_dir()


@pytest.mark.parametrize("file", [None, "/var/tmp/progress.json"])
def test_what_isnt_asked_for_isnt_done(file: str | None):
    with attended.attended(file) as given:
        assert given == file
        assert "attended" not in [thread.name for thread in threading.enumerate()]


def test_the_copied_module_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    payload, other = tmp_path / "AnsiballZ_mongo_migrate.py", tmp_path / "mongo_migrate.py"
    for file in (payload, other):
        file.write_text("password")
        monkeypatch.setattr("sys.orig_argv", ["python", str(file)])
        attended.forget_payload()
    assert not payload.exists()
    assert other.exists()
