"""A real sshd of a test, with keys of its own, that lets in whoever runs the test."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import pytest

from embedded.processes import wait_until

_SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


def skip_without() -> None:
    """Skip the test where there is no sshd, and say so."""
    for program in (_SSHD, "ssh", "ssh-keygen"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} isn't there: apt-get install openssh-server openssh-client")


class Sshd:
    """A server on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def __enter__(self) -> Self:
        self._folder.mkdir(mode=0o700)
        for name in ("host", "user"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._folder / name)],
                check=True,
            )
        authorized = self._folder / "authorized_keys"
        shutil.copy(self._folder / "user.pub", authorized)
        authorized.chmod(0o600)
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        settings = {
            "ListenAddress": f"127.0.0.1:{self.port}",
            "HostKey": self._folder / "host",
            "AuthorizedKeysFile": authorized,
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "PermitRootLogin": "prohibit-password",
            "PasswordAuthentication": "no",
        }
        config = self._folder / "sshd_config"
        config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        with (self._folder / "log").open("w") as log:
            self._process = subprocess.Popen([_SSHD, "-D", "-e", "-f", str(config)], stderr=log)
        assert wait_until(self._listens, 10), (self._folder / "log").read_text()
        return self

    def __exit__(self, *_error: object) -> None:
        self.cut_off()
        self._process.terminate()
        self._process.wait()

    @property
    def variables(self) -> dict[str, Any]:
        """What an inventory says of a host behind it."""
        return {
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": getpass.getuser(),
            "ansible_ssh_private_key_file": str(self._folder / "user"),
            "ansible_ssh_common_args": (
                "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
            ),
            "ansible_python_interpreter": sys.executable,
        }

    def cut_off(self) -> int:
        """Kill every session, as a network does that is gone; return how many there were."""
        sessions = _children(self._process.pid)
        # Each has an unprivileged half; what that one started stays.
        halves = [half for each in sessions for half in _children(each) if _is_sshd(half)]
        for process in [*sessions, *halves]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return len(sessions)

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


def _children(process: int) -> list[int]:
    try:
        return [int(each) for each in _proc(process, f"task/{process}/children").split()]
    except OSError:
        return []


def _is_sshd(process: int) -> bool:
    try:
        return _proc(process, "comm").startswith("sshd")
    except OSError:
        return False


def _proc(process: int, name: str) -> str:
    return Path(f"/proc/{process}/{name}").read_text()
