"""A folder that ``mongodump`` made, with or without ``--gzip``, also by versions of long ago.

What servers of today refuse is put in their words where its meaning is known, and refused by name
otherwise, when the folder is opened: nothing of it may fail when an application already waits.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, TypeVar

from bson import json_util
from bson.errors import BSONError
from bson.json_util import JSONMode, JSONOptions

from ..errors import ArchiveError
from ..support.progress import Sink
from ..values.digest import Digest
from ..values.raw import split
from . import bounded, catalog, manifest_format, names, specs
from .manifest import Collection, Manifest
from .reader import LONGEST_DOCUMENT

_CANONICAL = JSONOptions(json_mode=JSONMode.CANONICAL, tz_aware=True)
_METADATA, _DATA = ".metadata.json", ".bson"
_CHUNK = 4 << 20
_DEPTH = 2  # dump/NAME, from the folder that dump lies in
_MOST_FILES = 200_000
_OPLOG = "oplog.bson"
_USERS = "$admin.system."
_Kind = TypeVar("_Kind")
_DAMAGE = (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError, OverflowError, BSONError)


class MongodumpFolder:
    """The output of ``mongodump``.

    It has no hashes. All of it is read once when it is opened, so that a restore knows what to
    expect, and compares the database with that.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        self._folder = _database_folder(path)
        self._files: dict[str, Path] = {}
        self._note_oplog()
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
        manifest_format.check(self.manifest)
        for one in collections:
            self._measure(one)

    @property
    def digest(self) -> str:
        """Return the SHA-256 over all of it, which tells it from any other."""
        facts = [
            [one.name, one.type, one.definition, one.count, one.sha256]
            for one in self.manifest.collections
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

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
                    elif len(rest) > LONGEST_DOCUMENT:
                        break
        except (OSError, EOFError, zlib.error, ValueError) as error:
            raise ArchiveError(f"{path} is damaged: {error}.") from error
        if rest:
            raise ArchiveError(f"{path} is damaged: it ends in the middle of a document.")

    def check(self, progress: Sink, *, loading: frozenset[str] = frozenset()) -> None:
        """Do nothing: all of it was read when it was opened."""

    def _measure(self, entry: Collection) -> None:
        digest, stream = Digest(), hashlib.sha256()
        for batch in self.batches(entry):
            digest.add_many(batch)
            for raw in batch:
                stream.update(raw)
            entry.size += sum(map(len, batch))
        entry.count, entry.digest = digest.count, digest.hexdigest()
        entry.sha256 = stream.hexdigest()

    def _names(self) -> list[str]:
        """Return the escaped names of the collections; note what is left out."""
        found = set()
        for one in self._folder.iterdir():
            name = one.name.removesuffix(".gz")
            for suffix in (_METADATA, _DATA):
                if name.endswith(suffix) and not _is_oplog(one):
                    found.add(name.removesuffix(suffix).removeprefix(names.BUCKETS))
        plain = {escaped: names.unescape(escaped) for escaped in found}
        users = sorted(name for name in plain.values() if name.startswith(_USERS))
        if users:
            self.notes.append(
                f"Users and roles ({', '.join(users)}) are left out: they belong to the server, "
                "not to the database. mongorestore --restoreDbUsersAndRoles brings them back."
            )
        own = sorted(
            name
            for name in plain.values()
            if name.startswith("system.") and name not in names.SPECIAL
        )
        if own:
            self.notes.append(
                f"{', '.join(own)}: left out, since servers of today make these by themselves."
            )
        return sorted(name for name in found if plain[name] not in {*users, *own})

    def _note_oplog(self) -> None:
        for folder in (self._folder, self._folder.parent):
            if _is_oplog(_either(folder / _OPLOG)):
                self.notes.append(
                    f"{_OPLOG} isn't replayed: each collection comes back as of the moment when "
                    "mongodump read it. mongorestore --oplogReplay replays it."
                )
                return

    def _describe(self, escaped: str) -> Collection:
        path = _either(self._folder / f"{escaped}{_METADATA}")
        try:
            text = _metadata(path) if path else {}
            name = _is(str, text.get("collectionName") or names.unescape(escaped))
            options = _is(dict, text.get("options") or {})
            indexes = _is(list, text.get("indexes") or [])
            kind = text.get("type") or ("view" if "viewOn" in options else "collection")
            if kind not in ("collection", "timeseries", "view"):
                raise ValueError(f"its type is {kind!r}")
        except _DAMAGE as error:
            raise ArchiveError(f"{path} is damaged: {error}.") from error
        self._find_data(escaped, name, kind)
        try:
            definition = catalog.define(
                *specs.normalized(
                    options, indexes, lambda change: self.notes.append(f"{name}: {change}.")
                )
            )
        except _DAMAGE as error:
            raise ArchiveError(
                f"{path}: The collection {name!r} can't be restored: {error}. Correct it in this "
                "file, or restore the dump with the mongorestore of its own time.",
                collection=name,
            ) from error
        uuid = text.get("uuid")
        return Collection.describe(
            catalog.Found(
                name=name,
                type=kind,
                uuid=uuid if isinstance(uuid, str) else None,
                definition=definition,
            )
        )

    def _find_data(self, escaped: str, name: str, kind: str) -> None:
        if kind == "view":
            return
        stored = names.BUCKETS + escaped if kind == "timeseries" else escaped
        data = _either(self._folder / f"{stored}{_DATA}")
        if data is None:
            raise ArchiveError(
                f"{self._folder} holds no documents of the collection {name!r}: {stored}{_DATA} is "
                "missing. mongodump writes one for each collection, also for an empty one: the "
                "dump is incomplete.",
                collection=name,
            )
        self._files[name] = data


def _metadata(path: Path) -> dict[str, Any]:
    with _open(path) as file:
        return _is(dict, bounded.parse_json(bounded.read(file), _value))


def _is(kind: type[_Kind], value: Any) -> _Kind:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.40} is where a {kind.__name__} should be")
    return value


def _database_folder(path: Path) -> Path:
    """Return the one folder at or below *path* that holds the files of a dump."""
    found = set()
    for count, file in enumerate(_files(path, _DEPTH)):
        if count >= _MOST_FILES:
            raise ArchiveError(
                f"{path} holds more than {_MOST_FILES:,} files. Name the folder of the database "
                "itself, for example dump/bizzai."
            )
        name = file.name.removesuffix(".gz")
        if name.endswith((_METADATA, _DATA)) and not _is_oplog(file):
            found.add(file.parent)
    if len(found) != 1:
        what = ", ".join(str(one) for one in sorted(found)) or "none"
        raise ArchiveError(
            f"{path} should hold the dump of one database; found: {what}. "
            "Name the folder of the database itself, for example dump/bizzai."
        )
    return found.pop()


def _files(folder: Path, depth: int) -> Iterable[Path]:
    try:
        there = sorted(folder.iterdir())
    except OSError as error:
        raise ArchiveError(f"{folder} can't be read: {error.strerror}.") from error
    for one in there:
        if one.is_file():
            yield one
        elif depth and one.is_dir() and not one.is_symlink():
            yield from _files(one, depth - 1)


def _is_oplog(file: Path | None) -> bool:
    """Return whether it is the oplog of a dump, and not a collection of that name."""
    return (
        file is not None
        and file.name.removesuffix(".gz") == _OPLOG
        and _either(file.with_name(f"oplog{_METADATA}")) is None
    )


def _either(path: Path) -> Path | None:
    there = [one for one in (path, path.with_name(f"{path.name}.gz")) if one.is_file()]
    if len(there) > 1:
        raise ArchiveError(
            f"{path} is there twice, with and without .gz: of two dumps in one folder nobody knows "
            "which is meant. Remove one."
        )
    return there[0] if there else None


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return gzip.open(path)  # type: ignore[return-value]
    return path.open("rb")


def _whole(raw: bytes) -> int:
    """Return how many bytes at the beginning are whole documents."""
    position = 0
    while len(raw) - position >= 4:
        length = int.from_bytes(raw[position : position + 4], "little")
        if not 5 <= length <= LONGEST_DOCUMENT:
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
