"""What looks after a module on another host, while the connection waits for its end.

A process of its own, with the connection and the privileges of the task: it looks into the folder
that the module made (``mongo_migration/support/attended.py``), copies the progress to this machine,
and lays down a stop. It knows no more of Ansible than how to run a command.
"""

from __future__ import annotations

import os
import secrets
import select
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from mongo_migration.support import attended

LOOK_SECONDS = 2.0
# As long as a module that is cut off would go on by itself, and a little for its last batch.
LOSS_SECONDS = attended.LAPSE_SECONDS + 30.0
_ASKED, _OVER = b"?", b"."
_GONE = "gone"

Execute = Callable[[str], Mapping[str, Any]]


class Attendant:
    """The process, seen from the one that runs the task."""

    def __init__(self, execute: Execute, mirror: Path) -> None:
        """Begin to look.

        Args:
            execute: runs a shell command on the host; raises, where that isn't reached.
            mirror: where the newest progress is copied to.
        """
        # Where everybody may write, but under a name that nobody can guess.
        self.folder = f"/tmp/{attended.PREFIX}{secrets.token_hex(16)}"
        orders, self._orders = os.pipe()
        self._answer, answers = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(self._orders)
            os.close(self._answer)
            _live(_Rounds(execute, self.folder, mirror, orders, answers))
        os.close(orders)
        os.close(answers)

    @property
    def progress_file(self) -> str:
        """What the module gets."""
        return f"{self.folder}/progress.json"

    def stop(self, number: signal.Signals) -> None:
        """Hand a signal to the module."""
        self._tell(bytes([number]))

    def has_ended(self) -> bool:
        """After a loss: stop the module, and return whether it is known to have ended."""
        self._tell(bytes([signal.SIGHUP]) + _ASKED)
        ready, _, _ = select.select([self._answer], [], [], LOSS_SECONDS + 30)
        return bool(ready) and os.read(self._answer, 1) == b"1"

    def close(self) -> None:
        """End the looking."""
        self._tell(_OVER)
        os.close(self._orders)
        os.close(self._answer)
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

    def _tell(self, words: bytes) -> None:
        with suppress(OSError):  # it was killed
            os.write(self._orders, words)


class _Rounds:
    """What the process does, look after look."""

    def __init__(
        self, execute: Execute, folder: str, mirror: Path, orders: int, answers: int
    ) -> None:
        self._execute = execute
        self._folder = folder
        self._mirror = mirror
        self._orders = orders
        self._answers = answers
        self._pending = ""
        self._until: float | None = None

    def run(self) -> None:
        """Look until the task is over, and what it ordered is delivered."""
        while True:
            ready, _, _ = select.select([self._orders], [], [], LOOK_SECONDS)
            if ready and not self._hear(os.read(self._orders, 1)):
                return
            there = self._look()
            if self._until is not None and (there is False or time.monotonic() > self._until):
                with suppress(OSError):
                    os.write(self._answers, b"1" if there is False else b"0")
                if not ready:
                    self._until = None

    def _hear(self, word: bytes) -> bool:
        """Take one word; return whether to go on."""
        if word == _OVER:
            return False
        if not word:
            # Who ran the task was killed: nobody will stop the module but this.
            self._pending = signal.SIGHUP.name
            deadline = time.monotonic() + LOSS_SECONDS
            while self._look() is not False and self._pending and time.monotonic() < deadline:
                time.sleep(LOOK_SECONDS)
            return False
        if word == _ASKED:
            self._until = time.monotonic() + LOSS_SECONDS
        else:
            self._pending = signal.Signals(word[0]).name
        return True

    def _look(self) -> bool | None:
        """Look once, and return whether the module is at work; None where nobody can tell."""
        order = f"printf {self._pending} > {attended.ORDER}; " if self._pending else ""
        try:
            done = self._execute(
                f"cd {self._folder} 2>/dev/null || {{ echo {_GONE}; exit 0; }}; "
                f": > {attended.TRACE}; {order}cat progress.json 2>/dev/null; echo"
            )
        except Exception:  # not reached now: the next look may
            return None
        said = str(done.get("stdout", "")).strip()
        if done.get("rc") != 0:
            return None
        if said == _GONE:
            return False
        self._pending = ""
        self._copy(said)
        return True

    def _copy(self, said: str) -> None:
        line = next((each for each in said.splitlines() if each.startswith("{")), "")
        if not line:
            return
        new = self._mirror.with_suffix(".new")
        with suppress(OSError):  # the folder is gone: the task is over
            new.write_text(line)
            new.replace(self._mirror)


def _live(rounds: _Rounds) -> NoReturn:
    """Be the process; nothing of the worker's own may run here after it."""
    try:
        # What ends the task is told in words; the programs that this one starts inherit it.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        # Who reads what the command says must see its end.
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        rounds.run()
    finally:
        os._exit(0)
