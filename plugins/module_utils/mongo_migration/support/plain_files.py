"""Reading files of folders that others may write to: plain ones, within bounds, and never a link.

A pipe would keep us waiting for ever, a link lead us to a device or to somebody else's file, and a
line or a value without end fill the memory.
"""

from __future__ import annotations

import io
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST_BYTES = 256 << 20
LONGEST_LINE = 32 << 20
DEEPEST = 100


def open_plain(path: Path) -> io.BufferedReader:
    """Open *path* for reading.

    Raises:
        OSError: it can't be opened, or is a link, a pipe, a device or a folder.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is not a plain file")
    return os.fdopen(descriptor, "rb")


def read(path: Path, *, most: int = MOST_BYTES) -> bytes:
    """Return what a plain file holds.

    Raises:
        OSError: it can't be read, is not a plain file, or longer than *most* bytes.
    """
    with open_plain(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(f"{path} is longer than {most >> 20} MiB")
    return data


def read_json(path: Path) -> Any:
    """Return the value in a plain file.

    Raises:
        OSError: as in :func:`read`.
        ValueError: it is not JSON, or nested without end.
    """
    return parse_json(read(path))


def parse_json(data: bytes) -> Any:
    """Return the value in *data*.

    Raises:
        ValueError: it is not JSON, or nested without end.
    """
    try:
        value = json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested without end") from error
    if data.count(b"[") + data.count(b"{") > DEEPEST and _is_deep(value):
        raise ValueError(f"it is nested deeper than {DEEPEST} levels")
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _depth in range(DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a plain file; one without end comes in pieces.

    Raises:
        OSError: as in :func:`open_plain`.
    """
    with open_plain(path) as file:
        while line := file.readline(LONGEST_LINE):
            yield line
