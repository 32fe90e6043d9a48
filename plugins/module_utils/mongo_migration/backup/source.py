"""What a restore asks of a backup, be it an archive of ours or a folder that mongodump made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from ..support.progress import Sink
from .manifest import Collection, Manifest


class Source(Protocol):
    """Where the documents come from.

    ``manifest`` says what it holds, ``path`` where it lies, with no link in it (a link may show
    another archive by now), and ``notes`` what a restore leaves out or puts in other words.
    """

    manifest: Manifest
    path: Path
    notes: list[str]

    @property
    def digest(self) -> str:
        """Return the SHA-256 over all of it, which tells it from any other."""

    def batches(self, collection: Collection) -> Iterator[list[bytes]]:
        """Yield the documents of *collection* in lists."""

    def check(self, progress: Sink, *, loading: frozenset[str] = frozenset()) -> None:
        """Raise an ArchiveError if anything of it is damaged.

        Args:
            progress: told how far it is.
            loading: collections whose content needn't be looked at, only its bytes: the caller
                compares it when it is loaded, before anything is replaced.
        """
