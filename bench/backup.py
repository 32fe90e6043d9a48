"""How fast backup and restore are, as ratios that hold on any machine.

    python -m bench.backup --documents 300000

The results go to build/bench.json under "backup". Where mongodump and mongorestore are on PATH, or
were fetched by `make tools`, they are measured beside ours, and the goals are held against them.
Otherwise zlib at level 6 on all cores over the same bytes gives an order of magnitude, without a
goal. The server's raw stream to nothing is the lower limit.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import subprocess
import tempfile
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyrage
from bson import ObjectId
from mongo_migration.backup import create, crypt, open_source, restore
from mongo_migration.ledger import lease
from mongo_migration.support.progress import quiet
from mongo_migration.values import raw
from pymongo import MongoClient

from bench import report
from embedded import tools
from embedded.mongod import ReplicaSet

Client = MongoClient[dict[str, Any]]

DATABASE = "bench_backup"
COLLECTIONS = ("items", "invoices", "customers", "bills")
TOOLS = all(map(tools.find, ("mongodump", "mongorestore")))
REFERENCE = "mongodump --gzip" if TOOLS else "zlib 6 on all cores"
WORDS = ("steel", "bolt", "invoice", "paid", "net", "gross", "Mumbai", "Pune", "draft", "unit")


def _hold(database: Any) -> AbstractContextManager[lease.Lease]:
    me = {"user": "bench", "host": "here", "pid": os.getpid()}
    return lease.hold(database, purpose="bench", holder=me, seconds=30)


def fill(client: Client, documents: int) -> None:
    """Fill the database with documents of about 500 bytes and three indexes a collection."""
    chance = random.Random(4)
    for name in COLLECTIONS:
        collection = client[DATABASE][name]
        collection.drop()
        for start in range(0, documents // len(COLLECTIONS), 5000):
            collection.insert_many(
                {
                    "number": f"{name}-{start + n:08d}",
                    "createdBy": ObjectId(),
                    "amount": chance.random() * 1e5,
                    "when": time.time() + n,
                    "lines": [
                        {"item": ObjectId(), "quantity": chance.randrange(100), "price": n * 1.07}
                        for _ in range(4)
                    ],
                    "note": " ".join(chance.choices(WORDS, k=12)),
                    "hash": chance.randbytes(16).hex(),
                }
                for n in range(5000)
            )
        for key in ("number", "createdBy", "when"):
            collection.create_index(key)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return seconds and result."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def read_to_nothing(client: Client) -> int:
    """Return the bytes that the server streams."""
    return sum(
        sum(map(len, batch))
        for name in COLLECTIONS
        for batch in raw.raw_batches(client[DATABASE], name)
    )


def gzip_to_nothing(client: Client) -> int:
    """Return the bytes of what mongodump --gzip would write."""
    chunks = (
        b"".join(batch) for name in COLLECTIONS for batch in raw.raw_batches(client[DATABASE], name)
    )
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return sum(map(len, pool.map(lambda chunk: zlib.compress(chunk, 6), chunks)))


def tool(name: str, *arguments: str) -> None:
    """Run one of MongoDB's tools."""
    subprocess.run(
        [str(tools.find(name)), *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def mongodump(uri: str, folder: Path) -> tuple[float, int]:
    """Return seconds and bytes of ``mongodump --gzip``."""
    shutil.rmtree(folder, ignore_errors=True)
    command = ("mongodump", "--gzip", "--uri", uri, "-d", DATABASE, "-o", str(folder))
    seconds, _ = timed(lambda: tool(*command))
    return seconds, sum(path.stat().st_size for path in folder.rglob("*.gz"))


def put_back(client: Client, archive: Path, keys: crypt.Keys) -> dict[str, Any]:
    """Restore *archive* into another database, which is dropped again."""
    copy = f"{DATABASE}_copy"
    settings = restore.Settings(database=copy, source_database=DATABASE, confirm=copy)
    with open_source.open_source(archive, keys) as source:  # type: ignore[union-attr]
        done = restore.restore(client, source, settings, hold=_hold, progress=quiet)
    client.drop_database(copy)
    return done


def measure(client: Client, uri: str, folder: Path) -> dict[str, float]:
    """Return the ratios of one round."""
    stream, _ = timed(lambda: read_to_nothing(client))
    backup = create.back_up(client, DATABASE, create.Settings(folder=folder), progress=quiet)
    if TOOLS:
        theirs, their_size = mongodump(uri, folder / "mongodump")
    else:
        theirs, their_size = timed(lambda: gzip_to_nothing(client))
    archive = Path(backup["archive"])
    back, _ = timed(lambda: put_back(client, archive, crypt.Keys()))
    identity = pyrage.x25519.Identity.generate()
    sealed, _ = timed(
        lambda: create.back_up(
            client,
            DATABASE,
            create.Settings(
                folder=folder / "sealed",
                lock=crypt.Lock(recipients=(str(identity.to_public()),)),
            ),
            progress=quiet,
        )
    )
    ratios = {
        f"{REFERENCE} / dump": theirs / backup["seconds"]["dump"],
        f"{REFERENCE} / dump and verification": theirs / backup["elapsed"],
        "dump / the server's raw stream": backup["seconds"]["dump"] / stream,
        f"size / {REFERENCE}": backup["bytes"] / their_size,
        "restore / the server's raw stream": back / stream,
        "encrypted backup / plain backup": sealed / backup["elapsed"],
    }
    if TOOLS:
        dump = str(folder / "mongodump" / DATABASE)
        copy = f"{DATABASE}_copy"
        seconds, _ = timed(lambda: tool("mongorestore", "--gzip", "--uri", uri, "-d", copy, dump))
        client.drop_database(copy)
        ratios["mongorestore / restore"] = seconds / back
    shutil.rmtree(folder)
    return ratios


def main() -> None:
    """Measure, print, and write build/bench.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        ReplicaSet(Path(folder) / "servers", cache_gb=1) as servers,
        servers.client() as client,
    ):
        fill(client, arguments.documents)
        size = read_to_nothing(client)  # into the server's cache
        # The memory of the measuring itself counts too, so it is an upper limit.
        rounds = [
            measure(client, servers.uri("admin"), Path(folder) / "backups")
            for _ in range(arguments.rounds)
        ]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    goals: dict[str, dict[str, float]] = {
        "mongodump --gzip / dump": {"at_least": 4},
        "size / mongodump --gzip": {"at_most": 1.12},
        "mongorestore / restore": {"at_least": 1.5},
    }
    results = [
        report.Result.of(name, [one[name] for one in rounds], **goals.get(name, {}))
        for name in rounds[0]
    ]
    results.append(report.Result.of("memory of backup and restore, MiB", [peak], at_most=300))
    report.publish(
        "backup",
        results,
        note=f"{arguments.documents:,} documents, {size / 1e6:,.0f} MB of BSON, "
        f"{arguments.rounds} rounds",
    )


if __name__ == "__main__":
    main()
