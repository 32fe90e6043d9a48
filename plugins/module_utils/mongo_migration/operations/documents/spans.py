"""Documents that cover a span of time: which contain an instant, overlap, or leave a gap."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]

# What BSON can tell apart.
_TICK = datetime.timedelta(milliseconds=1)
_WEEK, _MONTH = datetime.timedelta(days=7), datetime.timedelta(days=28)
# What is at most so much of a whole is a part of it: a half, and the days by which halves differ.
_PARTS = (11, 20)
#: By which two months or quarters may differ, and a clock change.
SLACK = datetime.timedelta(days=4)


@dataclass(frozen=True, kw_only=True)
class Spans:
    """The two fields that hold the first and the last instant, both included.

    Of a document without two instants nothing is known: it contains nothing and overlaps nothing.
    """

    first: str
    last: str

    def contains(self, document: Document, instant: Any) -> bool:
        """Return whether *instant* lies in *document*."""
        try:
            return bool(document[self.first] <= instant <= document[self.last])
        except (KeyError, TypeError):
            return False

    def overlap(self, one: Document, other: Document) -> bool:
        """Return whether the two share more than an instant at which one ends, the other begins."""
        try:
            if one[self.first] == other[self.first] and one[self.last] == other[self.last]:
                return True
            return bool(one[self.first] < other[self.last] and other[self.first] < one[self.last])
        except (KeyError, TypeError):
            return False

    def same(self, one: Document, other: Document) -> bool:
        """Return whether the two begin and end at the same instants."""
        return all(one.get(name) == other.get(name) for name in (self.first, self.last))

    def length(self, document: Document) -> datetime.timedelta:
        """Return how long *document* lasts; nothing, where that isn't known."""
        try:
            lasted: datetime.timedelta = document[self.last] - document[self.first] + _TICK
        except (KeyError, TypeError):
            return datetime.timedelta(0)
        return max(datetime.timedelta(0), lasted)

    def much_shorter(self, others: Iterable[Document], document: Document) -> bool:
        """Return whether *others*, as far as their lengths are known, are of a shorter kind.

        Months, quarters and halves are, beside a year; a first year that began late isn't.
        """
        longest = max(map(self.length, others), default=datetime.timedelta(0))
        whole = self.length(document)
        if whole >= _MONTH:
            # A leap year isn't of another kind than the years beside it.
            whole = whole // _WEEK * _WEEK
        return bool(longest) and longest * _PARTS[1] <= whole * _PARTS[0]

    def fit(
        self,
        document: Document,
        others: Iterable[Document],
        instant: datetime.datetime,
        boundaries: Sequence[datetime.datetime],
    ) -> Document:
        """Return *document* made so short that it fits between *others* and contains *instant*.

        It gets no longer than the longest of *others*, either: among months, a month.

        Args:
            document: contains the instant; none of *others* does.
            others: what is there.
            instant: that nothing covers.
            boundaries: instants at which such a document may begin, and the end of the last one.
        """
        others = list(others)
        first, last = self._part(document, others, instant, boundaries)
        for other in others:
            if not self.length(other):
                continue
            if other[self.last] < instant:
                first = max(first, other[self.last] + _TICK)
            elif other[self.first] > instant:
                last = min(last, other[self.first] - _TICK)
        return {**document, self.first: first, self.last: last}

    def _part(
        self,
        document: Document,
        others: Sequence[Document],
        instant: datetime.datetime,
        boundaries: Sequence[datetime.datetime],
    ) -> tuple[datetime.datetime, datetime.datetime]:
        """Return the part of *document* around *instant* that is as long as *others* are."""
        whole = document[self.first], document[self.last]
        longest = max((self.length(other) for other in others), default=datetime.timedelta(0))
        parts = len(boundaries) - 1
        if parts < 1 or not longest:
            return whole
        # Parts of a year are of equal length: months, quarters, halves.
        sizes = [size for size in range(1, parts + 1) if parts % size == 0]
        for size in sizes:
            if boundaries[size] - boundaries[0] + SLACK < longest:
                continue
            for start in range(0, parts, size):
                if boundaries[start] <= instant < boundaries[start + size]:
                    return boundaries[start], boundaries[start + size] - _TICK
        return whole
