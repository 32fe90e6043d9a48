"""An incremental archive with all that it is based on, read as if it were one.

Of each collection come the documents of the base, without those that a later archive replaces or
removes, and then those of the later ones. An archive names its base by name and digest, so that the
newest one's digest stands for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from ..errors import ArchiveError
from ..support.progress import Sink
from ..values.digest import Digest
from . import bases, identity, load
from .changes import MOST_KEYS
from .manifest import Base, Collection, Content, Delta, Manifest
from .reader import Reader
from .sidecar import About
from .store import LONGEST_CHAIN

# Of one collection, in all archives: what several of ours may hold together.
_MOST_KEYS = 8 * MOST_KEYS


class Chain:
    """Archives that are based on each other, open for reading.

    Args:
        parts: the newest first, the whole one last; they are closed with it.

    Raises:
        ArchiveError: they don't fit each other.
    """

    def __init__(self, parts: list[Reader]) -> None:
        self._parts = parts
        self.path = parts[0].path
        self.notes: list[str] = []
        self.encrypted = any(one.encrypted for one in parts)
        self._origin = {one.name: self._trace(one) for one in parts[0].manifest.collections}
        self.manifest = self._merged()

    def __enter__(self) -> Chain:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one in self._parts:
            one.__exit__(kind, error, trace)

    @property
    def paths(self) -> list[Path]:
        """Return where the archives lie, the newest first."""
        return [one.path for one in self._parts]

    @property
    def digest(self) -> str:
        """Return that of the newest archive, which names its base by digest, and so on."""
        return self._parts[0].digest

    def batches(self, collection: Collection) -> Generator[list[bytes], None, None]:
        """Yield the documents of *collection* in lists, and hold what is read to its digests.

        Raises:
            ArchiveError: an archive doesn't hold what its manifest says.
        """
        replaced: set[bytes] = set()
        yield from self._changed(collection.name, replaced)
        reader, entry = self._origin[collection.name][-1]
        for batch in self._held(reader, entry):
            kept = [raw for raw in batch if _identity(raw) not in replaced] if replaced else batch
            if kept:
                yield kept

    def check(self, progress: Sink, *, loading: frozenset[str] = frozenset()) -> None:
        """Read every byte of every archive, and hold it to every checksum, count and digest.

        Args:
            progress: told of each block.
            loading: as in :class:`.source.Source`.

        Raises:
            ArchiveError: anything differs; the message says where.
        """
        merged = frozenset(name for name, trace in self._origin.items() if len(trace) > 1)
        for one in self._parts[:-1]:
            one.check(progress)
        # What is merged is held to its digest as it is read, below or by who loads it.
        self._parts[-1].check(progress, loading=loading | merged)
        for entry in self.manifest.collections:
            if entry.name in merged and entry.name not in loading:
                self._settle(entry, progress)

    def _settle(self, entry: Collection, progress: Sink) -> None:
        """Read a merged collection, and note its digest."""
        digest = Digest()
        with closing(self.batches(entry)) as batches:
            for batch in batches:
                digest.add_many(batch)
                progress({"phase": "verify archive", "done": 0, "total": 0, "detail": entry.name})
        if digest.count != entry.count:
            raise ArchiveError(
                f"{self.path}: The archive and its base don't fit: {entry.name} has "
                f"{digest.count} documents, and should have {entry.count}."
            )
        entry.digest = digest.hexdigest()

    def _changed(self, name: str, replaced: set[bytes]) -> Iterator[list[bytes]]:
        """Yield what archives with a base hold of a collection, each document as its last one has
        it; put what they replace or remove into *replaced*.
        """
        for reader, entry in self._origin[name][:-1]:
            mine: set[bytes] = set()
            for batch in self._held(reader, entry):
                keys = [_identity(raw) for raw in batch]
                kept = [raw for key, raw in zip(keys, batch, strict=True) if key not in replaced]
                self._note(reader, name, mine, keys)
                if kept:
                    yield kept
                self._require_few(replaced, mine)
            gone = _delta(entry).identities
            for batch in self._held(reader, gone) if gone else ():
                self._note(reader, name, mine, list(map(_identity, batch)))
                self._require_few(replaced, mine)
            replaced |= mine

    @staticmethod
    def _note(reader: Reader, name: str, mine: set[bytes], keys: list[bytes]) -> None:
        """Add *keys* to those that *reader* speaks of, each of which it does once."""
        before = len(mine)
        mine.update(keys)
        if len(mine) != before + len(keys):
            raise ArchiveError(
                f"{reader.path}: It holds two changes of one document of {name!r}: no server would "
                "take them. Restore another backup.",
                collection=name,
            )

    def _require_few(self, *keys: set[bytes]) -> None:
        if sum(map(len, keys)) > _MOST_KEYS:
            raise ArchiveError(
                f"{self.path}: It and what it is based on hold more changes than any of ours: over "
                f"{_MOST_KEYS:,} documents of one collection."
            )

    def _held(self, reader: Reader, content: Content) -> Iterator[list[bytes]]:
        """Yield what an archive holds, and compare it with what its manifest says."""
        digest = Digest()
        with closing(reader.batches(content)) as batches:
            for batch in batches:
                digest.add_many(batch)
                yield batch
        if content.digest and digest != Digest.parse(content.digest, content.count):
            raise ArchiveError(
                f"{reader.path}: The archive is damaged: {content.name} doesn't hold what its "
                "manifest says."
            )

    def _trace(self, newest: Collection) -> list[tuple[Reader, Collection]]:
        """Return where a collection's documents come from: the newest first, all of them last."""
        trace: list[tuple[Reader, Collection]] = []
        for reader in self._parts:
            there = {one.name: one for one in reader.manifest.collections}
            entry = there.get(newest.name)
            if entry is None or entry.uuid != newest.uuid or entry.type != newest.type:
                break
            trace.append((reader, entry))
            if entry.delta is None or entry.delta.whole:
                return [one for one in trace if _says_something(one[1])]
        raise ArchiveError(
            f"{self.path}: What it says of {newest.name!r} needs an archive that isn't the one it "
            "is based on.",
            collection=newest.name,
        )

    def _merged(self) -> Manifest:
        """Return the manifest of what all of them are together."""
        newest = self._parts[0].manifest
        collections = [
            self._entry(one, [entry for _reader, entry in self._origin[one.name]])
            for one in newest.collections
        ]
        return replace(newest, collections=collections, files=[], base=None)

    def _entry(self, newest: Collection, trace: list[Collection]) -> Collection:
        deltas, whole = trace[:-1], trace[-1]
        count = whole.count + sum(_delta(one).added - _delta(one).removed for one in deltas)
        if count < 0:
            raise ArchiveError(f"{self.path}: It removes more of {newest.name!r} than there is.")
        return replace(
            newest,
            file=whole.file,
            count=count,
            # Never less than it is: what is replaced is counted twice.
            size=sum(one.size for one in trace),
            sha256=None if deltas else whole.sha256,
            digest=None if deltas else whole.digest,
            delta=None,
        )


def join(newest: Reader, opener: Callable[[Path], Reader]) -> Chain:
    """Return *newest* with what it is based on, each of which lies beside it.

    Args:
        newest: an archive with a base; it is closed if this fails.
        opener: opens an archive.

    Raises:
        ArchiveError: one is missing, another one than it should be, or there are too many.
    """
    parts = [newest]
    try:
        while (base := parts[-1].manifest.base) is not None:
            _require_short(parts, base)
            parts.append(_opened(parts[-1], base, opener))
        return Chain(parts)
    except BaseException:
        for one in parts:
            one.__exit__(None, None, None)
        raise


def _require_short(parts: list[Reader], base: Base) -> None:
    first = parts[0].path
    if base.name in {one.path.name for one in parts}:
        raise ArchiveError(
            f"{first}: It is based on itself, by way of {base.name}: none of ours is. Restore "
            "another backup.",
        )
    if len(parts) == LONGEST_CHAIN:
        raise ArchiveError(
            f"{first}: More than {LONGEST_CHAIN} archives are based on each other, which is more "
            "than we make. Restore another backup."
        )


def _opened(one: Reader, base: Base, opener: Callable[[Path], Reader]) -> Reader:
    path = one.path.parent / base.name
    if path.is_symlink() or not path.is_file():
        raise ArchiveError(
            f"{one.path.name} holds only what changed since {base.name}, which isn't beside it in "
            f"{one.path.parent}. Copy both."
        )
    found = opener(path)
    wrong = bases.misfit(_about(one), _about(found))
    if wrong is not None:
        found.__exit__(None, None, None)
        raise ArchiveError(
            f"{path} isn't the archive that {one.path.name} is based on: {wrong}. Put the right "
            "one there, or restore another backup."
        )
    return found


def _about(reader: Reader) -> About:
    return About.of(reader.manifest, reader.digest)


def _delta(entry: Collection) -> Delta:
    if entry.delta is None:
        raise AssertionError("it is of an archive with a base")
    return entry.delta


def _says_something(entry: Collection) -> bool:
    """Return whether *entry* holds all documents, or changes any."""
    delta = entry.delta
    return delta is None or delta.whole or bool(entry.count or delta.identities)


def _identity(raw: bytes) -> bytes:
    try:
        return identity.of(raw, load.identity(raw))
    except ValueError as error:
        raise ArchiveError(f"A document of the backup isn't BSON: {error}.") from error
