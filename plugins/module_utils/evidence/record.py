"""``run.json``: which run a folder is the evidence of, and how it ended."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mongo_migration.support import plain_files

from . import chain

RUN = "run.json"
# How a folder begins: who finds it so without a process that writes to it, finishes it.
RUNNING = "running"
# In their order in the file. `verified` is true where every check of the data passed; `variables`
# are those of the migration document with their values; `command` tells whose folder it is.
FIELDS = (
    *("action", "migration", "digest", "run", "deployment", "database", "inventory"),
    *("started", "ended", "outcome", "verified", "check_mode", "variables", "command"),
)
FILE_MODE = 0o640


def begin(folder: Path, **known: Any) -> dict[str, Any]:
    """Write ``run.json`` of a run that begins now."""
    empty: dict[str, Any] = dict.fromkeys(FIELDS)
    record = {**empty, "started": now(), "outcome": RUNNING, "verified": False, **known}
    write_json(folder / RUN, record)
    return record


def read(folder: Path) -> dict[str, Any]:
    """Return what is known of the run of *folder*; empty for a folder that is not evidence."""
    return read_json(folder / RUN)


def update(folder: Path, **facts: Any) -> dict[str, Any]:
    """Add *facts* to ``run.json``."""
    record = {**read(folder), **facts}
    write_json(folder / RUN, record)
    return record


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a file; an empty one where there is none, or none to be read."""
    try:
        found = plain_files.read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, value: Any) -> None:
    """Write *value* as JSON for people."""
    write_text(path, chain.to_json(value, indent=2))


def write_text(path: Path, text: str) -> None:
    """Write a file for the team alone, which appears whole or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    with os.fdopen(create(unfinished), "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text.rstrip() + "\n")
    unfinished.replace(path)


def create(path: Path) -> int:
    """Open a new file for the team alone, in place of whatever is called so.

    Never through a link: whoever may write to the folder could lead us to a file of ours.
    """
    path.unlink(missing_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)


def digest(path: Path) -> str:
    """Return the SHA-256 of a plain file.

    Raises:
        OSError: it can't be read, or is not a plain file.
    """
    with plain_files.open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def now() -> str:
    """Return the time, as all files of the evidence write it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
