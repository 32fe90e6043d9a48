"""Takes a backup from beginning to end: space, dump, verification, name, retention."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from pymongo import MongoClient

from .. import connection
from ..document.collections import STATE
from ..errors import ArchiveError
from ..server import members, obstacles
from ..support import retry
from ..support.progress import Sink
from ..support.stop import StopSignal
from . import catalog, crypt, dump, server, sidecar
from .crypt import Lock, Sealer
from .manifest import Manifest
from .pipeline import switching_often
from .reader import Reader
from .sidecar import About, Sidecar
from .spool import Spool
from .store import ENCRYPTED, LATEST, Retention, Store, Stored

# Without an earlier backup to learn from: what BSON shrinks to, and what two cores get through.
_RATIO, _RATE = 0.6, 60e6
_MARGIN = 64 << 20
_ATTEMPTS = 3
# A server's snapshot history window by default, in seconds (minSnapshotHistoryWindowInSeconds).
_WINDOW = 300


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a backup is taken."""

    folder: Path
    retention: Retention = field(default_factory=Retention)
    note: dict[str, Any] = field(default_factory=dict)
    fsync_lock: bool = False
    snapshot_window: int | None = None
    lock: Lock = field(default_factory=Lock)
    retry_seconds: float = 300  # without any progress, as when there is no primary


def utc_now() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)


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
    # Encrypted, it lies there twice for a moment: as it is read, and as it is kept.
    needed = expected * (2 if settings.lock else 1) + _MARGIN
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


def back_up(
    client: MongoClient[dict[str, Any]],
    database: str,
    settings: Settings,
    *,
    progress: Sink,
    stop: StopSignal | None = None,
    examine: Callable[[Reader], Any] | None = None,
    now: Callable[[], datetime] = utc_now,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Take a verified backup of *database* and return what it is.

    An archive gets its name, and ``latest.tar.gz`` moves to it, only after all of it was read
    again and found right. Whatever fails before leaves the folder as it was. Where the primary is
    lost, it waits for another one and starts over.

    Args:
        client: connected to the deployment.
        database: what to back up.
        settings: how.
        progress: told of each part.
        stop: ends the waiting for a primary.
        examine: called with the archive after it got its name, while its plain content can still
            be read; what it returns is the result's ``examined``.
        now: the time of day.
        clock: seconds, for the time it took.

    Raises:
        ArchiveError: no space, nothing to back up, or the archive isn't what was written.
    """
    began = clock()
    _require_room(plan(client, database, settings))
    _await_majority(client, settings, progress, stop)
    store = Store(settings.folder)
    cleaned = store.prepare()
    with switching_often(), ExitStack() as stack:
        made = _persist(
            client, database, settings, stack, progress=progress, stop=stop, now=now, clock=clock
        )
        verified = clock()
        result = {
            **made.facts(settings.folder),
            "elapsed": round(verified - began, 3),
            "seconds": {
                "dump": round(made.dumped - began, 3),
                "verify": round(verified - made.dumped, 3),
            },
            "removed": store.retire(
                database, settings.retention, now=now(), needed=_needed(client, database)
            ),
            "cleaned": cleaned,
        }
        if examine is not None:
            made.reader.path = made.archive
            result["examined"] = examine(made.reader)
        return result


def _await_majority(
    client: MongoClient[dict[str, Any]],
    settings: Settings,
    progress: Sink,
    stop: StopSignal | None,
) -> None:
    members.await_majority(
        client,
        seconds=settings.retry_seconds,
        stop=stop,
        waiting=lambda words: progress({"phase": "back up", "waiting": words}),
    )


def _require_room(expected: dict[str, Any]) -> None:
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


def _persist(
    client: MongoClient[dict[str, Any]],
    database: str,
    settings: Settings,
    stack: ExitStack,
    *,
    progress: Sink,
    stop: StopSignal | None,
    now: Callable[[], datetime],
    clock: Callable[[], float],
) -> _Made:
    """Make an archive, anew where the primary is lost; *stack* closes what is open of it."""
    told = 0

    def tell(event: dict[str, Any]) -> None:
        nonlocal told
        told += 1
        progress(event)

    def attempt() -> _Made:
        with ExitStack() as own, _explained(settings.folder):
            made = _make(
                own,
                settings,
                dump=lambda file: _dump(client, database, file, settings, now=now, progress=tell),
                now=now,
                clock=clock,
                progress=tell,
            )
            stack.push(own.pop_all())
        return made

    return retry.retry_until_deadline(
        lambda: _unchanged(attempt),
        progressed=lambda: told,
        recover=lambda: None,
        seconds=settings.retry_seconds,
        stop=stop or StopSignal(),
        waiting=lambda reason: progress({"phase": "back up", "waiting": reason}),
        otherwise="No archive was made; older ones and the link to the latest are as they "
        "were. When that is settled, run the same command.",
        obstacle=obstacles.namer(client),
    )


@dataclass(frozen=True, kw_only=True)
class _Made:
    """An archive that has its name, and its plain content."""

    archive: Path
    unlinked: str | None  # why no link shows it, if none does
    manifest: Manifest
    reader: Reader
    dumped: float

    def facts(self, folder: Path) -> dict[str, Any]:
        """Return what it is, as the result of a backup into *folder*."""
        sealed = self.archive.suffix == ENCRYPTED
        link = None if self.unlinked else str(folder / (LATEST + (ENCRYPTED if sealed else "")))
        return {
            "archive": str(self.archive),
            "latest": link,
            "warnings": [self.unlinked] if self.unlinked else [],
            "bytes": self.archive.stat().st_size,
            "verified": True,
            "encrypted": sealed,
            "manifest": self.manifest.summary(),
        }


def _unchanged(attempt: Callable[[], _Made]) -> _Made:
    """Return what *attempt* makes, trying again if the catalog changed under it."""
    for _ in range(_ATTEMPTS - 1):
        with suppress(dump.CatalogChangedError):
            return attempt()
    return attempt()


def _make(
    stack: ExitStack,
    settings: Settings,
    *,
    dump: Callable[[BinaryIO | Spool], Manifest],
    now: Callable[[], datetime],
    clock: Callable[[], float],
    progress: Sink,
) -> _Made:
    """Write an archive, verify it, encrypt it, and give it its name."""
    store = Store(settings.folder)
    sealer = Sealer(settings.lock) if settings.lock else None
    taken = now()
    file, path = stack.enter_context(store.unfinished(now))
    spool = stack.enter_context(closing(Spool(store.folder))) if sealer else None
    manifest = dump(spool or file)
    dumped = clock()
    reader = stack.enter_context(Reader(path, spool))
    reader.check(progress)
    description = None
    if sealer and spool:
        description = _seal(sealer, spool, file, path, manifest, now=now, progress=progress)
    archive, unlinked = store.publish(file, path, taken, description)
    return _Made(
        archive=archive,
        unlinked=unlinked,
        manifest=manifest,
        reader=reader,
        dumped=dumped,
    )


def _seal(
    sealer: Sealer,
    spool: Spool,
    file: BinaryIO,
    path: Path,
    manifest: Manifest,
    *,
    now: Callable[[], datetime],
    progress: Sink,
) -> Sidecar:
    """Encrypt the verified archive into *file*, and read that again."""

    def tell(done: int) -> None:
        progress({"phase": "encrypt", "done": done, "total": spool.length, "unit": "bytes"})

    spool.seek(0)
    sealed = sealer.seal(spool, file, tell)
    file.flush()
    os.fsync(file.fileno())
    if crypt.digest(path, lambda done: None) != sealed.sha256:
        raise ArchiveError(
            f"{path}: The encrypted archive isn't what was written: the disk of {path.parent} is "
            "damaged. It was removed; earlier backups are as they were."
        )
    return Sidecar(
        length=sealed.length,
        sha256=sealed.sha256,
        key=sealed.key,
        about=About.of(manifest),
        verified=now().isoformat(timespec="seconds").replace("+00:00", "Z"),
    )


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Say of what the disk refused that nothing of it is left."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        what = "filled up" if full else "failed"
        remedy = "Make room" if full else "See to that"
        raise ArchiveError(
            f"{folder} {what} while the backup was written ({error.strerror}). The "
            "unfinished file was removed; earlier backups and the link to the latest are as they "
            f"were. {remedy}, or name another folder."
        ) from error


def _dump(
    client: MongoClient[dict[str, Any]],
    database: str,
    file: BinaryIO | Spool,
    settings: Settings,
    *,
    now: Callable[[], datetime],
    progress: Sink,
) -> Manifest:
    deployment = connection.inspect(client)
    locked = settings.fsync_lock and deployment.topology == "standalone"
    with (
        server.longer_history(client, settings.snapshot_window),
        server.still(client, wanted=locked),
    ):
        return dump.write(
            client[database],
            file,
            server=deployment,
            now=now,
            progress=progress,
            note=settings.note,
            locked=locked,
        )


def listing(
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


def _needed(client: MongoClient[dict[str, Any]], database: str) -> frozenset[str]:
    """Return the names of archives that runs rely on which were not rolled back."""
    runs = catalog.lenient(client[database])[STATE].find(
        {"kind": "run", "phase": {"$ne": "rolled_back"}}, {"backup": 1}
    )
    return frozenset(Path(run["backup"]).name for run in runs if isinstance(run.get("backup"), str))


def _experience(store: Store, database: str) -> tuple[float, float]:
    """Return how far the newest archive shrank its BSON, with a tenth to spare, and how fast."""
    for one in store.archives() if store.folder.is_dir() else ():
        about = one.about
        if about and about.database == database and about.size > 1 << 20:
            started = datetime.fromisoformat(about.started)
            seconds = (datetime.fromisoformat(about.finished) - started).total_seconds()
            # Verification reads the archive once more, at about the same speed.
            rate = about.size / seconds / 2 if seconds >= 2 else _RATE
            return one.bytes / about.size * 1.1, rate
    return _RATIO, _RATE


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"
