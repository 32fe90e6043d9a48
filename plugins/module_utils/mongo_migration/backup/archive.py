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

from .. import connection
from ..errors import ArchiveError
from ..support.progress import Sink
from . import crypt, dump, server
from .crypt import Sealer
from .manifest import Manifest
from .reader import Reader
from .settings import Settings
from .sidecar import About, Sidecar
from .spool import Spool
from .store import ENCRYPTED, LATEST, Store


@dataclass(frozen=True, kw_only=True)
class Made:
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


def make(
    client: MongoClient[dict[str, Any]],
    database: str,
    stack: ExitStack,
    settings: Settings,
    *,
    now: Callable[[], datetime],
    clock: Callable[[], float],
    progress: Sink,
) -> Made:
    """Write an archive, verify it, encrypt it, and give it its name.

    Args:
        client: connected to the deployment.
        database: what to back up.
        stack: closes what is open of the archive.
        settings: how.
        now: the time of day.
        clock: seconds, for the time it took.
        progress: told of each part.

    Raises:
        ArchiveError: the archive isn't what was written.
    """
    store = Store(settings.folder)
    sealer = Sealer(settings.lock) if settings.lock else None
    taken = now()
    file, path = stack.enter_context(store.unfinished(now))
    spool = stack.enter_context(closing(Spool(store.folder))) if sealer else None
    manifest = _dump(client, database, spool or file, settings, now=now, progress=progress)
    dumped = clock()
    reader = stack.enter_context(Reader(path, spool))
    reader.check(progress)
    description = None
    if sealer and spool:
        description = _seal(sealer, spool, file, path, manifest, now=now, progress=progress)
    archive, unlinked = store.publish(file, path, taken, description)
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
