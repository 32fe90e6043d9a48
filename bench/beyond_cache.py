"""What a migration costs where the data are larger than the server's cache, by the kind of `_id`.

    python -m bench.beyond_cache --sizes 1000000 3000000 --cache 0.25

Documents of about 250 bytes, with `_id`s in the order of insertion and with random ones. The engine
goes along `_id`, so that with random ones each document lies elsewhere on the disk. Beside it, what
the server takes for a bare updateMany of as many, which goes along the disk. Writers are stopped;
the digests of all documents from before are a part of what is measured.
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mongo_migration.document import definition
from mongo_migration.pace.throttle import Limits
from mongo_migration.procedures import migrate as runner
from mongo_migration.procedures.work import Job
from mongo_migration.support import stop
from mongo_migration.support.progress import quiet
from pymongo import MongoClient, WriteConcern

from bench import report
from embedded.mongod import ReplicaSet

DATABASE = "bench_cache"
KINDS = ("in order", "random")
PAGE = 20_000
NOTE = "steel bolt invoice paid net gross " * 5
DOCUMENT = """
id: "900"
name: bench
summary: Gives every item a currency.
downtime: none
steps:
  - set_field: {collections: [items], field: currency, type: string, value: {value: EUR}}
"""


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[200_000, 1_000_000])
    parser.add_argument("--cache", type=float, default=0.25)
    asked = parser.parse_args()
    results = []
    for kind in KINDS:
        for size in asked.sizes:
            results += _measured(kind, size, asked.cache)
    note = f"{', '.join(f'{size:,}' for size in asked.sizes)} documents, cache {asked.cache:g} GB"
    report.publish("beyond the cache", results, note=note)


def _measured(kind: str, size: int, cache: float) -> list[report.Result]:
    with tempfile.TemporaryDirectory() as folder:
        server = ReplicaSet(Path(folder) / "server", cache_gb=cache)
        server.start()
        try:
            with server.client() as client:
                items = client[DATABASE]["items"].with_options(
                    write_concern=WriteConcern("majority")
                )
                for page in _documents(kind, size):
                    client[DATABASE]["items"].insert_many(page, ordered=False)
                began = time.perf_counter()
                items.update_many({"bare": {"$exists": False}}, {"$set": {"bare": "EUR"}})
                bare = time.perf_counter() - began
                seconds = _migrated(client)
                stored = client[DATABASE].command("collStats", "items")["size"]
                journal = client[DATABASE].command("collStats", "_migrations_journal")["size"]
        finally:
            server.stop()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{kind}, {size:,}: {seconds:.0f} s, bare {bare:.0f} s", flush=True)
    named = f"{size:,} documents ({stored / 1e6:,.0f} MB), ids {kind}"
    return [
        report.Result.of(f"{named}: us a document", [seconds / size * 1e6]),
        report.Result.of(f"{named}: bare updateMany, us a document", [bare / size * 1e6]),
        report.Result.of(f"{named}: journal, MB per million", [journal / size]),
        report.Result.of(f"{named}: memory so far, MiB", [peak]),
    ]


def _documents(kind: str, size: int) -> Iterator[list[dict[str, Any]]]:
    chance = random.Random(7)
    for start in range(0, size, PAGE):
        numbers = range(start, min(size, start + PAGE))
        ids: Any = numbers if kind == "in order" else [chance.randbytes(12) for _ in numbers]
        yield [
            {"_id": one, "name": f"item {number}", "at": number, "note": NOTE}
            for one, number in zip(ids, numbers, strict=True)
        ]


def _migrated(client: MongoClient[dict[str, Any]]) -> float:
    """Return what the migration takes, from its plan to its last batch."""
    job = Job(
        client=client,
        database=DATABASE,
        settings=runner.Settings(limits=Limits(), writers_stopped=True),
        change={},
        operator={"user": "bench", "host": "localhost", "pid": 0},
        progress=quiet,
        stop=stop.StopSignal(),
    )
    began = time.perf_counter()
    runner.migrate(job, definition.load(DOCUMENT, "900-bench.yml"))
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
