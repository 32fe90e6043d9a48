"""The pace of one run: limits from its settings and from other terminals, decisions by throttle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from pymongo import MongoClient

from ..support.stop import StopSignal
from .sampler import Sampler
from .throttle import FROZEN_SIZE, Controller, Limits, Pace, Sample


class Source(Protocol):
    """Where samples come from: :class:`sampler.Sampler`, or a test."""

    missing: list[str]

    def newest(self) -> Sample | None:
        """Return the newest sample."""

    def count_batch(self) -> None:
        """Note that we did a batch."""


# A run that is over in seconds isn't worth waiting for a baseline.
_LONG_RUN = 20_000
_BASELINE_SECONDS = 2.0


@contextmanager
def pacing(
    client: MongoClient[dict[str, Any]],
    limits: Limits,
    *,
    adaptive: bool,
    documents: int,
    stop: StopSignal,
    source: Source | None = None,
) -> Iterator[Pacer]:
    """Give the pacer of one run, with a sampler of the server for as long as it is needed.

    Args:
        client: connected to the deployment.
        limits: the settings.
        adaptive: whether to look at the server at all.
        documents: how much work there is.
        stop: ends the waiting for the baseline.
        source: looked at instead of the server.
    """
    if not adaptive or source is not None:
        yield Pacer(limits, source=source if adaptive else None)
        return
    sampler = Sampler(client)
    idle = _BASELINE_SECONDS if documents > _LONG_RUN else 0.0
    sampler.start(idle_seconds=idle, wait=stop.wait)
    try:
        yield Pacer(limits, source=sampler)
    finally:
        sampler.stop()


class Pacer:
    """Says how large the next batch is and how long to wait before it.

    Args:
        limits: the settings.
        source: what the server shows; None under maintenance, when nobody else waits: then only a
            size and a pause that someone asks for count.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        source: Source | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = limits
        self._source = source
        self._clock = clock
        self._free = Pace(
            size=limits.batch_size or FROZEN_SIZE, pause=limits.pause_seconds, reason=""
        )
        self._controller = Controller(limits)

    @property
    def first(self) -> Pace:
        """The pace to begin with."""
        return self._free if self._source is None else self._controller.pace

    @property
    def missing(self) -> list[str]:
        """What the throttle couldn't see, in words."""
        return [] if self._source is None else list(self._source.missing)

    def after(self, given: Mapping[str, Any], *, documents: int, seconds: float) -> Pace:
        """Decide after a batch.

        Args:
            given: limits from another terminal.
            documents: how many the batch had.
            seconds: how long the server worked on it.
        """
        limits = self._settings.changed(given)
        if self._source is None:
            size = limits.batch_size or self._free.size
            return Pace(size=size, pause=limits.pause_seconds, reason="")
        self._source.count_batch()
        self._controller.obey(limits)
        return self._controller.after(
            documents=documents,
            seconds=seconds,
            sample=self._source.newest(),
            now=self._clock(),
        )

    def seen(self) -> dict[str, Any]:
        """Return what the progress line shows of the server."""
        sample = None if self._source is None else self._source.newest()
        return {} if sample is None else {"lag_seconds": sample.lag_seconds}
