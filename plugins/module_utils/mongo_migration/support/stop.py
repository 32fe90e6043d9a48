"""A stop that was asked for, by a signal or from another terminal."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ..errors import InterruptedRunError

_SLICE_SECONDS = 0.1


class _AtOnce(BaseException):
    """Ends what only reads, wherever it is: nothing that handles errors takes it for one."""


class StopSignal:
    """Remembers that, and why, the run should end at its next batch boundary.

    A signal handler asks, between any two instructions of the main thread: a lock that this thread
    may hold just then, as that of a ``threading.Event`` it waits for, would never be had.
    """

    def __init__(self) -> None:
        self._asked = False
        self._reads_only = False
        self.reason = ""

    def ask(self, reason: str) -> None:
        """Ask for a stop."""
        self.reason = self.reason or reason
        self._asked = True

    def asked(self) -> bool:
        """Return whether a stop was asked for."""
        return self._asked

    def check(self) -> None:
        """End here if a stop was asked for.

        Raises:
            InterruptedRunError: it was.
        """
        if self.asked():
            raise InterruptedRunError(f"Stopped at a batch boundary: {self.reason}")

    def signalled(self, reason: str) -> None:
        """Ask for a stop, in the main thread; what only reads ends here."""
        self.ask(reason)
        if self._reads_only:
            self._reads_only = False  # the next one mustn't disturb the end of it
            raise _AtOnce

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal end the ``with`` block at once, even while the server is at work for it.

        For what only reads: between any two of its instructions may be its last.

        Raises:
            InterruptedRunError: a stop was asked for, before or meanwhile.
        """
        try:
            self.check()
            try:
                self._reads_only = threading.current_thread() is threading.main_thread()
                yield
            finally:
                self._reads_only = False
        except _AtOnce:
            pass
        self.check()

    def wait(self, seconds: float) -> None:
        """Sleep, but wake up when a stop is asked for."""
        end = time.monotonic() + seconds
        while not self._asked and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE_SECONDS))


def listen() -> StopSignal:
    """Return a stop signal that SIGINT, SIGTERM and SIGHUP trip."""
    stop = StopSignal()

    def handle(number: int, _frame: FrameType | None) -> None:
        stop.signalled(f"{signal.Signals(number).name} received")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handle)
    return stop
