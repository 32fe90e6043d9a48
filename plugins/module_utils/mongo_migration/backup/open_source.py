"""Opens what a restore reads: an archive of ours, or a folder that mongodump made."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from ..errors import ArchiveError
from ..support.progress import Sink, quiet
from . import crypt, foreign, sidecar
from .chain import Chain, join
from .crypt import Keys
from .mongodump_folder import MongodumpFolder
from .reader import Reader
from .spool import Spool
from .store import ENCRYPTED

_ROOM = 64 << 20


def open_source(
    path: Path, keys: Keys | None = None, progress: Sink = quiet
) -> Reader | Chain | MongodumpFolder:
    """Return what *path* is; an incremental archive with all that it is based on.

    Args:
        path: an archive, a link to one, or a folder.
        keys: what opens it if it is encrypted.
        progress: told how far its decryption is.

    Raises:
        ArchiveError: it is neither, damaged, or encrypted to another key.
    """
    other = path.with_name(path.name + ENCRYPTED)
    if other.exists() and not path.exists():
        raise ArchiveError(
            f"{path} doesn't exist, but {other.name} does: the archive is encrypted."
        )
    # A link may show another archive in a moment: from here on, it is what it shows now.
    real = path.resolve()
    if real.is_dir():
        return MongodumpFolder(real)
    if not real.is_file():
        raise ArchiveError(f"{path} doesn't exist, or is neither a file nor a folder.")

    def opened(one: Path) -> Reader:
        if one.suffix == ENCRYPTED or crypt.is_encrypted(one):
            return _decrypted(one, keys or Keys(), progress)
        return Reader(one)

    try:
        found = opened(real)
    except ArchiveError:
        foreign.refuse(real)
        raise
    return found if found.manifest.base is None else join(found, opened)


def _decrypted(path: Path, keys: Keys, progress: Sink) -> Reader:
    """Return the archive *path* with its content in a scratch file that only this process reads."""
    try:
        real = path.resolve(strict=True)
        size = real.stat().st_size
    except OSError as error:
        raise ArchiveError(f"{path} can't be read: {error.strerror}.") from error
    described = None
    if sidecar.path_of(real).exists():  # with public keys, an archive opens without it
        described = sidecar.read(real)

    def tell(done: int) -> None:
        progress(
            {"phase": "decrypt", "done": done, "total": size, "unit": "bytes", "detail": path.name}
        )

    spool = Spool(_scratch_folder(real.parent, size))
    try:
        crypt.open_sealed(
            real, spool, key=described.key if described else None, keys=keys, written=tell
        )
        return Reader(path, spool)
    except BaseException as error:
        spool.close()
        if isinstance(error, OSError):
            raise ArchiveError(f"{path} can't be decrypted: {error.strerror}.") from error
        # The key may be right: ciphertext can't tell another key from damage at its beginning.
        if described and isinstance(error, ArchiveError) and _differs(real, described):
            raise ArchiveError(
                f"{path} is truncated or damaged: it doesn't have the length or the SHA-256 that "
                "its description says."
            ) from error
        raise


def _differs(path: Path, described: sidecar.Sidecar) -> bool:
    return crypt.digest(path, lambda done: None) != described.sha256


def _scratch_folder(folder: Path, size: int) -> Path:
    """Return where there is room for the decrypted archive, which is itself encrypted there."""
    temporary = Path(tempfile.gettempdir())
    for one in (folder, temporary):
        if os.access(one, os.W_OK | os.X_OK) and shutil.disk_usage(one).free > size + _ROOM:
            return one
    raise ArchiveError(
        f"To read the encrypted archive, {(size + _ROOM) >> 20:,} MiB of scratch room are needed, "
        f"in {folder} or in {temporary}. Make room, or set TMPDIR to another folder."
    )
