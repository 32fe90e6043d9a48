"""Documents that an earlier step of a plan will insert, by their key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .keys import token


class DocumentsToCome:
    """An index over documents of which more may be added, each looked at once."""

    def __init__(self, documents: Sequence[dict[str, Any]], fields: Sequence[str]) -> None:
        self._documents = documents
        self._fields = fields
        self._by_key: dict[bytes, list[dict[str, Any]]] = {}
        self._indexed = 0

    def with_keys(self, tokens: Iterable[bytes]) -> list[dict[str, Any]]:
        """Return the documents that have one of the keys."""
        for document in self._documents[self._indexed :]:
            key = token([document.get(name) for name in self._fields])
            self._by_key.setdefault(key, []).append(document)
        self._indexed = len(self._documents)
        return [document for key in tokens for document in self._by_key.get(key, ())]
