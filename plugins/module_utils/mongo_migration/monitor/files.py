"""What a watch leaves on disk: lines that are appended, files that are replaced as a whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import MigrationError
from ..support import neutral
from ..values import ejson

_PRIVATE = 0o640
_PUBLIC = 0o644  # node_exporter is another user


def replace(path: Path, text: str, *, public: bool = False) -> None:
    """Write *text* so that a reader sees the old file or the new one, never a part.

    Raises:
        MigrationError: it can't be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        mode = _PUBLIC if public else _PRIVATE
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, mode)
            file.write(text)
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def append(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Append *lines* in one write, so that those of several processes don't mix.

    Raises:
        MigrationError: it can't be written.
    """
    text = "".join(
        neutral.json_text(json.dumps(ejson.to_plain(line), ensure_ascii=False)) + "\n"
        for line in lines
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _PRIVATE)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> MigrationError:
    return MigrationError(
        f"Can't write {path}: {error.strerror}. Name a file in a folder that exists and where "
        "this user may write.",
        path=str(path),
    )
