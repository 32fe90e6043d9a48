"""What documents hold on the way back, while some that they refer to are back and some aren't yet.

What one held before is known byte by byte. What it holds while some documents are still away
follows from that: the references to these alone are the new ones. So each part of a rollback finds
what the last one left, and the last one leaves what there was, be it a 1.0 that refers to a 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xxhash import xxh3_64_digest

from .references import Pair, Renaming


@dataclass(frozen=True)
class Step:
    """What one document goes from and to, raw; the former as its digest, too."""

    wanted: bytes
    now: bytes | None
    written: bytes
    is_first: bool

    def is_from(self, raw: bytes) -> bool:
        """Return whether *raw* is what the part before has left."""
        return raw == self.now if self.now is not None else xxh3_64_digest(raw) == self.written


class Way:
    """One part of the way back.

    Args:
        known: all pairs of old and new ids of an entry.
        before: of the documents that are away before this part.
        after: of those that are away after it.
    """

    def __init__(
        self, known: Sequence[Pair], before: Sequence[Pair], after: Sequence[Pair]
    ) -> None:
        left = set(after)
        #: From the new ids to the old ones, of the documents that come back by this part.
        self.back = Renaming((new, old) for old, new in before if (old, new) not in left)
        self._whole = not after and len(before) == len(known)
        self._all, self._before, self._after = Renaming(known), Renaming(before), Renaming(after)

    def step(self, before: bytes, written: bytes, path: str) -> Step | None:
        """Return what becomes of a document; None if this part doesn't touch its references.

        Args:
            before: what it held before the migration.
            written: a digest of what was written to it.
            path: of the references.
        """
        if self._whole:
            return Step(wanted=before, now=None, written=written, is_first=True)
        after = self._all.applied(before, path)
        if xxh3_64_digest(after) != written:
            return None  # somebody wrote to it meanwhile, without a transaction: it is repointed
        now, wanted = self._before.applied(before, path), self._after.applied(before, path)
        if now == wanted:
            return None
        return Step(wanted=wanted, now=now, written=written, is_first=now == after)
