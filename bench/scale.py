"""Whether the engine's cost per document stays the same as the work grows.

    python -m bench.scale --sizes 100000 1000000 5000000 --organizations 1000 10000

Each size on a server of its own, beside what the server itself takes for a bare updateMany of as
many: that grows, too, once its cache has to be written out. The journal's cost (the same run with
and without writing it) and that of references are measured at the second size, where what a run
costs once doesn't show.
"""

from __future__ import annotations

import argparse
import resource
from unittest import mock

from mongo_migration.ledger.journal import Journal

from bench import report
from bench.migration import BY_OWNER, Bench, filled


def per_document(bench: Bench, rounds: int, value: str | None = None) -> float:
    """Return the microseconds a document of the fastest of some rounds."""
    taken = []
    for _ in range(rounds):
        taken.append(bench.engine(value) / bench.documents * 1e6)
        bench.undo()
    return min(taken)


def bare_per_document(bench: Bench) -> float:
    """Return the microseconds a document of one updateMany."""
    taken = bench.bare_update() / bench.documents * 1e6
    bench.bare_unset()
    return taken


def flat(name: str, values: dict[int, float], unit: str, **goal: float) -> report.Result:
    """Return how far the *values* by size lie apart, against a *goal* if there is one."""
    listed = ", ".join(f"{size:,}: {value:.3g} {unit}" for size, value in values.items())
    apart = max(values.values()) / min(values.values())
    return report.Result.of(f"{name}, most / least ({listed})", [apart], **goal)


def without_journal(bench: Bench) -> float:
    """Return what a run takes that couldn't be undone."""
    with mock.patch.object(Journal, "write", lambda *_, **__: None):
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
    results, cost, bare = [], {}, {}
    second = asked.sizes[min(1, len(asked.sizes) - 1)]
    for size in asked.sizes:
        with filled(size, asked.organizations[0]) as (bench, _uri):
            bare[size] = min(bare_per_document(bench) for _ in range(asked.rounds))
            cost[size] = per_document(bench, asked.rounds)
            if size == second:
                share = min(without_journal(bench) for _ in range(asked.rounds)) / size * 1e6
                name = "speed with / without the journal"
                results.append(report.Result.of(name, [share / cost[size]], at_least=0.9))
    results.append(flat("cost per document", cost, "us"))
    to_bare = {size: cost[size] / bare[size] for size in cost}
    results.append(flat("migrate / bare updateMany", to_bare, "times", at_most=1.15))
    for number in asked.organizations:
        with filled(second, number) as (bench, _uri):
            constant = per_document(bench, asked.rounds)
            ratio = per_document(bench, asked.rounds, BY_OWNER) / constant
        name = f"by reference to {number:,} organizations / constant"
        results.append(report.Result.of(name, [ratio], at_most=1.5))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    results.append(report.Result.of("memory, MiB", [peak], at_most=150))
    sizes = ", ".join(f"{size:,}" for size in asked.sizes)
    report.publish("scale", results, note=f"{sizes} documents")


if __name__ == "__main__":
    main()
