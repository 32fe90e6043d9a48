"""What a backup would take, before one begins: documents, room and time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pymongo import MongoClient

from ..errors import ArchiveError
from ..server import connection
from . import catalog, server
from .crypt import Sealer
from .settings import Settings
from .store import Store

# Without an earlier backup to learn from: what BSON shrinks to, and what two cores get through.
_RATIO, _RATE = 0.6, 60e6
_MARGIN = 64 << 20
# A server's snapshot history window by default, in seconds (minSnapshotHistoryWindowInSeconds).
_WINDOW = 300


def plan(client: MongoClient[dict[str, Any]], database: str, settings: Settings) -> dict[str, Any]:
    """Return what a backup would take: documents, bytes, disk, seconds; nothing stays written.

    Raises:
        ArchiveError: no backup could be written to the folder.
    """
    if settings.lock.recipients:
        Sealer(settings.lock)  # a mistyped key is said now, not when the writers have stopped
    store = Store(settings.folder)
    linkless = store.try_out()
    server.require_unlocked(client)
    found = catalog.read(client[database])
    sizes = catalog.sizes(client[database], found)
    size = sum(one for _, one in sizes.values())
    ratio, rate = _experience(store, database)
    expected = int(size * ratio)
    needed = needed_bytes(expected, settings)
    free = store.free()
    seconds = round(size / rate, 1)
    topology = connection.inspect(client).topology
    warnings = [linkless] if linkless else []
    if topology != "standalone":
        warnings += _window_warnings(client, settings, seconds)
    return {
        "database": database,
        "folder": str(settings.folder),
        "collections": len(found),
        "documents": sum(count for count, _ in sizes.values()),
        "bytes": size,
        "archive_bytes": expected,
        "free_bytes": free,
        "needed_bytes": needed,
        "fits": free > needed,
        "seconds": seconds,
        "consistent": topology != "standalone" or settings.fsync_lock,
        "encrypted": bool(settings.lock),
        "warnings": warnings,
    }


def needed_bytes(size: int, settings: Settings) -> int:
    """Return the room that an archive of *size* bytes needs for the time of its making."""
    # Encrypted, it lies there twice for a moment: as it is read, and as it is kept.
    return size * (2 if settings.lock else 1) + _MARGIN


def require_room(expected: dict[str, Any]) -> None:
    """Refuse what can't be backed up.

    Args:
        expected: what :func:`plan` returned.

    Raises:
        ArchiveError: there is nothing to back up, or too little room for it.
    """
    if not expected["collections"]:
        raise ArchiveError(
            f"The database '{expected['database']}' has no collections: there is nothing to back "
            "up. Check the name of the database (mongo_database in the inventory)."
        )
    if not expected["fits"]:
        raise ArchiveError(
            f"The backup needs about {_mib(expected['needed_bytes'])} in "
            f"{expected['folder']}, where {_mib(expected['free_bytes'])} are free. Make room, or "
            "name another folder. Nothing was written.",
            **expected,
        )


def _window_warnings(
    client: MongoClient[dict[str, Any]], settings: Settings, seconds: float
) -> list[str]:
    """Say beforehand if the server will forget the snapshot before all of it was read."""
    window = settings.snapshot_window or server.window(client) or _WINDOW
    if seconds <= window:
        return []
    return [
        f"The backup may take about {seconds:,.0f} s, and the server's snapshot history "
        f"window is {window:,} s: it would fail with SnapshotTooOld. Set "
        "snapshot_window (in the inventory backup_snapshot_window) "
        f"to {int(seconds * 2):,} or more, or take an external snapshot."
    ]


def _experience(store: Store, database: str) -> tuple[float, float]:
    """Return how far the newest archive shrank its BSON, with a tenth to spare, and how fast."""
    for one in store.archives() if store.folder.is_dir() else ():
        about = one.about
        if about and about.database == database and about.size > 1 << 20 and not about.base:
            started = datetime.fromisoformat(about.started)
            seconds = (datetime.fromisoformat(about.finished) - started).total_seconds()
            # Verification reads the archive once more, at about the same speed.
            rate = about.size / seconds / 2 if seconds >= 2 else _RATE
            return one.bytes / about.size * 1.1, rate
    return _RATIO, _RATE


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"
