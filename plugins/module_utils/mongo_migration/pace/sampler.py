"""What the server shows of its load: read once a second, from a thread, for :mod:`throttle`.

Any signal may be missing: because the topology has none, or because the user may not see it. A
missing one slows nothing down; :attr:`Sampler.missing` says which ones and why.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from ..server.connection import UNAUTHORIZED
from ..server.majority_lag import MajorityLag
from .throttle import Sample

_EVERY_SECONDS = 1.0
# Latencies are judged over this many samples, and from this many operations on.
_WINDOW = 3
_FEWEST_OPERATIONS = 20
_PERCENTILE = 0.95
# Faster than this nobody notices: a rise from 0.1 ms to 0.3 ms is no harm.
_LEAST_BASELINE_MICROS = 2_000
# What a batch of ours adds at the slow end: the update, the proof, its part of a page's reading.
_OWN_SLOW_OPERATIONS = 3
# Sections that cost the server work and tell us nothing.
_SKIPPED = ("metrics", "locks", "tcmalloc", "transactions", "mirroredReads", "repl", "network")

Histogram = Counter[int]


class Sampler:
    """Keeps the newest sample."""

    def __init__(
        self,
        client: MongoClient[dict[str, Any]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._admin = client.admin
        self._clock = clock
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._batches = 0
        self._seen: deque[tuple[Histogram, int]] = deque(maxlen=_WINDOW + 1)
        self._baseline: float | None = None
        self._newest: tuple[float, Sample] | None = None
        self._replicated = True
        self._majority_lag = MajorityLag()
        self.missing: list[str] = []

    def start(self, *, idle_seconds: float = 0.0, wait: Callable[[float], None]) -> None:
        """Measure how fast others are served while we are idle, then begin to sample.

        Args:
            idle_seconds: for how long; 0 takes what the server has seen since it started.
            wait: how to wait.
        """
        with suppress(PyMongoError):  # a failover: the run goes on without this signal
            self._baseline = self._measure(idle_seconds, wait)
        self._thread = threading.Thread(target=self._work, name="sampler", daemon=True)
        self._thread.start()

    def _measure(self, idle_seconds: float, wait: Callable[[float], None]) -> float | None:
        before = self._latencies(self._status())
        if before is None:
            return None
        found = None
        if idle_seconds:
            wait(idle_seconds)
            after = self._latencies(self._status())
            found = percentile(after - before) if after is not None else None
        return percentile(before) if found is None else found

    def stop(self) -> None:
        """End the thread."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def count_batch(self) -> None:
        """Note that we did a batch: its operations aren't those of others."""
        self._batches += 1

    def newest(self) -> Sample | None:
        """Return the newest sample, or None if there is none of late."""
        found = self._newest
        if found is None or self._clock() - found[0] > 5 * _EVERY_SECONDS:
            return None
        return found[1]

    def read(self) -> Sample:
        """Read the server now."""
        status = self._status()
        return Sample(
            lag_seconds=self._lag(),
            latency_ratio=self._latency_ratio(status),
            free_tickets=free_tickets(status),
            dirty_ratio=dirty_ratio(status),
            flow_control=status.get("flowControl", {}).get("isLagged"),
        )

    def _work(self) -> None:
        while not self._over.wait(_EVERY_SECONDS):
            try:
                self._newest = (self._clock(), self.read())
            except PyMongoError:
                continue  # a failover: the run itself waits for it and says so

    def _status(self) -> Mapping[str, Any]:
        command = {"serverStatus": 1, "opLatencies": {"histograms": True}}
        command |= dict.fromkeys(_SKIPPED, 0)
        if self.missing:
            return {}
        try:
            found: Mapping[str, Any] = self._admin.command(command)
        except OperationFailure as error:
            if error.code != UNAUTHORIZED:
                raise
            self.missing.append(
                "The throttle sees only lag and batch times, not the latency of others, tickets, "
                "dirty cache and flow control: this user lacks the role clusterMonitor on admin."
            )
            return {}
        return found

    def _lag(self) -> float | None:
        """Return how far the majority is behind the primary."""
        status = self._members()
        times, now = status.get("optimes", {}), status.get("date")
        written, majority = times.get("lastAppliedWallTime"), times.get("lastCommittedWallTime")
        if written is None or majority is None:
            # What every user may see, by whole seconds.
            hello = self._admin.command("hello")
            last, now = hello.get("lastWrite", {}), hello.get("localTime")
            written, majority = last.get("lastWriteDate"), last.get("majorityWriteDate")
        if written is None or majority is None or now is None:
            return None
        return self._majority_lag.see(written, majority, now)

    def _members(self) -> Mapping[str, Any]:
        if not self._replicated:
            return {}
        try:
            found: Mapping[str, Any] = self._admin.command("replSetGetStatus")
        except OperationFailure:  # no replica set, a router, or not allowed
            self._replicated = False
            return {}
        return found

    def _latencies(self, status: Mapping[str, Any]) -> Histogram | None:
        found: Histogram = Counter()
        sections = status.get("opLatencies")
        if not sections:
            return None
        for name in ("reads", "writes"):
            for bucket in sections.get(name, {}).get("histogram", ()):
                found[bucket["micros"]] += bucket["count"]
        return found

    def _latency_ratio(self, status: Mapping[str, Any]) -> float | None:
        now = self._latencies(status)
        if now is None or self._baseline is None:
            return None
        self._seen.append((now, self._batches))
        before, batches = self._seen[0]
        own = (self._batches - batches) * _OWN_SLOW_OPERATIONS
        found = percentile(now - before, without_slowest=own)
        return None if found is None else found / max(self._baseline, _LEAST_BASELINE_MICROS)


def percentile(latencies: Histogram, *, without_slowest: int = 0) -> float | None:
    """Return the 95th percentile in microseconds; None where there are too few to judge.

    Args:
        latencies: counts by the lower bound of their bucket.
        without_slowest: leave that many of the slowest out; they are ours.
    """
    left = latencies.total() - without_slowest
    if left < _FEWEST_OPERATIONS:
        return None
    passed = 0
    for micros in sorted(latencies):
        passed += latencies[micros]
        if passed >= left * _PERCENTILE:
            return float(micros)
    return None


def free_tickets(status: Mapping[str, Any]) -> float | None:
    """Return the share of free tickets, of readers or writers, whichever are fewer."""
    # Servers from 7.0 on move the tickets; 8.0 shows them elsewhere.
    pools = status.get("wiredTiger", {}).get("concurrentTransactions") or status.get(
        "queues", {}
    ).get("execution", {})
    shares = [
        pool["available"] / pool["totalTickets"]
        for pool in (pools.get("read"), pools.get("write"))
        if isinstance(pool, Mapping) and pool.get("totalTickets")
    ]
    return min(shares, default=None)


def dirty_ratio(status: Mapping[str, Any]) -> float | None:
    """Return the dirty bytes as a share of the cache."""
    cache = status.get("wiredTiger", {}).get("cache", {})
    dirty = cache.get("tracked dirty bytes in the cache")
    size = cache.get("maximum bytes configured")
    return dirty / size if dirty is not None and size else None
