"""How fast to go: the size of the next batch and the pause before it, from what the server shows.

The controller is pure: times, durations and samples come in as arguments (:mod:`sampler` reads the
server). Small batches delay other users of the database least at equal speed, so the size moves
first and the pause only when batches can't get smaller. Any signal can slow the run down and none
can overrule it; the one that weighs most is the reason that people are shown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from statistics import median
from typing import Any

from ..errors import MigrationError

SMALLEST, LARGEST = 100, 20_000
LONGEST_PAUSE = 5.0
# What anybody may ask for: a batch's journal entry must fit into a document.
_MOST = 100_000
# Where the run starts before anything was measured.
FIRST_SIZE = 200
# While nobody else writes: the largest that pays (bigger ones cost memory and gain nothing).
FROZEN_SIZE = 20_000

_SHRINK, _GROW = 0.5, 1.25
_FIRST_PAUSE = 0.05
# Batches by whose middle the time is judged, and what needs no second look.
_TIMES, _FAR_TOO_LONG = 3, 4.0
# Below this share of its limit a signal lets the run go faster; between, all stays as it is.
_CALM = 0.7
# Growing waits until a sample has seen the last step; shrinking may follow every new sample.
_STEADY_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the run may do to others. Settings of the module, and changeable while it runs.

    Args:
        batch_size: fixes the size; the controller then moves the pause alone.
        pause_seconds: the least pause after each batch.
        target_seconds: how long the server may work on a batch; waiting for a majority, which is
            nobody's harm and judged by its lag, doesn't count.
        max_lag_seconds: how far a majority of the members may be behind.
        max_latency_ratio: latency of other users' operations against the one before the run.
        min_free_tickets: share of the storage engine's tickets that stays free.
        max_dirty_ratio: share of the cache that is dirty.
    """

    batch_size: int | None = None
    pause_seconds: float = 0.0
    target_seconds: float = 0.03
    max_lag_seconds: float = 2.0
    max_latency_ratio: float = 2.0
    min_free_tickets: float = 0.25
    max_dirty_ratio: float = 0.15

    def __post_init__(self) -> None:
        least = {"batch_size": 1, "pause_seconds": 0, "min_free_tickets": 0}
        for one in fields(self):
            value = getattr(self, one.name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise MigrationError(f"{one.name} must be a number, not {value!r}.")
            lowest = least.get(one.name)
            if value < lowest if lowest is not None else value <= 0:
                words = f"at least {lowest}" if lowest is not None else "more than 0"
                raise MigrationError(f"{one.name} must be {words}, not {value}.")
        for name in ("min_free_tickets", "max_dirty_ratio"):
            if getattr(self, name) > 1:
                raise MigrationError(f"{name} is a share: between 0 and 1.")
        if self.batch_size is not None and self.batch_size > _MOST:
            raise MigrationError(f"batch_size must be at most {_MOST:,}, not {self.batch_size:,}.")
        if self.pause_seconds > 60:
            raise MigrationError("pause_seconds must be at most 60: to stop for longer, pause.")

    def changed(self, given: Mapping[str, Any]) -> Limits:
        """Return the limits with those *given* in their place."""
        return replace(self, **given)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What the server showed; None is a signal that it doesn't give, or not to this user.

    Args:
        lag_seconds: how far the majority is behind.
        latency_ratio: of others' operations, against the baseline.
        free_tickets: share of free tickets.
        dirty_ratio: dirty bytes in the cache as a share of the cache.
        flow_control: whether the server itself slows writers down because of lag.
    """

    lag_seconds: float | None = None
    latency_ratio: float | None = None
    free_tickets: float | None = None
    dirty_ratio: float | None = None
    flow_control: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The decision: size of the next batch, pause before it, and why."""

    size: int
    pause: float
    reason: str


class Controller:
    """Decides after each batch."""

    def __init__(self, limits: Limits, *, size: int = FIRST_SIZE) -> None:
        self._limits = limits
        self.pace = Pace(size=limits.batch_size or size, pause=limits.pause_seconds, reason="")
        self._judged: Sample | None = None
        # One slow batch may be somebody else's doing; the middle of three is ours.
        self._times: deque[float] = deque(maxlen=_TIMES)
        self._stepped = float("-inf")

    def obey(self, limits: Limits) -> None:
        """Go on under other limits."""
        if limits == self._limits:
            return
        self._limits = limits
        self.pace = Pace(
            size=limits.batch_size or self.pace.size,
            # A pause that no signal asked for goes with the limit that did.
            pause=max(self.pace.pause if self.pace.reason else 0.0, limits.pause_seconds),
            reason="",
        )

    def after(self, *, documents: int, seconds: float, sample: Sample | None, now: float) -> Pace:
        """Decide, after a batch of *documents* that took *seconds*.

        Args:
            documents: how many the batch had; the last of a collection has few.
            seconds: how long the server worked on it.
            sample: the newest one, or None where the server shows nothing.
            now: a clock that only grows.
        """
        if documents >= self.pace.size / 2:  # the last batch of a collection tells nothing
            self._times.append(seconds)
        usual = self._usual(seconds)
        weight, reason = max(self._weights(sample), default=(0.0, ""))
        new = sample is not None and sample is not self._judged
        if weight > 1:
            if new:
                self._slower(reason)
                self._stepped = now
        elif self._batch_weight(usual) > 1:
            self._to_time(usual)
        elif weight < _CALM and (now - self._stepped >= _STEADY_SECONDS or weight == 0.0):
            self._faster(usual, documents)
        self._judged = sample
        return self.pace

    def _weights(self, sample: Sample | None) -> list[tuple[float, str]]:
        """Return each signal as a share of its limit, with the words for it."""
        if sample is None:
            return []
        most, found = self._limits, []
        if sample.flow_control:
            found.append((2.0, "flow control is on"))
        if (lag := sample.lag_seconds) is not None:
            words = f"lag {lag:.1f} s > {most.max_lag_seconds:g} s"
            found.append((lag / most.max_lag_seconds, words))
        if (ratio := sample.latency_ratio) is not None:
            words = f"latency of others {ratio:.1f}x > {most.max_latency_ratio:g}x"
            found.append((ratio / most.max_latency_ratio, words))
        if (free := sample.free_tickets) is not None and most.min_free_tickets:
            taken = (1 - free) / (1 - most.min_free_tickets) if most.min_free_tickets < 1 else 2.0
            found.append((taken, f"free tickets {free:.0%} < {most.min_free_tickets:.0%}"))
        if (dirty := sample.dirty_ratio) is not None:
            words = f"dirty cache {dirty:.0%} > {most.max_dirty_ratio:.0%}"
            found.append((dirty / most.max_dirty_ratio, words))
        return found

    def _usual(self, newest: float) -> float:
        """Return how long batches of this size take."""
        if self._batch_weight(newest) > _FAR_TOO_LONG:
            return newest
        return median(self._times) if len(self._times) == _TIMES else min(self._times, default=0.0)

    def _batch_weight(self, seconds: float) -> float:
        return 0.0 if self._limits.batch_size else seconds / self._limits.target_seconds

    def _slower(self, reason: str) -> None:
        size, pause = self.pace.size, self.pace.pause
        if self._limits.batch_size is None and size > SMALLEST:
            size = max(SMALLEST, int(size * _SHRINK))
        else:
            pause = min(LONGEST_PAUSE, max(_FIRST_PAUSE, pause * 2))
            pause = max(pause, self._limits.pause_seconds)
        self.pace = Pace(size=size, pause=pause, reason=reason)

    def _to_time(self, seconds: float) -> None:
        share = max(_SHRINK, self._limits.target_seconds / seconds)
        size = max(SMALLEST, int(self.pace.size * share))
        self._times.clear()
        words = f"batch {seconds:.2f} s > {self._limits.target_seconds:g} s"
        self.pace = replace(self.pace, size=size, reason=words)

    def _faster(self, seconds: float, documents: int) -> None:
        size, pause = self.pace.size, self.pace.pause
        if pause > self._limits.pause_seconds:
            pause = pause / 2 if pause > _FIRST_PAUSE else 0.0
            pause = max(pause, self._limits.pause_seconds)
        elif self._batch_weight(seconds) < _CALM and documents >= size:
            size = min(LARGEST, max(size + 1, int(size * _GROW)))
            if self._limits.batch_size:
                size = self._limits.batch_size
        self.pace = Pace(size=size, pause=pause, reason="" if not pause else self.pace.reason)
