"""A scratch file for a plain archive that must not lie on a disk.

An archive can be written only where one can go back to a length, and read only where one can jump:
both are impossible in a stream of ciphertext. So it lies here in between, in pieces that are each
encrypted with a key that this process makes and nobody else ever has. The file has no name. What a
killed process leaves, or a disk that is taken out, is noise.
"""

from __future__ import annotations

import bisect
import io
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pyrage

# Reads come in the pieces that were written, mostly: larger ones cost memory and save nothing.
_PIECE = 1 << 20


@dataclass(slots=True)
class _Piece:
    """Where a piece lies in the scratch file, and what was written over it since."""

    offset: int
    length: int
    patches: list[tuple[int, bytes]] = field(default_factory=list)


class Spool(io.RawIOBase):
    """A file that grows at its end, takes small corrections before it, and reads anywhere."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (closed by close)
        self._identity = pyrage.x25519.Identity.generate()
        self._recipient = self._identity.to_public()
        self._starts: list[int] = []
        self._pieces: list[_Piece] = []
        self._tail = bytearray()  # what doesn't fill a piece yet
        self._stored = 0  # bytes before the tail
        self._scratch = 0  # bytes in the scratch file
        self._position = 0
        self._recent: tuple[int, bytes] = (-1, b"")

    @property
    def length(self) -> int:
        """Return how many bytes were written."""
        return self._stored + len(self._tail)

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def writable(self) -> bool:
        """Say that it can be written."""
        return True

    def seekable(self) -> bool:
        """Say that its position can be set."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Set the position and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.length}[whence]
        if not 0 <= base + offset <= self.length:
            raise ValueError(f"position {base + offset} is outside of {self.length} bytes")
        self._position = base + offset
        return self._position

    def write(self, content: bytes, /) -> int:  # type: ignore[override]
        """Write *content* at the position: at the end, or over what is there."""
        over = min(len(content), self.length - self._position)
        if over:
            self._correct(bytes(content[:over]))
        self._tail += content[over:]
        self._position += len(content)
        while len(self._tail) >= _PIECE:
            self._store(bytes(self._tail[:_PIECE]))
            del self._tail[:_PIECE]
        return len(content)

    def read(self, size: int = -1, /) -> bytes:
        """Return *size* bytes from the position, fewer at the end."""
        stop = self.length if size < 0 else min(self.length, self._position + size)
        found = []
        while self._position < stop:
            start, piece = self._piece_at(self._position)
            part = piece[self._position - start : stop - start]
            found.append(part)
            self._position += len(part)
        return b"".join(found)

    def close(self) -> None:
        """Give the room back; nothing of it can be read any more."""
        if not self.closed:
            self._file.close()
            self._tail.clear()
            self._recent = (-1, b"")
        super().close()

    def _store(self, content: bytes) -> None:
        sealed = pyrage.encrypt(content, [self._recipient])
        self._file.seek(self._scratch)
        self._file.write(sealed)
        self._starts.append(self._stored)
        self._pieces.append(_Piece(self._scratch, len(sealed)))
        self._scratch += len(sealed)
        self._stored += len(content)

    def _piece_at(self, position: int) -> tuple[int, bytes]:
        """Return where the piece begins that holds *position*, and its content."""
        if position >= self._stored:
            return self._stored, bytes(self._tail)
        number = bisect.bisect_right(self._starts, position) - 1
        if self._recent[0] != number:
            piece = self._pieces[number]
            self._file.seek(piece.offset)
            content = bytearray(pyrage.decrypt(self._file.read(piece.length), [self._identity]))
            for offset, patch in piece.patches:
                content[offset : offset + len(patch)] = patch
            self._recent = number, bytes(content)
        return self._starts[number], self._recent[1]

    def _correct(self, content: bytes) -> None:
        """Write over bytes before the end: in memory, as there are but a few of them."""
        position = self._position
        while content and position < self._stored:
            number = bisect.bisect_right(self._starts, position) - 1
            end = self._starts[number + 1] if number + 1 < len(self._starts) else self._stored
            part, content = content[: end - position], content[end - position :]
            self._pieces[number].patches.append((position - self._starts[number], part))
            position += len(part)
        if content:
            self._tail[position - self._stored : position - self._stored + len(content)] = content
        self._recent = (-1, b"")
