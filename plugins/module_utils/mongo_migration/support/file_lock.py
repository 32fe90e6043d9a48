"""Waiting for the lock of a file or folder, with an end: whoever has it may sleep, or mean harm."""

from __future__ import annotations

import fcntl
import time

_LOOK_SECONDS = 0.05


class FileLockHeldError(Exception):
    """Another process kept the lock for all of the time."""


def take(descriptor: int, *, seconds: float) -> None:
    """Lock an open file for this process alone.

    Args:
        descriptor: of the file or folder.
        seconds: how long to wait for another process that has it.

    Raises:
        FileLockHeldError: that process still has it.
        OSError: the file system has no locks.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= end:
                raise FileLockHeldError from error
            time.sleep(_LOOK_SECONDS)
        else:
            return
