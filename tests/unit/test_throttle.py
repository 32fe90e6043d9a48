"""Decisions about speed, with a clock and a server that the test makes up."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from mongo_migration.argument_specs import LIMIT_OPTIONS
from mongo_migration.errors import MigrationError
from mongo_migration.pace.pacer import Pacer
from mongo_migration.pace.throttle import (
    FIRST_SIZE,
    FROZEN_SIZE,
    LARGEST,
    LONGEST_PAUSE,
    SMALLEST,
    Controller,
    Limits,
    Pace,
    Sample,
)

CALM: dict[str, Any] = {
    "lag_seconds": 0.1,
    "latency_ratio": 1.0,
    "free_tickets": 0.99,
    "dirty_ratio": 0.01,
    "flow_control": False,
}
# One signal over its default limit each, and the words for it.
TROUBLES = [
    ({"lag_seconds": 3.2}, "lag 3.2 s > 2 s"),
    ({"latency_ratio": 2.6}, "latency of others 2.6x > 2x"),
    ({"free_tickets": 0.1}, "free tickets 10% < 25%"),
    ({"dirty_ratio": 0.19}, "dirty cache 19% > 15%"),
    ({"flow_control": True}, "flow control is on"),
]


class Run:
    """A run under a controller: every batch takes `cost` seconds a document."""

    def __init__(self, limits: Limits | None = None, *, cost: float = 0.0000001) -> None:
        self.controller = Controller(limits or Limits())
        self.cost = cost
        self.now = 0.0

    @property
    def pace(self) -> Pace:
        return self.controller.pace

    def batches(self, count: int, **signals: Any) -> Pace:
        """Do batches; the server is sampled anew for each."""
        for _ in range(count):
            seconds = self.pace.size * self.cost
            self.now += seconds + self.pace.pause + 1.0
            self.controller.after(
                documents=self.pace.size,
                seconds=seconds,
                sample=Sample(**{**CALM, **signals}),
                now=self.now,
            )
        return self.pace


def test_a_calm_server_lets_batches_grow_to_the_largest() -> None:
    run = Run()
    assert run.pace.size == FIRST_SIZE
    assert run.batches(60) == Pace(size=LARGEST, pause=0.0, reason="")


@pytest.mark.parametrize(("signal", "reason"), TROUBLES, ids=[words for _, words in TROUBLES])
def test_any_signal_slows_down_first_by_size_then_by_pause(
    signal: dict[str, Any], reason: str
) -> None:
    run = Run()
    size = run.pace.size
    assert run.batches(1, **signal) == Pace(size=size // 2, pause=0.0, reason=reason)
    pace = run.batches(5, **signal)
    assert pace.size == SMALLEST
    assert pace.pause > 0
    assert run.batches(60, **signal).pause == LONGEST_PAUSE
    assert run.pace.reason == reason


def test_the_signal_that_weighs_most_is_the_reason() -> None:
    run = Run()
    run.batches(1, lag_seconds=2.2, dirty_ratio=0.6)
    assert run.pace.reason == "dirty cache 60% > 15%"


def test_no_signal_outweighs_another() -> None:
    run = Run()
    run.batches(10, latency_ratio=0.1, lag_seconds=9.0)
    assert run.pace.size == SMALLEST


def test_it_recovers_first_the_pause_then_the_size() -> None:
    run = Run()
    slow = run.batches(8, lag_seconds=5.0)
    assert slow.pause > 0
    while run.pace.pause:
        assert run.pace.size == SMALLEST
        run.batches(1)
    assert run.pace.reason == ""
    assert run.batches(20).size > SMALLEST


def test_between_calm_and_limit_nothing_moves() -> None:
    run = Run()
    before = run.pace
    assert run.batches(10, lag_seconds=1.8) == before


def test_one_sample_slows_down_once() -> None:
    run = Run()
    sample = Sample(lag_seconds=9.0)
    for _ in range(10):
        run.controller.after(documents=500, seconds=0.01, sample=sample, now=1.0)
    assert run.pace.size == FIRST_SIZE // 2


def test_it_does_not_speed_up_before_a_sample_has_seen_the_last_step() -> None:
    run = Run()
    run.controller.after(documents=500, seconds=0.01, sample=Sample(lag_seconds=9.0), now=10.0)
    for now in (10.5, 11.0, 11.9):
        calm = Sample(lag_seconds=0.1)
        run.controller.after(documents=250, seconds=0.01, sample=calm, now=now)
    assert run.pace.size == FIRST_SIZE // 2
    run.controller.after(documents=250, seconds=0.01, sample=Sample(lag_seconds=0.1), now=12.5)
    assert run.pace.size > FIRST_SIZE // 2


def test_a_server_that_shows_nothing_is_judged_by_the_time_of_a_batch() -> None:
    run = Run(Limits(target_seconds=0.5), cost=0.001)
    for _ in range(40):
        seconds = run.pace.size * run.cost
        run.controller.after(documents=run.pace.size, seconds=seconds, sample=None, now=0.0)
    assert 250 <= run.pace.size <= 500
    run.cost = 0.01  # the server got slower
    for _ in range(5):
        seconds = run.pace.size * run.cost
        run.controller.after(documents=run.pace.size, seconds=seconds, sample=None, now=0.0)
    assert run.pace.size == SMALLEST
    assert run.pace.reason.startswith("batch ")


def test_the_short_last_batch_of_a_collection_tells_nothing_about_size() -> None:
    run = Run()
    run.controller.after(documents=3, seconds=0.001, sample=None, now=0.0)
    assert run.pace.size == FIRST_SIZE


def test_a_fixed_size_stays_and_the_pause_gives_way() -> None:
    run = Run(Limits(batch_size=700))
    assert run.batches(20).size == 700
    assert run.batches(1, lag_seconds=9.0) == Pace(size=700, pause=0.05, reason="lag 9.0 s > 2 s")


def test_the_pause_asked_for_is_the_least() -> None:
    run = Run(Limits(pause_seconds=0.3))
    assert run.batches(30).pause == 0.3
    assert run.batches(15, lag_seconds=9.0).pause > 0.3
    assert run.batches(60).pause == 0.3


def test_limits_change_while_it_runs() -> None:
    run = Run()
    run.batches(60)
    run.controller.obey(Limits(batch_size=200, pause_seconds=0.5))
    assert (run.pace.size, run.pace.pause) == (200, 0.5)
    run.controller.obey(Limits(max_lag_seconds=30))
    assert run.batches(3, lag_seconds=9.0).size > 200


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": 1_000_000}, "batch_size must be at most 100,000"),
        ({"pause_seconds": -1}, "pause_seconds must be at least 0"),
        ({"pause_seconds": 3600}, "pause_seconds must be at most 60"),
        ({"target_seconds": 0}, "target_seconds must be more than 0"),
        ({"max_dirty_ratio": 5}, "max_dirty_ratio is a share"),
        ({"max_lag_seconds": "2"}, "max_lag_seconds must be a number"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_limits_that_make_no_sense_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(MigrationError, match=words):
        Limits(**given)


def test_the_modules_offer_every_limit() -> None:
    assert {field.name for field in dataclasses.fields(Limits)} == {"batch_size", *LIMIT_OPTIONS}


class Server:
    """Samples for a pacer."""

    def __init__(self, **signals: Any) -> None:
        self.sample = Sample(**{**CALM, **signals})
        self.missing: list[str] = []
        self.batches = 0

    def newest(self) -> Sample | None:
        return self.sample

    def count_batch(self) -> None:
        self.batches += 1


def test_under_maintenance_nothing_is_asked_and_batches_are_large() -> None:
    pacer = Pacer(Limits(max_lag_seconds=0.001), source=None)
    assert pacer.first == Pace(size=FROZEN_SIZE, pause=0.0, reason="")
    assert pacer.after({}, documents=FROZEN_SIZE, seconds=60.0) == pacer.first
    assert pacer.seen() == {}


def test_under_maintenance_another_terminal_still_sets_size_and_pause() -> None:
    pacer = Pacer(Limits(), source=None)
    asked = {"batch_size": 300, "pause_seconds": 1.0}
    assert pacer.after(asked, documents=5000, seconds=1.0) == Pace(size=300, pause=1.0, reason="")
    assert pacer.after({}, documents=300, seconds=1.0).size == FROZEN_SIZE


def test_live_it_follows_the_server_and_shows_its_lag() -> None:
    server = Server(lag_seconds=7.0)
    pacer = Pacer(Limits(), source=server, clock=lambda: 0.0)
    assert pacer.first.size == FIRST_SIZE
    pace = pacer.after({}, documents=500, seconds=0.01)
    assert (pace.size, pace.reason) == (FIRST_SIZE // 2, "lag 7.0 s > 2 s")
    assert pacer.seen() == {"lag_seconds": 7.0}
    assert server.batches == 1
