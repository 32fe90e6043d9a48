"""A run's journal, read once for all who ask.

Entries hold the values from before, so a journal is as large as what was migrated: whoever wants
something of it observes the one pass over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, Protocol

from ..ledger.journal import Entry, Journal
from ..operations.base import Check
from ..operations.entries import Effect
from ..operations.registry import kind_of


class Seen:
    """An entry as it goes by; what it did is made out at most once."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    @cached_property
    def effects(self) -> list[Effect]:
        """What the entry did to documents."""
        return kind_of(self.entry).effects(self.entry)


class Observer(Protocol):
    """Whoever wants to know something of every entry."""

    def see(self, seen: Seen) -> None:
        """Take in one entry; they come in their order."""


def read(
    journal: Journal, observers: Iterable[Observer], heed: Callable[[], None] = lambda: None
) -> None:
    """Show each entry of *journal* to all *observers*; *heed*, called before each, may end it."""
    observers = list(observers)
    for entry in journal.entries():
        heed()
        seen = Seen(entry)
        for observer in observers:
            observer.see(seen)


class Wholeness:
    """Whether the journal holds every entry that the run wrote: nothing is proved by a part."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._there: set[int] = set()

    def see(self, seen: Seen) -> None:
        """Count it, if the run's checkpoint covers it."""
        if 1 <= seen.entry["seq"] <= self._document["seq"]:
            self._there.add(seen.entry["seq"])

    def check(self) -> Check:
        """Return the check."""
        wanted, there = self._document["seq"], len(self._there)
        # 1.0 removed entries of what was never begun.
        excused = self._document.get("format", 1) == 1 and there > 0
        lacking = there != wanted
        return Check(
            name="the journal holds every entry that the run wrote",
            passed=not lacking or excused,
            expected=wanted,
            observed=there,
            examined=there,
            detail="entries were removed by someone: no rollback can undo what they were about"
            if lacking and not excused
            else "",
        )
