"""Reads an archive: its manifest at once, its documents in parallel, and all of it to verify it."""

from __future__ import annotations

import bisect
import hashlib
import tarfile
from collections.abc import Callable, Generator, Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import BinaryIO

from ..errors import ArchiveError
from ..support.prefetch import ahead
from ..support.progress import Sink
from ..values.digest import Digest
from ..values.raw import split
from . import footer, manifest, manifest_format, members
from .pipeline import in_order
from .spool import Spool

_THREADS = 2
_BLOCK = 512
_SHORT_NAME = 100  # what is left of a long name in the tar header proper
# A document with the server's own room for a command.
LONGEST_DOCUMENT = (16 << 20) + (16 << 10)


@dataclass(frozen=True, slots=True)
class _Block:
    """A member that was read: its content, and what the check wants to know of it."""

    offset: int
    end: int
    content: bytes
    hash: bytes
    digest: Digest | None = None


class Reader:
    """An archive that is open for reading.

    Args:
        path: the archive, for messages at least.
        file: its plain content, if it lies elsewhere because the archive is encrypted; it is closed
            with the reader.

    Raises:
        ArchiveError: the file isn't an archive, or a part that was read is damaged.
    """

    def __init__(self, path: Path, file: Spool | None = None) -> None:
        self.path = path
        self.notes: list[str] = []
        self.encrypted = file is not None
        self._reading = Lock()  # several collections may be read at once
        self._file: BinaryIO | Spool
        try:
            self._file = file if file is not None else path.open("rb")
        except OSError as error:
            raise ArchiveError(f"{path} can't be read: {error.strerror}.") from error
        try:
            self.length = self._file.seek(0, 2)
            self._file.seek(max(0, self.length - footer.LENGTH))
            self.footer = footer.parse(self._file.read(), length=self.length)
            self.manifest = self._read_manifest()
        except ArchiveError as error:
            self._file.close()
            raise ArchiveError(f"{path}: {error.message}", **error.details) from error

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def digest(self) -> str:
        """Return the SHA-256 over all of it, which tells it from any other."""
        return self.footer.hash.hex()

    def batches(self, collection: manifest.Content) -> Generator[list[bytes], None, None]:
        """Yield the documents of *collection* in lists, as they were read from the server."""
        file = next((one for one in self.manifest.files if one.name == collection.file), None)
        if file is None:
            return
        with (
            ThreadPoolExecutor(_THREADS) as pool,
            closing(self._blocks(pool, file.content, file.end, self._unpacked)) as blocks,
        ):
            for block in blocks:
                yield _documents(block.content, block.offset)

    def check(self, progress: Sink, *, loading: frozenset[str] = frozenset()) -> None:
        """Read every byte and hold it to every checksum, hash, count and digest there is.

        Args:
            progress: told of each block.
            loading: collections that the caller is about to load, and to compare with their digests
                then: of these only the bytes of the file are held to its hash, not unpacked.

        Raises:
            ArchiveError: anything differs; the message says what and where.
        """
        try:
            # An archive of an older format has no digest to compare with.
            self._check(
                progress,
                {
                    one.file
                    for one in self.manifest.collections
                    if one.name in loading and one.file and one.digest
                },
            )
        except ArchiveError as error:
            raise ArchiveError(f"{self.path}: {error.message}", **error.details) from error

    def _check(self, progress: Sink, skipped: Set[str]) -> None:
        files, hashes = self.manifest.files, list[bytes]()
        collections = {one.file: one for one in self.manifest.contents if one.file}
        unpack = self._unpacker(set(collections), skipped)
        with (
            ThreadPoolExecutor(_THREADS) as pool,
            closing(self._blocks(pool, 0, self.length - footer.LENGTH, unpack)) as blocks,
        ):

            def take() -> _Block:
                block = next(blocks, None)
                if block is None:
                    raise ArchiveError("The archive is damaged: a file is missing in it.")
                hashes.append(block.hash)
                progress(
                    {
                        "phase": "verify archive",
                        "done": block.end,
                        "total": self.length,
                        "unit": "bytes",
                        "detail": self.path.name,
                    }
                )
                return block

            for file in files:
                if file.name in skipped:
                    self._skip_file(file, take)
                else:
                    self._check_file(file, collections.get(file.name), take)
            # The manifest, the end of the tar; already read, now hashed.
            hashes += [block.hash for block in blocks]
        if footer.combine(b"".join(hashes)) != self.footer.hash:
            if skipped:
                self._check(progress, frozenset())  # which says where
            raise ArchiveError("The archive is damaged: its content doesn't have its hash.")

    def _unpacker(
        self, collections: Set[str], skipped: Set[str]
    ) -> Callable[[tuple[int, bytes]], _Block]:
        """Return what unpacks a block: with its digest where it is one of a collection."""
        files = self.manifest.files
        starts = [one.content for one in files]

        def unpack(found: tuple[int, bytes]) -> _Block:
            offset, raw = found
            file = files[max(0, bisect.bisect_right(starts, offset) - 1)] if files else None
            if (
                file is None
                or file.name not in collections
                or not file.content <= offset < file.end
            ):
                return self._unpacked(found)
            if file.name in skipped:
                return _Block(offset, offset + len(raw), b"", hashlib.sha256(raw).digest())
            block = self._unpacked(found)
            return replace(block, digest=Digest.of(_documents(block.content, offset)))

        return unpack

    @staticmethod
    def _header(file: manifest.File, take: Callable[[], _Block]) -> _Block:
        block = take()
        if block.offset != file.offset or not _is_tar_header(block.content, file):
            raise ArchiveError(f"The archive is damaged: {file.name} isn't where it should be.")
        return block

    def _skip_file(self, file: manifest.File, take: Callable[[], _Block]) -> None:
        block = self._header(file, take)
        while block.end < file.end:
            block = take()
        if file.size % _BLOCK:
            take()

    def _check_file(
        self,
        file: manifest.File,
        collection: manifest.Content | None,
        take: Callable[[], _Block],
    ) -> None:
        block = self._header(file, take)
        stream, size, digest = hashlib.sha256(), 0, Digest()
        while block.end < file.end:
            block = take()
            stream.update(block.content)
            size += len(block.content)
            digest += block.digest or Digest()
        if block.end != file.end or size != file.size or stream.hexdigest() != file.sha256:
            raise ArchiveError(f"The archive is damaged: {file.name} doesn't have its SHA-256.")
        if collection is not None:
            held = collection.digest is not None  # not in an archive of an older format
            expected = Digest.parse(collection.digest or "0", collection.count)
            if digest.count != expected.count or (held and digest != expected):
                raise ArchiveError(
                    f"The archive is damaged: {collection.name} holds {digest.count} documents "
                    f"with digest {digest.hexdigest()}, its manifest says {expected.count} "
                    f"with {expected.hexdigest()}."
                )
        if size % _BLOCK and take().content.strip(b"\0"):
            raise ArchiveError(f"The archive is damaged: {file.name} isn't padded with zeros.")

    def _read_manifest(self) -> manifest.Manifest:
        header = self._unpacked(self._member(self.footer.manifest))
        content = self._unpacked(self._member(header.end))
        found = manifest_format.parse(content.content)
        if found.format != self.footer.format:
            raise ArchiveError("The archive is damaged: it says two formats of itself.")
        return found

    def _blocks(
        self,
        pool: ThreadPoolExecutor,
        start: int,
        stop: int,
        work: Callable[[tuple[int, bytes]], _Block],
    ) -> Generator[_Block, None, None]:
        """Yield the members between two offsets in order."""

        def read() -> Iterator[tuple[int, bytes]]:
            position = start
            while position < stop:
                found = self._member(position)
                position += len(found[1])
                yield found
            if position != stop:
                raise ArchiveError(f"The archive is damaged: a block ends behind byte {stop}.")

        with closing(ahead(read())) as found:
            yield from in_order(pool, work, found)

    def _member(self, offset: int) -> tuple[int, bytes]:
        with self._reading:
            self._file.seek(offset)
            header = self._file.read(members.HEADER)
            length = members.length_of(header, offset)
            raw = header + self._file.read(length - members.HEADER)
        if len(raw) != length:
            raise ArchiveError(f"The archive is truncated: a block is cut off at byte {offset}.")
        return offset, raw

    @staticmethod
    def _unpacked(found: tuple[int, bytes]) -> _Block:
        offset, raw = found
        content = members.unpack(raw, offset)
        return _Block(offset, offset + len(raw), content, hashlib.sha256(raw).digest())


def _documents(content: bytes, offset: int) -> list[bytes]:
    try:
        documents = split(content)
    except ValueError as error:
        raise ArchiveError(
            f"The archive is damaged: the block at byte {offset} holds {error}."
        ) from error
    if max(map(len, documents), default=0) > LONGEST_DOCUMENT:
        raise ArchiveError(
            f"The archive is damaged: the block at byte {offset} holds a document that is longer "
            "than any server takes."
        )
    return documents


def _is_tar_header(content: bytes, file: manifest.File) -> bool:
    try:
        # A long name takes two blocks of its own before the header proper.
        info = tarfile.TarInfo.frombuf(content[-_BLOCK:], "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError):
        return False
    return info.size == file.size and file.name.startswith(info.name[:_SHORT_NAME])
