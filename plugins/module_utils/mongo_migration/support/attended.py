"""A module on another host than the command: it is watched, heard and stopped through a folder.

No signal comes through SSH, and who is cut off can't be asked. So the command looks into a folder
of the module every few seconds, and leaves a trace each time; a word that it lays there counts as
the signal of that name. Where the traces end, the command is gone: as if its terminal was closed.
"""

from __future__ import annotations

import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# The folder's name begins so; the rest can't be guessed.
PREFIX = "mongo-attended-"
# What the command leaves there each time, and a stop.
TRACE = "watched"
ORDER = "order"
# The command looks far more often. A network may be away for a while.
LAPSE_SECONDS = 60.0
_LOOK_SECONDS = 0.5
_SIGNALS = {each.name: each for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}


@contextmanager
def attended(
    progress_file: str | None,
    *,
    lapse: float = LAPSE_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[str | None]:
    """Be attended while the ``with`` block lasts, where the command asks for it.

    Args:
        progress_file: where the command looks for the progress; what lies in any other folder than
            one for this is left to whoever made it.
        lapse: after how many seconds without a trace the command is gone.
        clock: seconds.

    Yields:
        Where to write the progress; nowhere, if the folder can't be made for this user alone.
    """
    folder = Path(progress_file).parent if progress_file else None
    if folder is None or not folder.name.startswith(PREFIX):
        yield progress_file
        return
    try:
        # Never one that is there already: it would be somebody else's.
        folder.mkdir(mode=0o700)
    except OSError:
        yield None
        return
    heed = _Heed(folder, lapse, clock)
    heed.start()
    try:
        yield progress_file
    finally:
        heed.over.set()
        gone = folder.with_name(f"{folder.name}.over")
        with suppress(OSError):
            # At once: a trace that is laid meanwhile would keep the folder.
            folder = folder.rename(gone)
        shutil.rmtree(folder, ignore_errors=True)


def forget_payload() -> None:
    """Remove the file that Ansible copied here to run this module: it holds passwords.

    Ansible removes it when the module has ended, which it never learns of a host that it lost.
    """
    # Without a file, where Ansible pipes the module to Python, and in tests, there is nothing.
    file = Path(sys.orig_argv[-1])
    if file.name.startswith("AnsiballZ_"):
        with suppress(OSError):  # of another user, who lent it
            file.unlink()


class _Heed(threading.Thread):
    """Looks for orders and traces, and hands them to the main thread as signals."""

    def __init__(self, folder: Path, lapse: float, clock: Callable[[], float]) -> None:
        super().__init__(name="attended", daemon=True)
        self._folder = folder
        self._lapse = lapse
        self._clock = clock
        self._trace: int | None = None
        self._seen = 0.0
        self.over = threading.Event()

    def run(self) -> None:
        """Look until it is over, or something was heard: a run stops once."""
        while not self.over.wait(_LOOK_SECONDS):
            number = self._order() or (signal.SIGHUP if self._lapsed() else None)
            if number is not None:
                # To the main thread itself: whatever it waits for, it wakes.
                signal.pthread_kill(threading.main_thread().ident or 0, number)
                return

    def _order(self) -> signal.Signals | None:
        try:
            return _SIGNALS.get((self._folder / ORDER).read_text().strip())
        except OSError:
            return None

    def _lapsed(self) -> bool:
        """Return whether the command was there and is no more."""
        try:
            trace = (self._folder / TRACE).stat().st_mtime_ns
        except OSError:
            return False  # not yet: a command that doesn't look can't be missed
        now = self._clock()
        if trace != self._trace:
            self._trace, self._seen = trace, now
        return now - self._seen > self._lapse
