"""Progress: what a run is doing, for a bar, a line every half minute, or nobody."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

Sink = Callable[[dict[str, Any]], None]

# A person can't read faster; the file is on a disk that others use.
_INTERVAL_SECONDS = 0.25
_RATE_SECONDS = 15.0


def quiet(event: dict[str, Any]) -> None:
    """Drop progress events."""


def sink(path: str | None) -> Sink:
    """Return a sink that keeps the newest event in the file *path*, replaced atomically."""
    if path is None:
        return quiet
    target = Path(path)
    last = 0.0
    known: dict[str, Any] = {}

    def write(event: dict[str, Any]) -> None:
        nonlocal last, known
        # What interrupts the counting (waiting, a pause) comes rarely and is always written; it
        # leaves standing how far the work is.
        interrupts = "done" not in event
        event = known = {**known, **event} if interrupts else event
        now = time.monotonic()
        if now - last < _INTERVAL_SECONDS and not interrupts:
            return
        last = now
        temporary = target.with_suffix(f".{os.getpid()}")
        try:
            temporary.write_text(json.dumps(event, default=str))
            temporary.replace(target)
        except OSError:
            return  # nobody can look at it any more; the migration goes on

    return write


class Meter:
    """Counts documents of a phase and tells a sink about rate and remaining time."""

    def __init__(
        self, report: Sink, *, phase: str, total: int, done: int = 0, unit: str = "documents"
    ) -> None:
        self._report = report
        self._phase = phase
        self._total = total
        self._done = done
        self._unit = unit
        self._started = time.monotonic()
        self._recent = deque([(self._started, done)])
        self._standing: dict[str, Any] = {}

    @property
    def done(self) -> int:
        """How many were counted so far."""
        return self._done

    def note(self, **facts: Any) -> None:
        """Keep *facts*, such as the reason for the present speed, with all reports from now on."""
        self._standing |= facts

    def report(self, **facts: Any) -> None:
        """Report, beside the counting, why nothing is counted for a while; the next count ends it.

        Without ``done`` among the *facts*, what was counted before stays on view.
        """
        # The rate is that of working: what stood still must not make the rest look endless.
        self._recent = deque([(time.monotonic(), self._done)])
        self._report({"phase": self._phase, **facts})

    def advance(self, count: int, **detail: Any) -> None:
        """Count *count* more documents and report."""
        self._done += count
        now = time.monotonic()
        self._recent.append((now, self._done))
        # The rate of late: what it was an hour ago says nothing about the rest.
        while len(self._recent) > 2 and now - self._recent[1][0] > _RATE_SECONDS:
            self._recent.popleft()
        since, done = self._recent[0]
        rate = (self._done - done) / (now - since) if now > since else 0.0
        remaining = max(0, self._total - self._done)
        self._report(
            {
                "phase": self._phase,
                "done": self._done,
                "total": max(self._total, self._done),
                "unit": self._unit,
                "rate": round(rate, 1),
                "eta_seconds": round(remaining / rate) if rate else None,
                "elapsed_seconds": round(now - self._started, 1),
                **self._standing,
                **detail,
            }
        )
