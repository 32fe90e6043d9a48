"""Values that need no other document: a constant, and an expression over the document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .contract import Agreement, Found, Key, Resolution, Unresolved


class Constant:
    """The same value for every document."""

    def __init__(self, value: Any) -> None:
        self.judges = False
        self.inputs: list[Any] = []
        self._found = Found(value, "value")

    def forget(self) -> None:
        """Nothing is remembered."""

    def prepare(self, keys: Iterable[Key]) -> None:
        """Nothing to look up."""

    def resolve(self, key: Key) -> Resolution:
        """Return the value."""
        return self._found

    def judge(self, pairs: Sequence[tuple[Key, Any]]) -> list[Agreement | None]:
        """Any value may stand in place of a constant."""
        return [None] * len(pairs)


class Expression:
    """An aggregation expression over the document, evaluated by the server."""

    def __init__(self, expression: Any) -> None:
        self.judges = False
        self.inputs: list[Any] = [expression]

    def forget(self) -> None:
        """Nothing is remembered."""

    def prepare(self, keys: Iterable[Key]) -> None:
        """Nothing to look up."""

    def resolve(self, key: Key) -> Resolution:
        """Return what the server computed."""
        if key[0] is None:
            return Unresolved("the expression gives no value")
        return Found(key[0], "expression")

    def judge(self, pairs: Sequence[tuple[Key, Any]]) -> list[Agreement | None]:
        """Any value may stand in place of a computed one."""
        return [None] * len(pairs)
