"""What a migration costs those who go on working: their latency, and our speed beside them.

    python -m bench.gentle --documents 100000

Somebody else reads and writes a hundred times a second, before and while the throttled engine
works, and while the runbook's loop does (find 1000, update, wait 100 ms).
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import statistics
import time
from multiprocessing.synchronize import Event
from typing import Any

from mongo_migration.pace.throttle import Limits
from mongo_migration.procedures import migrate
from pymongo import MongoClient

from bench import report
from bench.migration import BY_OWNER, DATABASE, Bench, filled, timed

_REST_SECONDS = 5  # after a run, the server writes what is in its cache


class Foreground:
    """Somebody else's reads and writes, a fixed number a second, with their latencies.

    In a process of its own: in ours, it would wait for the engine's Python, not for the server.
    """

    def __init__(self, uri: str, per_second: int = 100) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        self._queue: multiprocessing.Queue[list[float]] = context.Queue()
        self._process = context.Process(
            target=_work, args=(uri, 1 / per_second, self._stop, self._queue), daemon=True
        )
        self.latencies: list[float] = []  # in seconds

    def __enter__(self) -> Foreground:
        self._process.start()
        self._queue.get()  # it is at work
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.latencies = self._queue.get()
        self._process.join()


def _work(
    uri: str, interval: float, stop: Event, latencies: multiprocessing.Queue[list[float]]
) -> None:
    items = MongoClient[dict[str, Any]](uri)[DATABASE]["items"]
    ids = [row["_id"] for row in items.aggregate([{"$sample": {"size": 5000}}])]
    chance, taken = random.Random(3), list[float]()
    latencies.put([])
    while not stop.is_set():
        began = time.monotonic()
        one = {"_id": chance.choice(ids)}
        if chance.random() < 0.5:
            items.find_one(one)
        else:
            items.update_one(one, {"$inc": {"views": 1}})
        taken.append(time.monotonic() - began)
        stop.wait(max(0.0, interval - taken[-1]))
    latencies.put(taken)


def idle_latencies(uri: str, seconds: float) -> list[float]:
    """Return the latencies while nobody else is there."""
    with Foreground(uri) as idle:
        time.sleep(seconds)
    return idle.latencies


def p99(latencies: list[float]) -> float:
    """Return the 99th percentile."""
    return statistics.quantiles(latencies, n=100)[-1]


def measure(bench: Bench, uri: str, rounds: int, idle_seconds: float) -> list[report.Result]:
    """Run both beside the foreground."""
    # Of all rounds, before and after: the machine itself has better and worse times, and a p99 of
    # one quiet minute differs from that of the next by more than what is measured.
    idle: list[float] = []
    ours, ours_latency, bare_latency = [], [], []
    for _ in range(rounds):
        idle += idle_latencies(uri, idle_seconds)
        with Foreground(uri) as beside_ours:
            ours.append(
                timed(
                    lambda: bench.migrate(
                        bench.definition(BY_OWNER), migrate.Settings(limits=Limits())
                    )
                )
            )
        bench.undo()
        time.sleep(_REST_SECONDS)
        idle += idle_latencies(uri, idle_seconds)
        with Foreground(uri) as beside_bare:
            bench.bare_update()
        bench.bare_unset()
        ours_latency.append(p99(beside_ours.latencies))
        bare_latency.append(p99(beside_bare.latencies))
    with Foreground(uri):
        loop = bench.runbook_loop()  # once: it takes as long as all the rest
    quiet = p99(idle)
    ours_speed = [loop / seconds for seconds in ours]
    return [
        report.Result.of(
            "others' p99 while migrating / idle", [p / quiet for p in ours_latency], at_most=2
        ),
        report.Result.of(
            "others' p99 beside a bare updateMany / idle", [p / quiet for p in bare_latency]
        ),
        report.Result.of("the runbook's loop / throttled migration", ours_speed, at_least=5),
    ]


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--organizations", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--idle-seconds", type=float, default=20)
    asked = parser.parse_args()
    with filled(asked.documents, asked.organizations) as (bench, uri):
        results = measure(bench, uri, asked.rounds, asked.idle_seconds)
    report.publish("gentle", results, note=f"{asked.documents:,} documents, {asked.rounds} rounds")


if __name__ == "__main__":
    main()
