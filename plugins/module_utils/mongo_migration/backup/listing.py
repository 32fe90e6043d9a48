"""What archives a folder holds, and whether they are what was written."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import ArchiveError
from ..support.progress import Sink
from . import crypt, sidecar
from .reader import Reader
from .store import Store, Stored


def find(
    folder: Path,
    *,
    now: datetime,
    progress: Sink,
    verify: bool,
    database: str | None = None,
) -> dict[str, Any]:
    """Return what archives there are, newest first, and the newest good one of *database*.

    ``verified`` is true for an archive that was verified when it was written and has its full
    length and an intact manifest or description; with *verify*, all of it is read again now. Of an
    encrypted one, that is its ciphertext: no key is needed.
    """
    store = Store(folder)
    latest = store.latest()
    backups = []
    for one in store.archives():
        problem = one.problem
        if verify and one.about is not None:
            try:
                _read_again(one, progress)
            except ArchiveError as error:
                problem = error.message
        backups.append(
            {
                "archive": str(one.path),
                "bytes": one.bytes,
                "made": one.made.isoformat().replace("+00:00", "Z"),
                "age_seconds": int((now - one.made).total_seconds()),
                "latest": one.path == latest,
                "verified": problem is None,
                "problem": problem,
                "encrypted": one.encrypted,
                "database": one.about.database if one.about else None,
                "consistent": one.about.consistent if one.about else None,
                "documents": one.about.documents if one.about else None,
                "base": one.about.base.name if one.about and one.about.base else None,
                "note": one.about.note if one.about else {},
            }
        )
    mine = [one for one in backups if one["verified"] and one["database"] == database]
    return {
        "backups": backups,
        "latest": str(latest) if latest else None,
        "newest": mine[0] if mine else None,
        "warnings": [exposed] if (exposed := store.exposed()) else [],
    }


def _read_again(one: Stored, progress: Sink) -> None:
    """Read all of an archive.

    Raises:
        ArchiveError: it isn't what was written.
    """
    if not one.encrypted:
        with Reader(one.path) as reader:
            reader.check(progress)
        return
    expected = sidecar.read(one.path)

    def tell(done: int) -> None:
        progress({"phase": "verify archive", "done": done, "total": one.bytes, "unit": "bytes"})

    if crypt.digest(one.path, tell) != expected.sha256:
        raise ArchiveError(f"{one.path}: The archive is damaged: it doesn't have its SHA-256.")
