"""Documents that a restore brings back only for the server to remove them again: expired ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

from ..support.progress import Sink
from ..values import elements
from .manifest import Collection
from .source import Source

_TTL = "expireAfterSeconds"


class Expiry:
    """Counts the documents of one collection that its own rules remove at once."""

    def __init__(self, entry: Collection, now: datetime) -> None:
        self._entry = entry
        self._now = now.timestamp() * 1000
        self._rules = list(_rules(entry))
        self.count = 0

    def __bool__(self) -> bool:
        return bool(self._rules)

    def watch(self, batches: Iterable[list[bytes]]) -> Iterator[list[bytes]]:
        """Yield *batches*, counting in them."""
        for batch in batches:
            if self._rules:
                self.count += sum(map(self._has_expired, batch))
            yield batch

    @property
    def warning(self) -> str | None:
        """Return what to know about it, if anything."""
        if not self.count:
            return None
        what = "buckets" if self._entry.type == "timeseries" else "documents"
        return (
            f"{self._entry.name}: {self.count:,} of {self._entry.count:,} {what} have expired by "
            "its own rules. The server begins to remove them within a minute after the restore. To "
            "keep them, stop that on every member first: db.adminCommand({setParameter: 1, "
            "ttlMonitorEnabled: false}), and raise expireAfterSeconds before it goes on."
        )

    def _has_expired(self, raw: bytes) -> bool:
        for path, milliseconds in self._rules:
            with suppress(ValueError):  # what isn't BSON is told elsewhere
                moment = min(elements.dates(raw, path), default=math.inf)
                if moment + milliseconds <= self._now:
                    return True
        return False


def warnings(source: Source, now: datetime, progress: Sink) -> list[str]:
    """Return what would expire at once, by reading the collections that have such rules."""
    found = []
    for entry in source.manifest.collections:
        expiry = Expiry(entry, now)
        if not expiry:
            continue
        progress(
            {"phase": "look for expired documents", "done": 0, "total": 0, "detail": entry.name}
        )
        for _batch in expiry.watch(source.batches(entry)):
            pass
        if expiry.warning:
            found.append(expiry.warning)
    return found


def _rules(entry: Collection) -> Iterator[tuple[list[bytes], float]]:
    """Yield the path of a date, and how many milliseconds after it a document goes."""
    options = entry.found().options
    if entry.type == "timeseries":
        field = str(options.get("timeseries", {}).get("timeField", ""))
        yield from _rule(f"control.max.{field}", options.get(_TTL))
    elif "clusteredIndex" in options:
        yield from _rule("_id", options.get(_TTL))
    for index in entry.found().indexes:
        if len(index["key"]) == 1:
            yield from _rule(next(iter(index["key"])), index.get(_TTL))


def _rule(path: str, seconds: Any) -> Iterator[tuple[list[bytes], float]]:
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if number and math.isfinite(seconds):
        yield [part.encode() for part in path.split(".")], seconds * 1000
