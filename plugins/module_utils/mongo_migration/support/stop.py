"""A stop that was asked for, by a signal or from another terminal."""

from __future__ import annotations

import signal
import time
from types import FrameType

from ..errors import InterruptedRunError

_SLICE_SECONDS = 0.1


class StopSignal:
    """Remembers that, and why, the run should end at its next batch boundary.

    A signal handler asks, between any two instructions of the main thread: a lock that this thread
    may hold just then, as that of a ``threading.Event`` it waits for, would never be had.
    """

    def __init__(self) -> None:
        self._asked = False
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

    def wait(self, seconds: float) -> None:
        """Sleep, but wake up when a stop is asked for."""
        end = time.monotonic() + seconds
        while not self._asked and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE_SECONDS))


def listen() -> StopSignal:
    """Return a stop signal that SIGINT, SIGTERM and SIGHUP trip."""
    stop = StopSignal()

    def handle(number: int, _frame: FrameType | None) -> None:
        stop.ask(f"{signal.Signals(number).name} received")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handle)
    return stop
