"""Writing ``log.jsonl`` and ``stdout.txt`` while a run goes on."""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import chain, record

LOG = "log.jsonl"
SCREEN = "stdout.txt"
# What a terminal is told beside the text: colours, and erasing of lines.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r(?!\n)")


_STATE = {"listening": False}


def listen() -> None:
    """Note that this process, and those that it forks, have somebody who writes the log."""
    _STATE["listening"] = True


def is_listening() -> bool:
    """Return whether somebody writes the log of this command."""
    return _STATE["listening"]


class Writer:
    """Appends to a folder's log, and holds its lock so that others see the run is alive.

    The lock belongs to the open file: it also lives in what the process forked, and the system
    lets go of it when the last of them ends, however that comes.
    """

    def __init__(self, folder: Path) -> None:
        self._screen = folder / SCREEN
        self._log = _open(folder / LOG)
        # A file system without locks: then nobody can tell, and nobody else finishes the folder.
        with suppress(OSError):
            fcntl.flock(self._log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._end = chain.cut(self._log, folder / LOG)
        self._head = chain.head(folder / LOG)

    def write(self, lines: Iterable[Mapping[str, Any]], screen: str) -> None:
        """Append *lines* to the log, and what was shown since to the screen's file.

        Raises:
            OSError: nothing, or not all, was written; the log then ends as before.
        """
        head, text = self._head, ""
        for line in lines:
            linked = chain.link(chain.plain(line), head)
            head = linked["hash"]
            text += chain.write(linked)
        data = text.encode()
        try:
            _write(self._log, data)
        except OSError:
            os.ftruncate(self._log, self._end)
            raise
        self._head, self._end = head, self._end + len(data)
        if screen:
            with os.fdopen(_open(self._screen), "w", encoding="utf-8", errors="replace") as file:
                file.write(_CONTROL.sub("", screen))

    def close(self) -> None:
        """Let go of the lock, also in what was forked."""
        with suppress(OSError):
            fcntl.flock(self._log, fcntl.LOCK_UN)
        os.close(self._log)


def copy(source: Path, folder: Path) -> None:
    """Copy the log and the screen of *source*, whose command goes on writing, into *folder*."""
    for name in (LOG, SCREEN):
        data = (source / name).read_bytes()
        with os.fdopen(record.create(folder / name), "wb") as file:
            file.write(data[: data.rfind(b"\n") + 1])


def is_written(folder: Path) -> bool:
    """Return whether a process still writes the log of *folder*, as far as can be told."""
    try:
        descriptor = os.open(folder / LOG, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        plain = stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return True  # locked, or a file system that doesn't tell: hands off
    finally:
        os.close(descriptor)
    return not plain


def shorten(value: Any, longest: int) -> Any:
    """Return *value*, or the start of its JSON where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return value if len(text) <= longest else f"{text[:longest]}… ({len(text)} characters)"


def _open(path: Path) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    return os.open(path, flags, record.FILE_MODE)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
