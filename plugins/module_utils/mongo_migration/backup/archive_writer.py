"""Writes a genuine ``.tar.gz`` in one pass, without knowing the lengths of its files beforehand."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from typing import BinaryIO

from . import footer, members
from .spool import Spool

_BLOCK = 512


@dataclass(slots=True)
class Entry:
    """A file in the archive: where its tar header lies, its size, and where its content ends."""

    name: str
    offset: int
    size: int = 0
    content: int = 0  # offset of its first block of content
    end: int = 0  # offset behind its last one


class Writer:
    """One archive in the making.

    A tar header comes before the content and holds its length. It is written as a *stored* gzip
    member, whose length doesn't depend on what it says, and written again when the length is known.

    Args:
        file: seekable and empty.
        modified: seconds since 1970, for the files' time stamp.
    """

    def __init__(self, file: BinaryIO | Spool, *, modified: int) -> None:
        self._file = file
        self._modified = modified
        self._hashes: list[bytes] = []
        self._entry: Entry | None = None
        self._header = 0  # index of the open entry's header in the hashes
        self.position = 0

    def begin(self, name: str) -> None:
        """Open the file *name*; :meth:`append` adds to it."""
        self._entry = Entry(name, self.position)
        self._header = len(self._hashes)
        self._write(members.store(self._tar_header(name, 0)))
        self._entry.content = self.position

    def append(self, member: members.Member) -> None:
        """Add a member's content to the open file."""
        if self._entry is None:
            raise AssertionError("an entry is open while it is written")
        self._entry.size += member.size
        self._write(member)

    def end(self) -> Entry:
        """Close the open file: pad it to whole blocks and write its true length."""
        entry, self._entry = self._entry, None
        if entry is None:
            raise AssertionError("an entry is open while it is written")
        entry.end = self.position
        padding = -entry.size % _BLOCK
        if padding:
            self._write(members.store(bytes(padding)))
        header = members.store(self._tar_header(entry.name, entry.size))
        self._file.seek(entry.offset)
        self._file.write(header.raw)
        self._file.seek(self.position)
        self._hashes[self._header] = header.hash
        return entry

    def add(self, name: str, content: bytes) -> Entry:
        """Write a whole small file."""
        self.begin(name)
        self.append(members.pack(content))
        return self.end()

    def finish(self, name: str, manifest: bytes, *, number: int = footer.FORMAT) -> footer.Footer:
        """Write the manifest as the last file, the end of the tar, and the footer.

        Args:
            name: the manifest's.
            manifest: its text.
            number: the format of the archive.
        """
        entry = self.add(name, manifest)
        self._write(members.store(bytes(2 * _BLOCK)))
        closing = footer.Footer(
            manifest=entry.offset,
            length=self.position + footer.LENGTH,
            hash=footer.combine(b"".join(self._hashes)),
            format=number,
        )
        self._file.write(closing.pack())
        self._file.flush()
        return closing

    def _write(self, member: members.Member) -> None:
        self._file.write(member.raw)
        self._hashes.append(member.hash)
        self.position += len(member.raw)

    def _tar_header(self, name: str, size: int) -> bytes:
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = size, self._modified, 0o600
        # GNU's format has the same length whatever the size is, also beyond 8 GiB.
        return info.tobuf(format=tarfile.GNU_FORMAT)
