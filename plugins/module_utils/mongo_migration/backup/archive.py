"""Makes one archive: written, read again, encrypted, and only then named."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from pymongo import MongoClient

from ..errors import ArchiveError
from ..server import connection
from ..support.progress import Sink
from . import crypt, dump, increment, server
from .crypt import Sealer
from .manifest import Manifest
from .reader import Reader
from .settings import Settings
from .sidecar import About, Sidecar
from .spool import Spool
from .store import ENCRYPTED, LATEST, Store, based_on


@dataclass(frozen=True, kw_only=True)
class Made:
    """An archive that has its name, and its plain content."""

    archive: Path
    unlinked: str | None  # why no link shows it, if none does
    manifest: Manifest
    reader: Reader
    dumped: float

    def times(self, began: float, verified: float) -> dict[str, Any]:
        """Return how long it took, as the result of a backup."""
        return {
            "elapsed": round(verified - began, 3),
            "seconds": {
                "dump": round(self.dumped - began, 3),
                "verify": round(verified - self.dumped, 3),
            },
        }

    def facts(self, folder: Path, why_whole: str | None = None) -> dict[str, Any]:
        """Return what it is, as the result of a backup into *folder*."""
        sealed, base = self.archive.suffix == ENCRYPTED, self.manifest.base
        shown = Store(folder).latest()
        link = folder / (LATEST + (ENCRYPTED if shown and shown.suffix == ENCRYPTED else ""))
        return {
            "archive": str(self.archive),
            "latest": str(link) if shown else None,
            "base": str(folder / base.name) if base else None,
            "chain": [str(self.archive), *(str(one) for one in based_on(folder, base))],
            "why_whole": why_whole,
            "warnings": [one for one in (self.unlinked, why_whole) if one],
            "bytes": self.archive.stat().st_size,
            "verified": True,
            "encrypted": sealed,
            "manifest": self.manifest.summary(),
        }


def make(
    stack: ExitStack,
    settings: Settings,
    *,
    content: Callable[[BinaryIO | Spool], Manifest],
    now: Callable[[], datetime],
    clock: Callable[[], float],
    progress: Sink,
    taken: datetime | None = None,
) -> Made:
    """Write an archive, verify it, encrypt it, and give it its name.

    Args:
        stack: closes what is open of the archive.
        settings: how.
        content: writes it to a file.
        now: the time of day.
        clock: seconds, for the time it took.
        progress: told of each part.
        taken: the time that its name tells, if it isn't now.

    Raises:
        ArchiveError: the archive isn't what was written.
    """
    store = Store(settings.folder)
    sealer = Sealer(settings.lock) if settings.lock else None
    began = now()
    file, path = stack.enter_context(store.unfinished(now))
    spool = stack.enter_context(closing(Spool(store.folder))) if sealer else None
    manifest = content(spool or file)
    dumped = clock()
    reader = stack.enter_context(Reader(path, spool))
    reader.check(progress)
    description = None
    if sealer and spool:
        about = About.of(manifest, reader.digest)
        description = _seal(sealer, spool, file, path, about, now=now, progress=progress)
    archive, unlinked = store.publish(
        file,
        path,
        taken or began,
        description,
        whole=manifest.base is None,
        # One that is folded of older ones may be older than the latest.
        only_if_newest=taken is not None,
    )
    return Made(
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
    about: About,
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
        about=about,
        verified=now().isoformat(timespec="seconds").replace("+00:00", "Z"),
    )


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Say of what the disk refused that nothing of it is left.

    Raises:
        ArchiveError: the disk refused something.
    """
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


def read_database(
    client: MongoClient[dict[str, Any]],
    database: str,
    file: BinaryIO | Spool,
    settings: Settings,
    *,
    now: Callable[[], datetime],
    progress: Sink,
) -> Manifest:
    """Write *database* to *file*: all of it, or what changed since the base of *settings*.

    Raises:
        NoIncrementError: only all of it can be had.
        ArchiveError: nothing can; the message says how to go on.
    """
    deployment = connection.inspect(client)
    if settings.base is not None:
        return increment.write(
            client[database],
            file,
            increment.On.find(settings.base, settings.folder, database, deployment),
            server=deployment,
            now=now,
            progress=progress,
            note=settings.note,
        )
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
