"""Opens what a restore reads: an archive of ours, or a folder that mongodump made."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from bson import json_util
from bson.json_util import JSONMode, JSONOptions

from ..errors import ArchiveError
from ..support.progress import Sink, quiet
from ..values.digest import Digest
from ..values.raw import split
from . import crypt, names, sidecar
from .crypt import Keys
from .manifest import Collection, Manifest
from .reader import Reader
from .spool import Spool
from .store import ENCRYPTED

_CANONICAL = JSONOptions(json_mode=JSONMode.CANONICAL, tz_aware=True)
_METADATA, _DATA = ".metadata.json", ".bson"
_CHUNK = 4 << 20
_ROOM = 64 << 20
_LONGEST = (16 << 20) + (16 << 10)  # a document with the server's own room for a command


def open_source(
    path: Path, keys: Keys | None = None, progress: Sink = quiet
) -> Reader | MongodumpFolder:
    """Return what *path* is.

    Args:
        path: an archive, a link to one, or a folder.
        keys: what opens it if it is encrypted.
        progress: told how far its decryption is.

    Raises:
        ArchiveError: it is neither, damaged, or encrypted to another key.
    """
    if path.is_dir():
        return MongodumpFolder(path)
    if path.suffix == ENCRYPTED or crypt.is_encrypted(path):
        return _decrypted(path, keys or Keys(), progress)
    other = path.with_name(path.name + ENCRYPTED)
    if other.exists() and not path.exists():
        raise ArchiveError(
            f"{path} doesn't exist, but {other.name} does: the archive is encrypted."
        )
    return Reader(path)


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


class MongodumpFolder:
    """The output of ``mongodump``, with or without ``--gzip``.

    It has no hashes. All of it is read once when it is opened, so that a restore knows what to
    expect, and compares the database with that.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folder = _database_folder(path)
        self._files: dict[str, Path] = {}
        collections = [self._describe(one) for one in self._names()]
        newest = max((one.stat().st_mtime for one in self._folder.iterdir()), default=0.0)
        made = datetime.fromtimestamp(newest, UTC).isoformat(timespec="seconds")
        self.manifest = Manifest(
            database=self._folder.name,
            started=made,
            finished=made,
            server={},
            consistent=False,
            reason="mongodump reads each collection at another moment, and writes no hashes.",
            snapshot_time=None,
            cluster_time=None,
            collections=collections,
            files=[],
            tool="mongodump",
        )
        for one in collections:
            digest = Digest()
            for batch in self.batches(one):
                digest.add_many(batch)
                one.size += sum(map(len, batch))
            one.count, one.digest = digest.count, digest.hexdigest()

    def batches(self, collection: Collection) -> Iterator[list[bytes]]:
        """Yield the documents of *collection* in lists."""
        path = self._files.get(collection.name)
        if path is None:
            return
        rest = b""
        try:
            with _open(path) as file:
                while chunk := file.read(_CHUNK):
                    rest += chunk
                    whole = _whole(rest)
                    if whole:
                        yield split(rest, 0, whole)
                        rest = rest[whole:]
                    elif len(rest) > _LONGEST:
                        break
        except (OSError, EOFError, zlib.error, ValueError) as error:
            raise ArchiveError(f"{path} is damaged: {error}.") from error
        if rest:
            raise ArchiveError(f"{path} is damaged: it ends in the middle of a document.")

    def check(self, progress: Sink, *, loading: frozenset[str] = frozenset()) -> None:
        """Do nothing: all of it was read when it was opened."""

    def _names(self) -> list[str]:
        """Return the escaped names of the collections."""
        found = set()
        for one in self._folder.iterdir():
            name = one.name.removesuffix(".gz")
            for suffix in (_METADATA, _DATA):
                if name.endswith(suffix):
                    found.add(name.removesuffix(suffix).removeprefix(names.BUCKETS))
        return sorted(found)

    def _describe(self, escaped: str) -> Collection:
        path = _either(self._folder / f"{escaped}{_METADATA}")
        try:
            text = json.loads(_open(path).read(), object_hook=_value) if path else {}
        except (OSError, EOFError, zlib.error, ValueError) as error:
            raise ArchiveError(f"{path} is damaged: {error}.") from error
        options = text.get("options") or {}
        kind = text.get("type") or ("view" if "viewOn" in options else "collection")
        name = text.get("collectionName") or names.unescape(escaped)
        stored = names.BUCKETS + escaped if kind == "timeseries" else escaped
        data = _either(self._folder / f"{stored}{_DATA}")
        if data is not None and kind != "view":
            self._files[name] = data
        return Collection.describe(
            name=name,
            kind=kind,
            uuid=text.get("uuid"),
            options=options,
            indexes=[
                {key: value for key, value in index.items() if key != "ns"}
                for index in text.get("indexes") or []
            ],
        )


def _database_folder(path: Path) -> Path:
    """Return the one folder below *path* that holds ``.bson`` or ``.metadata.json`` files."""
    folders = sorted(
        {
            file.parent
            for pattern in (f"*{_METADATA}*", f"*{_DATA}*")
            for file in path.rglob(pattern)
        }
    )
    if len(folders) != 1:
        what = ", ".join(str(one) for one in folders) or "none"
        raise ArchiveError(
            f"{path} should hold the dump of one database; found: {what}. "
            "Name the folder of the database itself, for example dump/bizzai."
        )
    return folders[0]


def _either(path: Path) -> Path | None:
    for one in (path, path.with_name(f"{path.name}.gz")):
        if one.is_file():
            return one
    return None


def _open(path: Path) -> IO[bytes] | gzip.GzipFile:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _whole(raw: bytes) -> int:
    """Return how many bytes at the beginning are whole documents."""
    position = 0
    while len(raw) - position >= 4:
        length = int.from_bytes(raw[position : position + 4], "little")
        if not 5 <= length <= _LONGEST:
            raise ValueError(f"no document begins at byte {position}")
        if position + length > len(raw):
            break
        position += length
    return position


def _value(document: dict[str, Any]) -> Any:
    """Return the BSON value that canonical extended JSON stands for.

    A regular expression is ``$regularExpression`` there; ``$regex`` is the query operator.
    """
    if "$regex" in document:
        return document
    return json_util.object_hook(document, _CANONICAL)
