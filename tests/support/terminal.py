"""A command in a terminal of its own: what it draws, and what a person types."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from .playbooks import ROOT, environment

CTRL_C = "\x03"
ERASE = "\r\x1b[K"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """Runs a command in the foreground of a pseudo-terminal."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 120,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> None:
        self.output = ""
        self._master: int | None
        self._master, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))

        def own_the_terminal() -> None:
            # As a shell does for its jobs: what started the tests may ignore Ctrl-C.
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self._process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env=environment({"TERM": "xterm-256color", **(env or {})}),
            stdin=inner,
            stdout=inner,
            stderr=inner,
            preexec_fn=own_the_terminal,  # noqa: PLW1509 - the child only makes system calls
        )
        os.close(inner)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self.close()

    @property
    def text(self) -> str:
        """All that was written so far, without colours."""
        return _COLOURS.sub("", self.output)

    @property
    def frames(self) -> list[str]:
        """What was drawn into the line that is drawn again and again."""
        drawn = [part.partition("\r\n")[0] for part in self.text.split(ERASE)[1:]]
        return [frame for frame in drawn if frame]

    def type(self, keys: str) -> None:
        """Send what a person types."""
        assert self._master is not None
        os.write(self._master, keys.encode())

    def close(self) -> None:
        """Take the terminal away, as a lost connection does."""
        if self._master is not None:
            os.close(self._master)
            self._master = None

    def wait_for(self, pattern: str, seconds: float = 60) -> str:
        """Read until the text matches *pattern*; return the match."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text)):
            if time.monotonic() > deadline or not self._read(0.1):
                raise AssertionError(f"{pattern!r} didn't appear in:\n{self.text}")
        return found[0]

    def type_until(self, keys: str, pattern: str, seconds: float = 60) -> None:
        """Type *keys* every few seconds until the text matches *pattern*."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            assert time.monotonic() < deadline, f"{pattern!r} didn't appear in:\n{self.text}"
            self.type(keys)
            pause = time.monotonic() + 3
            while time.monotonic() < pause and self._read(0.1):
                if re.search(pattern, self.text):
                    return

    def wait(self, seconds: float = 60) -> int:
        """Read to the end; return the exit code."""
        deadline = time.monotonic() + seconds
        while self._read(0.1):
            if time.monotonic() > deadline:
                raise AssertionError(f"It doesn't end:\n{self.text}")
        return self._process.wait(timeout=max(0.1, deadline - time.monotonic()))

    def _read(self, seconds: float) -> bool:
        """Read what there is; return whether there may be more."""
        assert self._master is not None
        ready, _, _ = select.select([self._master], [], [], seconds)
        if not ready:
            return True
        try:
            self.output += os.read(self._master, 65536).decode(errors="replace")
        except OSError:  # Linux says so when the last one has closed the terminal
            return False
        return True
