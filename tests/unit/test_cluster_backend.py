"""Which backend a scenario gets: the one that was asked for, or a clear error."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedded.cluster import choose
from embedded.images import OFFICIAL
from embedded.processes import ProcessError


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put an engine's command on an otherwise empty path; it is a shell script."""
    commands = tmp_path / "commands"
    commands.mkdir()
    monkeypatch.setenv("PATH", str(commands))

    def put(name: str, script: str) -> None:
        path = commands / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return put


# Has every image, and can't start a container.
BROKEN = 'case "$1" in image) exit 0 ;; *) echo "no control groups" >&2; exit 125 ;; esac'
# Has no image and reaches no registry.
OFFLINE = 'echo "$*" >>"$0.log"; echo "no such host" >&2; exit 1'


def test_auto_without_any_engine_takes_plain_processes_and_says_why(engine, tmp_path: Path):
    chosen = choose({}, tmp_path / "folder")
    assert (chosen.name, chosen.engine) == ("local", None)
    assert chosen.remark == "no container engine is installed"


def test_auto_with_an_engine_that_runs_nothing_says_what_the_engine_said(engine, tmp_path: Path):
    engine("docker", BROKEN)
    chosen = choose({"MONGO_BACKEND": "auto"}, tmp_path / "folder")
    assert chosen.name == "local"
    assert chosen.remark == "docker: no control groups"


def test_an_engine_that_works_is_taken(engine, tmp_path: Path):
    engine("docker", "exit 0")
    chosen = choose({}, tmp_path / "folder")
    assert (chosen.name, chosen.image) == ("docker", OFFICIAL)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"MONGO_BACKEND": "docker"}, "docker: no control groups"),
        ({"MONGO_BACKEND": "podman"}, "podman is not installed"),
        ({"MONGO_BACKEND": "kubernetes"}, "is none of auto, podman, docker, local"),
        ({"MONGO_BACKEND": "local", "MONGO_IMAGE": "mongo:8.0"}, "needs a container engine"),
        ({"MONGO_IMAGE": "mongo:8.0"}, "MONGO_IMAGE=mongo:8.0 doesn't work here"),
    ],
)
def test_what_was_asked_for_is_never_replaced(
    engine, tmp_path: Path, environment: dict[str, str], message: str
):
    engine("docker", BROKEN)
    with pytest.raises(ProcessError, match=message):
        choose(environment, tmp_path / "folder")


def test_an_image_that_was_asked_for_is_never_built_instead(engine, tmp_path: Path):
    engine("docker", OFFLINE)
    with pytest.raises(ProcessError, match=r"can.t pull MONGO_IMAGE=mongo:8\.0: no such host"):
        choose({"MONGO_BACKEND": "docker", "MONGO_IMAGE": "mongo:8.0"}, tmp_path / "folder")
    assert "pull --quiet mongo:8.0" in (tmp_path / "commands" / "docker.log").read_text()
