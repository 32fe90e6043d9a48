"""Background processes that outlive us, found again by process id and start time."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"


class ProcessError(RuntimeError):
    """A process didn't do what it was asked to."""


@dataclass(frozen=True)
class Process:
    """A process, named so that a reused process id is never taken for it."""

    pid: int
    started: int  # clock ticks since boot, from /proc

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Return the living process of this id, if there is one."""
        fields = _stat(pid)
        return None if fields is None else cls(pid, int(fields[19]))

    @classmethod
    def load(cls, record: Mapping[str, Any] | None) -> Process | None:
        """Return what :meth:`as_dict` wrote."""
        return cls(int(record["pid"]), int(record["started"])) if record else None

    def as_dict(self) -> dict[str, int]:
        """Return the fields as plain values."""
        return asdict(self)

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return Process.of(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process is gone."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def stop(self, seconds: float = 20.0) -> None:
        """Ask the process to end, wait, and kill it if it doesn't."""
        # A paused process can't hear anything.
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        if not wait_until(lambda: not self.alive, seconds):
            self.send(signal.SIGKILL)
            if not wait_until(lambda: not self.alive, 5.0):
                raise ProcessError(f"Process {self.pid} can't be ended.")


def tree(root: Process) -> list[Process]:
    """Return a process and all that it started, children before their parents."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (fields := _stat(int(folder.name))):
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found: list[Process] = []
    waiting = [root.pid]
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        if process := Process.of(pid):
            found.append(process)
    return found[::-1]


def spawn(command: Sequence[str], *, log: Path, cwd: Path) -> Process:
    """Start a process in its own session, so that it survives ours and our terminal."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            list(command),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    # It is found again by its id, not through this object, which would warn when collected.
    child.returncode = 0
    process = Process.of(child.pid)
    if process is None:
        raise ProcessError(f"{command[0]} ended at once. Its log: {log}")
    return process


def wait_until(condition: Callable[[], bool], seconds: float, pause: float = 0.05) -> bool:
    """Return whether the condition became true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def free_ports(count: int, preferred: Sequence[int] = ()) -> list[int]:
    """Return ports of the loopback address that nobody listens on, the preferred ones first."""
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        # All are held until the last is found, so that none is given twice.
        for candidate in (*preferred, *[0] * count):
            if len(ports) == count:
                break
            probe = held.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((LOOPBACK, candidate))
                ports.append(probe.getsockname()[1])
        return ports


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat after the command's name; None for the dead."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in brackets and may hold spaces and brackets itself.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else fields
