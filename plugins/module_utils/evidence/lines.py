"""Reading files of JSON lines, whatever a crash or an editor did to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mongo_migration.support import plain_files


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file of JSON lines; lines that are none are passed over."""
    try:
        for raw in plain_files.lines(path):
            try:
                line = plain_files.parse_json(raw.decode(errors="replace").encode())
            except ValueError:
                continue
            if isinstance(line, dict):
                yield line
    except OSError:
        return
