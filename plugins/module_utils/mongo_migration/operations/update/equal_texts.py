"""Texts that are equal in a collection: by its default collation, as in its unique indexes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pymongo.collection import Collection

from ...support import listing


class EqualTexts:
    """Tells texts apart as the server does: nobody else knows a collation as well.

    Args:
        collection: whose collation counts; without one, texts are the same or they aren't.
    """

    def __init__(self, collection: Collection[dict[str, Any]]) -> None:
        self._database = collection.database
        self._collation: dict[str, Any] | None = listing.options_of(collection).get("collation")
        self._first: dict[str, str] = {}

    def learn(self, texts: Iterable[str]) -> None:
        """Ask the server for all of *texts* at once, so that it needn't be asked for each."""
        new = set(texts) - self._first.keys()
        if self._collation is None or not new:
            return
        known = set(self._first.values())
        stages: list[dict[str, Any]] = [
            {"$documents": [{"t": {"$literal": text}} for text in sorted(known | new)]},
            {"$group": {"_id": "$t", "all": {"$push": "$t"}}},
        ]
        for row in self._database.aggregate(stages, collation=self._collation):
            first = next((text for text in row["all"] if text in known), row["_id"])
            self._first.update(dict.fromkeys(row["all"], first))

    def key(self, text: str) -> str:
        """Return the one text that stands for all that are equal to *text*."""
        if self._collation is None:
            return text
        self.learn([text])
        return self._first[text]


__all__ = ["EqualTexts"]
