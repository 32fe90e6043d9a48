"""Container engines of this machine: podman or docker, chosen by really running a container."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .files import private_folder
from .processes import ProcessError

ENGINES = ("podman", "docker")
LOCAL = "local"
BACKENDS = ("auto", *ENGINES, LOCAL)

# crun can't set limits where CAP_SYS_RESOURCE is missing and control groups are of both versions;
# there runc with limits that the machine allows does.
_RUNC = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=16384:16384"]
[engine]
runtime = "runc"
"""


@dataclass(frozen=True)
class Engine:
    """A container engine's command, with what its environment needs here."""

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, seconds: float = 120) -> str:
        """Run a command of the engine; return what it prints.

        Raises:
            ProcessError: it failed; the message holds what the engine said.
        """
        done = self.attempt(*arguments, seconds=seconds)
        if done.returncode:
            raise ProcessError(
                f"{self.name} {arguments[0]} failed (exit {done.returncode}): "
                f"{done.stderr.strip() or done.stdout.strip()}"
            )
        return done.stdout.strip()

    def attempt(
        self, *arguments: str, seconds: float = 120, stdin: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the engine, whatever comes of it."""
        try:
            return subprocess.run(
                [self.name, *arguments],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ProcessError(
                f"{self.name} {arguments[0]} took longer than {seconds:g} s."
            ) from None


def candidates(backend: str, folder: Path) -> list[Engine]:
    """Return the engines to try, in order; none of them has run anything yet.

    Args:
        backend: auto, podman or docker.
        folder: for the engine's settings.
    """
    found = []
    for name in ENGINES if backend == "auto" else (backend,):
        if shutil.which(name):
            found.append(Engine(name))
            if name == "podman" and shutil.which("runc"):
                found.append(Engine(name, {"CONTAINERS_CONF": str(_settings(folder))}))
    return found


def runs(engine: Engine, image: str) -> str:
    """Return why a container of this image can't run here; nothing if it does.

    `podman info` succeeds where `podman run` can't, so a container is really run.
    """
    if engine.name == "podman" and os.geteuid():
        return "the addresses of a user's own containers can't be reached; run as root"
    try:
        done = engine.attempt(*_TRIAL, image, "-c", "exit 0", seconds=60)
    except ProcessError as error:
        return str(error)
    return last_line(done) if done.returncode else ""


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last thing that a failed command said."""
    lines: Sequence[str] = (done.stderr or done.stdout).strip().splitlines() or ("no message",)
    return lines[-1]


_TRIAL = ("run", "--rm", "--network", "none", "--entrypoint", "sh")


def _settings(folder: Path) -> Path:
    path = private_folder(folder) / "containers.conf"
    path.write_text(_RUNC)
    return path
