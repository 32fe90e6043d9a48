"""Writes the documents of an archive: one thread reads, two compress, one writes in order."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from ..support.prefetch import ahead
from ..support.progress import Sink
from ..values.digest import Digest
from . import members
from .archive_writer import Entry, Writer
from .manifest import Content, File
from .pipeline import in_order

# Reading is one stream and one thread; compression runs beside it without the interpreter's lock.
_COMPRESSORS = 2
# Larger chunks compress no better and cost memory: some ten of them are under way at once.
CHUNK = 4 << 20


@dataclass(slots=True, eq=False)
class Output:
    """A file of documents in the making; what is known of it when its end was written.

    Args:
        file: its name in the archive.
        name: the collection, for the progress.
    """

    file: str
    name: str
    digest: Digest = field(default_factory=Digest)
    size: int = 0
    sha256: str = ""
    _stream: Any = field(default_factory=hashlib.sha256)

    def take(self, chunk: _Chunk) -> None:
        """Count what was written."""
        self._stream.update(chunk.content)
        self.digest += chunk.digest

    def close(self, tar: Entry) -> File:
        """Note what it has become."""
        self.size, self.sha256 = tar.size, self._stream.hexdigest()
        return describe(tar, self.sha256)

    def describe(self, entry: Content) -> None:
        """Put into the manifest's *entry* what was written."""
        entry.file, entry.count, entry.size = self.file, self.digest.count, self.size
        entry.sha256, entry.digest = self.sha256, self.digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Chunk:
    content: bytes
    member: members.Member
    digest: Digest


Reading = Generator[tuple[Output, list[bytes] | None], None, None]


def write(writer: Writer, reading: Reading, *, total: int, progress: Sink) -> list[File]:
    """Write what *reading* yields, file by file: lists of documents, then None as its end.

    Args:
        writer: the archive.
        reading: yields the file and the documents; it runs in a thread of its own.
        total: how many documents it will be, as far as is known.
        progress: told of each chunk.
    """
    files: list[File] = []
    done, current = 0, None
    with ThreadPoolExecutor(_COMPRESSORS) as pool:
        read = ahead(reading)
        with closing(read), closing(in_order(pool, _work, read)) as chunks:
            for output, chunk in chunks:
                if output is not current:
                    current = output
                    writer.begin(output.file)
                if chunk is None:
                    files.append(output.close(writer.end()))
                    continue
                writer.append(chunk.member)
                output.take(chunk)
                done += chunk.digest.count
                progress(
                    {
                        "phase": "back up",
                        "done": done,
                        "total": max(total, done),
                        "unit": "documents",
                        "detail": output.name,
                    }
                )
    return files


def describe(tar: Entry, sha256: str) -> File:
    """Return the manifest's entry of a file that was written."""
    return File(
        name=tar.name,
        offset=tar.offset,
        content=tar.content,
        end=tar.end,
        size=tar.size,
        sha256=sha256,
    )


def _work(item: tuple[Output, list[bytes] | None]) -> tuple[Output, _Chunk | None]:
    output, documents = item
    if documents is None:
        return output, None
    content = b"".join(documents)
    return output, _Chunk(content, members.pack(content), Digest.of(documents))
