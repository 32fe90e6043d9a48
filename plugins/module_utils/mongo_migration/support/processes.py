"""Running a foreign program: watched, bounded in time, its output kept without secrets."""

from __future__ import annotations

import os
import queue
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from .secrets import Masker

# What a program needs to find its way. Nothing else of our environment is its business: it may
# hold the vault's password.
_INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR")
_LOOK_SECONDS = 0.5
# Between asking a program to end and ending it.
_GRACE_SECONDS = 10.0
# Of the output: how it began, and how it ended.
_KEPT_HEAD = 16_000
_KEPT_TAIL = 64_000


class EndedError(Exception):
    """The program was ended before its time, because *watch* raised *reason*."""

    def __init__(self, reason: Exception, outcome: dict[str, Any]) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.outcome = outcome


def line(argv: Sequence[str]) -> str:
    """Return *argv* as a person would type it."""
    return shlex.join(argv)


def base_environment() -> dict[str, str]:
    """Return the part of our own environment that a program gets."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ}


def run(
    argv: Sequence[str],
    *,
    cwd: str,
    environment: Mapping[str, str],
    timeout_seconds: float,
    secrets: Sequence[str],
    watch: Callable[[str], None],
) -> dict[str, Any]:
    """Run *argv* to its end, and return its exit code (None: it took too long), output and time.

    Args:
        argv: the program and its arguments; no shell.
        cwd: the folder that it runs in.
        environment: all that it sees of one.
        timeout_seconds: after this, it and all that it started is ended.
        secrets: what must not be in the output.
        watch: told the last line twice a second; what it raises ends the program.

    Raises:
        EndedError: *watch* raised.
    """
    began = time.monotonic()
    output = _Output(secrets)
    try:
        process = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for us: we end it, and all that it started, and say so.
            start_new_session=True,
        )
    except OSError as error:
        output.add(f"{argv[0]}: {error.strerror}\n")
        return _outcome(argv, 127, output, began, timeout_seconds)
    reader = threading.Thread(target=output.read, args=(process,), daemon=True)
    reader.start()
    try:
        code = _wait(process, output, watch, began + timeout_seconds)
    except Exception as error:
        _end(process)
        reader.join(_GRACE_SECONDS)
        raise EndedError(error, _outcome(argv, None, output, began, timeout_seconds)) from error
    if code is None:
        _end(process)
    # A child that it left behind may keep the pipe open for ever.
    reader.join(_GRACE_SECONDS)
    return _outcome(argv, code, output, began, timeout_seconds)


def _wait(
    process: subprocess.Popen[bytes],
    output: _Output,
    watch: Callable[[str], None],
    deadline: float,
) -> int | None:
    while time.monotonic() < deadline:
        try:
            return process.wait(_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            watch(output.last())
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the program and what it started: first by asking."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
    process.wait()


def _outcome(
    argv: Sequence[str], code: int | None, output: _Output, began: float, timeout: float
) -> dict[str, Any]:
    return {
        "command": line(argv),
        "exit_code": code,
        "seconds": round(time.monotonic() - began, 1),
        "timeout_seconds": timeout,
        "output": output.text(),
    }


class _Output:
    """The output of a program: its beginning and its end, where it is long."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._masker = Masker(secrets)
        self._head = ""
        self._tail = ""
        self._dropped = 0
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._last = ""

    def read(self, process: subprocess.Popen[bytes]) -> None:
        """Read until the pipe is closed."""
        if process.stdout is None:
            raise AssertionError("a process is started with a pipe")
        for raw in process.stdout:
            self.add(raw.decode("utf-8", "replace"))

    def add(self, text: str) -> None:
        """Keep *text*, a whole line, without secrets."""
        text = self._masker.text(text)
        self._lines.put(text)
        if not self._tail and len(self._head) + len(text) <= _KEPT_HEAD:
            self._head += text
            return
        self._tail += text
        if len(self._tail) > 2 * _KEPT_TAIL:
            self._dropped += len(self._tail) - _KEPT_TAIL
            self._tail = self._tail[-_KEPT_TAIL:]

    def last(self) -> str:
        """Return the newest line that says something."""
        with suppress(queue.Empty):
            while True:
                if said := self._lines.get_nowait().strip():
                    self._last = said[:200]
        return self._last

    def text(self) -> str:
        """Return all that was kept."""
        if not self._dropped:
            return self._head + self._tail
        return f"{self._head}\n[… {self._dropped:,} characters left out …]\n{self._tail}"
