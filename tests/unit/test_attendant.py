"""The two halves that look after a module over SSH, joined by a shell of this machine."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from embedded.processes import wait_until
from tests.support.playbooks import ROOT

sys.path.append(str(ROOT / "plugins" / "plugin_utils"))

import attendant

# As a long module: it shows how far it is, and takes a stop.
MODULE = """
import sys
from mongo_migration.support import attended, progress, stop
with attended.attended(sys.argv[1]) as file:
    asked = stop.listen()
    progress.sink(file)({"phase": "migrate", "done": 1, "total": 2})
    asked.wait(60)
print(asked.reason)
"""


def in_a_shell(command: str) -> dict[str, Any]:
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    return {"rc": done.returncode, "stdout": done.stdout}


@pytest.fixture
def attending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[attendant.Attendant]:
    monkeypatch.setattr(attendant, "LOOK_SECONDS", 0.2)
    started = attendant.Attendant(in_a_shell, tmp_path / "progress.json")
    yield started
    started.close()


@pytest.fixture
def module(attending: attendant.Attendant) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", MODULE, attending.progress_file]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_it_copies_the_progress_and_carries_a_stop(
    attending: attendant.Attendant, module: subprocess.Popen[str], tmp_path: Path
):
    assert wait_until((tmp_path / "progress.json").is_file, 30)
    assert '"done": 1' in (tmp_path / "progress.json").read_text()
    attending.stop(signal.SIGINT)
    assert module.communicate(timeout=30)[0] == "SIGINT received\n"
    assert not Path(attending.folder).exists()


def test_after_a_loss_it_stops_the_module_and_knows_that_it_ended(
    attending: attendant.Attendant, module: subprocess.Popen[str]
):
    assert wait_until(Path(attending.folder).is_dir, 30)
    assert attending.has_ended()
    assert module.communicate(timeout=30)[0] == "SIGHUP received\n"


def test_a_host_that_stays_away_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def nowhere(_command: str) -> dict[str, Any]:
        raise OSError

    monkeypatch.setattr(attendant, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(attendant, "LOSS_SECONDS", 0.5)
    started = attendant.Attendant(nowhere, tmp_path / "progress.json")
    assert not started.has_ended()
    started.close()
