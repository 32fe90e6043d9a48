"""A stop that was asked for, by a signal or from another terminal."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from .errors import InterruptedRunError


class StopSignal:
    """Remembers that, and why, the run should end at its next batch boundary."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason = ""

    def ask(self, reason: str) -> None:
        """Ask for a stop."""
        self.reason = self.reason or reason
        self._event.set()

    def asked(self) -> bool:
        """Return whether a stop was asked for."""
        return self._event.is_set()

    def check(self) -> None:
        """End here if a stop was asked for.

        Raises:
            InterruptedRunError: it was.
        """
        if self.asked():
            raise InterruptedRunError(f"Stopped at a batch boundary: {self.reason}")

    def wait(self, seconds: float) -> None:
        """Sleep, but wake up at once when a stop is asked for."""
        self._event.wait(seconds)


def listen() -> StopSignal:
    """Return a stop signal that SIGINT, SIGTERM and SIGHUP trip."""
    stop = StopSignal()

    def handle(number: int, _frame: FrameType | None) -> None:
        stop.ask(f"{signal.Signals(number).name} received")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handle)
    return stop
