"""When a watch ends: after its time, when it is told, or with the process it belongs to."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from ..support.stop import StopSignal

_SLICE_SECONDS = 0.1


class Life:
    """The bounded life of a watch.

    Args:
        stop: a signal asked for the end.
        seconds: the longest life; None for no bound.
        stop_file: a file whose appearance is the end.
        parent: the process to end with.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        stop: StopSignal,
        *,
        seconds: float | None = None,
        stop_file: Path | None = None,
        parent: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stop = stop
        self._until = None if seconds is None else clock() + seconds
        self._file = stop_file
        self._parent = parent
        self._born = _started(parent) if parent else None
        self._clock = clock

    def over(self) -> str:
        """Return why it is over; empty while it isn't."""
        if self._stop.asked():
            return self._stop.reason
        if self._file is not None and self._file.exists():
            return "told to stop"
        if self._until is not None and self._clock() >= self._until:
            return "its time is over"
        # A process id is used again some day: the same one must have begun at the same moment.
        if self._parent and (self._born is None or _started(self._parent) != self._born):
            return "the command that it belongs to has ended"
        return ""

    def wait(self, seconds: float) -> bool:
        """Wait; return whether it goes on."""
        end = self._clock() + seconds
        while not self.over():
            left = end - self._clock()
            if left <= 0:
                return True
            time.sleep(min(left, _SLICE_SECONDS))
        return False

    def close(self) -> None:
        """Remove the file that told it to stop."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)


def _started(pid: int) -> str | None:
    """Return when the process began, in the system's own count; None if it is gone."""
    try:
        # After the name, which may hold anything; a zombie is as good as gone.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
        return _answers(pid)  # a system without /proc
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _answers(pid: int) -> str | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "another user's"
    return "alive"
