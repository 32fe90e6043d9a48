"""What a source is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Found:
    """The value for a document."""

    value: Any
    source: str
    outside: bool = False  # accepted although the document's instant lies outside the range


@dataclass(frozen=True, slots=True)
class Unresolved:
    """No value: the reason, the same for all documents that fail alike."""

    reason: str
    unclear: bool = False  # there are documents to choose from, and none or several fit
    is_text: bool = False  # all that is wrong is that an id is stored as text


@dataclass(frozen=True, slots=True)
class Agreement:
    """Whether a value that a document holds agrees with what it is found by."""

    agrees: bool
    source: str


Resolution = Found | Unresolved
Key = Sequence[Any]


class Source(Protocol):
    """Finds the value for a document from a key: the values of :attr:`inputs` in it."""

    inputs: list[Any]  # aggregation expressions over the document
    judges: bool  # whether it ever knows that a value is wrong

    def prepare(self, keys: Iterable[Key]) -> None:
        """Look up at once what a batch of keys needs."""

    def resolve(self, key: Key) -> Resolution:
        """Return the value for *key*, which was prepared."""

    def forget(self) -> None:
        """Look everything up anew from now on."""

    def judge(self, pairs: Sequence[tuple[Key, Any]]) -> list[Agreement | None]:
        """Return, for each key and a value held beside it, whether they agree; None: unknown."""
