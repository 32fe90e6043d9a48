"""Whether the engine's cost per document stays the same as the work grows.

    python -m bench.scale --sizes 100000 1000000 --organizations 1000 10000

Each size on a server of its own; and the journal's cost: the same run with and without writing it.
"""

from __future__ import annotations

import argparse
import resource
from unittest import mock

from mongo_migration.journal import Journal

from bench import report
from bench.migration import BY_OWNER, Bench, filled


def per_document(bench: Bench, rounds: int, value: str | None = None) -> float:
    """Return the microseconds a document of the fastest of some rounds."""
    taken = []
    for _ in range(rounds):
        taken.append(bench.engine(value) / bench.documents * 1e6)
        bench.undo()
    return min(taken)


def without_journal(bench: Bench) -> float:
    """Return what a run takes that couldn't be undone."""
    with mock.patch.object(Journal, "write", lambda *_: None):
        seconds = bench.engine()
    bench.forget()
    bench.bare_unset()
    return seconds


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50_000, 200_000])
    parser.add_argument("--organizations", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    results, cost = [], {}
    for size in asked.sizes:
        with filled(size, asked.organizations[0]) as (bench, _uri):
            cost[size] = per_document(bench, asked.rounds)
            if size == asked.sizes[0]:
                share = without_journal(bench) / size * 1e6 / cost[size]
                name = "speed with / without the journal"
                results.append(report.Result.of(name, [share], at_least=0.9))
    flat = max(cost.values()) / min(cost.values())
    spread = ", ".join(f"{size:,}: {value:.1f} us" for size, value in cost.items())
    results.append(
        report.Result.of(f"cost per document, most / least ({spread})", [flat], at_most=1.15)
    )
    for number in asked.organizations:
        with filled(asked.sizes[0], number) as (bench, _uri):
            ratio = per_document(bench, asked.rounds, BY_OWNER) / per_document(bench, asked.rounds)
        name = f"by reference to {number:,} organizations / constant"
        results.append(report.Result.of(name, [ratio], at_most=1.5))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    results.append(report.Result.of("memory, MiB", [peak], at_most=150))
    sizes = ", ".join(f"{size:,}" for size in asked.sizes)
    report.publish("scale", results, note=f"{sizes} documents")


if __name__ == "__main__":
    main()
