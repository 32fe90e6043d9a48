"""``run.json``: which run a folder is the evidence of, and how it ended."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RUN = "run.json"
# How a folder begins: who finds it so without a process that writes to it, finishes it.
RUNNING = "running"
# In their order in the file. `verified` is true where every check of the data passed.
FIELDS = (
    *("action", "migration", "digest", "run", "deployment", "database", "inventory"),
    *("started", "ended", "outcome", "verified", "check_mode"),
)
FILE_MODE = 0o640


def begin(folder: Path, **known: Any) -> dict[str, Any]:
    """Write ``run.json`` of a run that begins now."""
    empty: dict[str, Any] = dict.fromkeys(FIELDS)
    record = {**empty, "started": now(), "outcome": RUNNING, "verified": False, **known}
    write_json(folder / RUN, record)
    return record


def read(folder: Path) -> dict[str, Any]:
    """Return what is known of the run of *folder*; empty for a folder that is no evidence."""
    return read_json(folder / RUN)


def update(folder: Path, **facts: Any) -> dict[str, Any]:
    """Add *facts* to ``run.json``."""
    record = {**read(folder), **facts}
    write_json(folder / RUN, record)
    return record


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a file; an empty one where there is none, or none to be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, value: Any) -> None:
    """Write *value* as JSON for people."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str))


def write_text(path: Path, text: str) -> None:
    """Write a file for the team alone, which appears whole or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text.rstrip() + "\n")
    unfinished.replace(path)


def now() -> str:
    """Return the time, as all files of the evidence write it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
