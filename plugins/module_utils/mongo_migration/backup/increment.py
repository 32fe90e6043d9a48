"""Writes what changed since another archive: the cost of a backup is then that of the change.

What a change stream names is read once more, at the very time up to which it was read; so archive
and base together are the database at that time, as if all of it had been read then. Collections
that no change stream tells of (capped ones, time series, ``system.js``), and those that the base
doesn't have, are read whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo.database import Database

from ..errors import ArchiveError
from ..server.connection import Server
from ..support.progress import Sink
from ..values import elements
from ..values.raw import raw_batches
from . import catalog, changes, documents, dump, footer, identity, load, names
from .archive_writer import Writer
from .changes import Keys, NoIncrementError
from .documents import CHUNK, Output, Reading
from .manifest import NAME, Base, Collection, Content, Delta, Manifest
from .sidecar import mark
from .spool import Spool
from .store import LONGEST_CHAIN, Store, Stored, chain_of

# What is read whole, in bytes of BSON: a second or two.
_MOST_WHOLE = 128 << 20
# Of one command: how many `_id`s it asks for, and how long they are.
_MOST_IDS, _MOST_ID_BYTES = 5_000, 4 << 20


@dataclass(frozen=True, kw_only=True)
class On:
    """The archive that an incremental one will be based on."""

    base: Base
    time: Timestamp
    marks: frozenset[str]

    @classmethod
    def find(cls, path: Path, folder: Path, database: str, server: Server) -> On:
        """Return the archive *path*, if an incremental one in *folder* can be based on it.

        Nothing but its description is looked at: it was verified when it was made.

        Raises:
            NoIncrementError: it can't; the message says why.
        """
        real = path.resolve()
        if real.parent != folder.resolve():
            raise NoIncrementError(f"{path} isn't in the folder of the backup, {folder}")
        known = {one.path.name: one for one in Store(folder).archives()}
        found = known.get(real.name)
        if found is None or found.about is None or found.problem:
            problem = found.problem if found else None
            raise NoIncrementError(problem or f"{path} isn't an archive that is there")
        _require_fitting(found, database, server)
        if len(chain_of(found, known)) >= LONGEST_CHAIN:
            raise NoIncrementError(f"{LONGEST_CHAIN} archives are based on each other already")
        about = found.about
        when = about.cluster_time or {}
        return cls(
            base=Base(name=real.name, digest=about.digest),
            time=Timestamp(when["t"], when["i"]),
            marks=frozenset(about.collections),
        )


def write(
    database: Database[Any],
    file: BinaryIO | Spool,
    on: On,
    *,
    server: Server,
    now: Callable[[], datetime],
    progress: Sink,
    note: dict[str, Any] | None = None,
) -> Manifest:
    """Write to *file* what changed in *database* since *on*; it is verified by nobody yet.

    The arguments are those of :func:`dump.write`.

    Raises:
        NoIncrementError: it can't be had; a whole archive can.
        CatalogChangedError: try again.
        ArchiveError: the server can't give what is needed; the message says how to go on.
    """
    started = now()
    found = catalog.read(database)
    changed = changes.read(database, on.time, progress=progress)
    if changed.time is None:
        raise AssertionError("what was read has an end")
    if catalog.read(database) != found:
        raise dump.CatalogChangedError(
            f"Collections or indexes of '{database.name}' are being made or removed all the time. "
            "Wait until that is over, then take the backup."
        )
    parts = [_part(database.name, one, on, changed) for one in found]
    _require_little(database, [one.found for one in parts if one.keys is None])
    writer = Writer(file, modified=int(started.timestamp()))
    total = sum(len(one.keys.raw) for one in parts if one.keys)
    files = documents.write(
        writer, _read(database, parts, changed.time), total=total, progress=progress
    )
    for part in parts:
        part.finish()
    manifest = Manifest(
        database=database.name,
        started=dump.iso(started),
        finished=dump.iso(now()),
        server=server.as_dict(),
        consistent=True,
        reason=dump.capped_note(found),
        snapshot_time=dump.iso(changed.time.as_datetime()),
        cluster_time={"t": changed.time.time, "i": changed.time.inc},
        collections=[part.entry for part in parts],
        files=files,
        runs=dump.runs(database),
        note=note or {},
        format=footer.INCREMENTAL,
        base=on.base,
    )
    writer.finish(NAME, manifest.dump(), number=footer.INCREMENTAL)
    return manifest


@dataclass(kw_only=True, eq=False)
class _Part:
    """A collection, and what is written of it: all, or what *keys* name."""

    found: catalog.Found
    entry: Collection
    keys: Keys | None
    present: Output
    gone: Output
    added: int = 0
    removed: int = 0

    def count(self, there: set[bytes], asked: list[bytes]) -> list[bytes]:
        """Count which of the documents that were *asked* for are *there*; return those to remove.

        Raises:
            NoIncrementError: another one is there.
        """
        if self.keys is None:
            raise AssertionError("what is read whole has no keys")
        if not there <= set(asked):
            raise NoIncrementError(f"{self.found.name} holds a document under another _id")
        self.added += len(there & self.keys.new)
        gone = [one for one in asked if one not in there and one not in self.keys.new]
        self.removed += len(gone)
        return [self.keys.raw[one] for one in gone]

    def finish(self) -> None:
        """Describe what was written."""
        if self.entry.type == "view":
            return
        if self.keys is None or self.keys.raw:
            self.present.describe(self.entry)
        self.entry.delta = Delta(whole=self.keys is None, added=self.added, removed=self.removed)
        if self.removed:
            content = Content(name=self.found.name)
            self.gone.describe(content)
            self.entry.delta.identities = content


def _part(database: str, found: catalog.Found, on: On, changed: changes.Changes) -> _Part:
    told = found.type == "collection" and not found.capped and found.name not in names.SPECIAL
    known = found.uuid is not None and mark(found.name, found.uuid) in on.marks
    whole = not (told and known) or found.name in changed.renamed
    entry = Collection.describe(found)
    entry.at_snapshot = not found.capped
    keys = None if whole else changed.keys.get(found.name, Keys())

    def output(part: str) -> Output:
        return Output(names.delta_file(part, database, found.name, found.type), found.name)

    return _Part(
        found=found,
        entry=entry,
        keys=keys,
        present=output("whole" if whole else "present"),
        gone=output("removed"),
    )


def _require_little(database: Database[Any], whole: list[catalog.Found]) -> None:
    size = sum(size for _count, size in catalog.sizes(database, whole).values())
    if size > _MOST_WHOLE:
        raise NoIncrementError(
            f"{size >> 20:,} MiB would have to be read whole: capped collections, time series and "
            "collections that are new"
        )


def _read(database: Database[Any], parts: list[_Part], time: Timestamp) -> Reading:
    """Yield the documents of each file, then None as its end."""
    for part in parts:
        if part.found.stored_in is None:
            continue
        if part.keys is None:
            for batch in dump.read_collection(database, part.found, time):
                yield part.present, batch
            yield part.present, None
        elif part.keys.raw:
            gone: list[bytes] = []
            for batch in _read_keys(database, part, time, gone):
                yield part.present, batch
            yield part.present, None
            if gone:
                yield part.gone, gone
                yield part.gone, None


def _read_keys(
    database: Database[Any], part: _Part, time: Timestamp, gone: list[bytes]
) -> Iterator[list[bytes]]:
    """Yield the documents that *part* names; put what names the others into *gone*."""
    if part.keys is None:
        raise AssertionError("it has keys")
    for asked in _chunks(part.keys):
        there: set[bytes] = set()
        with dump.explained(database, part.found.name):
            for batch in raw_batches(
                database,
                part.found.name,
                filter={"_id": _any_of([part.keys.raw[one] for one in asked])},
                at=time,
                batch_bytes=CHUNK,
                comment="mongo_backup",
            ):
                there.update(identity.of(raw, load.identity(raw)) for raw in batch)
                yield batch
        gone += part.count(there, asked)


def _chunks(keys: Keys) -> Iterator[list[bytes]]:
    """Yield as many keys at a time as one command takes."""
    chunk: list[bytes] = []
    size = 0
    for key, raw in keys.raw.items():
        if chunk and (len(chunk) == _MOST_IDS or size + len(raw) > _MOST_ID_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(key)
        size += len(raw)
    if chunk:
        yield chunk


def _any_of(identities: list[bytes]) -> RawBSONDocument:
    """Return ``{$in: […]}`` of the ``_id``s in *identities*, of which none is decoded."""
    items = b"".join(
        elements.alone(raw, next(elements.elements(raw)), str(number).encode())[4:-1]
        for number, raw in enumerate(identities)
    )
    array = (len(items) + 5).to_bytes(4, "little") + items + b"\0"
    body = bytes([elements.ARRAY]) + b"$in\0" + array + b"\0"
    return RawBSONDocument((len(body) + 4).to_bytes(4, "little") + body)


def _require_fitting(found: Stored, database: str, server: Server) -> None:
    """Require what an incremental archive needs of its base.

    Raises:
        NoIncrementError: it lacks something.
    """
    about, name = found.about, found.path.name
    if server.topology != "replica_set":
        raise NoIncrementError("only a replica set tells what was written")
    if about is None or about.database != database:
        raise NoIncrementError(f"{name} is of another database")
    if about.server.get("set_name") != server.set_name:
        raise NoIncrementError(f"{name} is of another deployment")
    if about.cluster_time is None or not about.consistent or not about.digest:
        raise NoIncrementError(f"{name} isn't of one point in time, or doesn't say which")


def explain(error: ArchiveError, base: Path) -> str:
    """Return why there is no incremental backup, as a sentence."""
    return (
        f"No incremental backup on {base.name}: {error.message.rstrip('.')}. A whole one was taken."
    )
