"""What the engine costs against the server's own limit, as ratios of runs that alternate.

    python -m bench.migration --documents 200000 --rounds 3

Every contender does the same change to the same documents, of about 500 bytes with three indexes,
with ``w: majority``. The server is the embedded one-member replica set.
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bson import ObjectId
from mongo_migration.document import definition
from mongo_migration.pace.throttle import Limits
from mongo_migration.procedures import migrate as runner
from mongo_migration.procedures import plan, rollback, verify
from mongo_migration.procedures.work import Job
from mongo_migration.support import stop
from mongo_migration.support.progress import quiet
from pymongo import MongoClient, UpdateOne, WriteConcern

from bench import report
from embedded.mongod import ReplicaSet

DATABASE = "bench_migration"
MIGRATION = "900"
FIELD = "organizationId"
WORDS = ("steel", "bolt", "invoice", "paid", "net", "gross", "Mumbai", "Pune", "draft", "unit")
BY_OWNER = "{reference: {from: users, match: {_id: $createdBy}, take: organizationId}}"
DOCUMENT = """
id: "{id}"
name: bench
summary: Gives every item its organization.
downtime: none
steps:
  - set_field:
      collections: [items]
      field: organizationId
      type: objectId
      value: {value}
"""


class Bench:
    """A filled database and the contenders."""

    def __init__(self, client: MongoClient[dict[str, Any]], documents: int, organizations: int):
        self.client = client
        self.documents = documents
        self.database = client[DATABASE]
        self.items = self.database["items"].with_options(write_concern=WriteConcern("majority"))
        self._fill(organizations)

    def _fill(self, organizations: int) -> None:
        chance = random.Random(7)
        self.client.drop_database(DATABASE)
        ids = [ObjectId() for _ in range(organizations)]
        users = [ObjectId() for _ in range(organizations * 3)]
        self.organization = ids[0]
        self.database["organizations"].insert_many([{"_id": one} for one in ids])
        self.database["users"].insert_many(
            [{"_id": user, FIELD: chance.choice(ids)} for user in users]
        )
        notes = [" ".join(chance.choices(WORDS, k=60)) for _ in range(1000)]
        for start in range(0, self.documents, 10_000):
            self.database["items"].insert_many(
                [
                    {
                        "name": f"item {number}",
                        "sku": chance.randrange(10**9),
                        "createdBy": chance.choice(users),
                        "price": round(chance.random() * 1000, 2),
                        "at": number,
                        "note": chance.choice(notes),
                    }
                    for number in range(start, min(self.documents, start + 10_000))
                ],
                ordered=False,
            )
        for key in ("sku", "createdBy", "at"):
            self.database["items"].create_index(key)

    # -- contenders: each returns its seconds ------------------------------------------------

    def bare_update(self) -> float:
        """One updateMany: the server's limit, and a foreground that stands still."""
        return timed(
            lambda: self.items.update_many(
                {FIELD: {"$exists": False}}, {"$set": {FIELD: self.organization}}
            )
        )

    def bare_unset(self) -> float:
        """One $unset over all."""
        return timed(lambda: self.items.update_many({}, {"$unset": {FIELD: ""}}))

    def bulk_of_single_updates(self) -> float:
        """A bulk_write of UpdateOne, a thousand a call, as many migration scripts do it."""

        def run() -> None:
            pending: list[UpdateOne] = []
            for row in self.items.find({FIELD: {"$exists": False}}, {"_id": 1}):
                change = {"$set": {FIELD: self.organization}}
                pending.append(UpdateOne({"_id": row["_id"]}, change))
                if len(pending) == 1000:
                    self.items.bulk_write(pending)
                    pending = []
            if pending:
                self.items.bulk_write(pending)

        return timed(run)

    def runbook_loop(self) -> float:
        """The runbook's loop as it was meant: find 1000 missing, update, wait 100 ms."""

        def run() -> None:
            while True:
                rows = self.items.find({FIELD: {"$exists": False}}, {"_id": 1}).limit(1000)
                ids = [row["_id"] for row in rows]
                if not ids:
                    return
                self.items.update_many({"_id": {"$in": ids}}, {"$set": {FIELD: self.organization}})
                time.sleep(0.1)

        return timed(run)

    def engine(self, value: str | None = None) -> float:
        """Our migration, journalled and resumable, as under the write block; without its plan."""
        return self.carried_out(self.definition(value))

    def carried_out(self, bound: definition.Definition) -> float:
        """Carry out any migration like that."""
        planned = timed(lambda: plan.make(self.client, DATABASE, bound))
        whole = timed(
            lambda: self.migrate(bound, runner.Settings(writers_stopped=True, limits=Limits()))
        )
        run = self.database["_migrations"].find_one({"kind": "run"}, sort=[("number", -1)]) or {}
        entered = {item["phase"]: item["at"] for item in run["history"]}
        # The digests from before are verification's time: see `verification`.
        self.digested = (
            (run["batches_began"] - entered["running"]).total_seconds()
            if ("batches_began" in run)
            else 0.0
        )
        return whole - planned - self.digested

    def migrate(self, bound: definition.Definition, settings: runner.Settings) -> dict[str, Any]:
        """Run the engine as the module does; what is undone or verified next is this."""
        self.bound = bound
        return runner.migrate(self._job(settings), bound)

    def _job(self, settings: runner.Settings) -> Job:
        return Job(
            client=self.client,
            database=DATABASE,
            settings=settings,
            change={},
            operator={"user": "bench", "host": "localhost", "pid": 0},
            progress=quiet,
            stop=stop.StopSignal(),
        )

    def undo(self) -> float:
        """Our rollback of that."""
        seconds = timed(
            lambda: rollback.roll_back(
                self._job(runner.Settings()),
                self.bound.id,
                definition=self.bound,
            )
        )
        self.forget()
        return seconds

    def verification(self, *, alone: bool) -> float:
        """Every check: with the digests of all documents, or of each value that was written.

        Args:
            alone: nobody has written since, so that digests from before and now are compared; else
                as beside writers, where each value is.
        """
        return timed(
            lambda: verify.verify(
                client=self.client,
                database=DATABASE,
                definition=self.bound,
                record=False,
                alone=alone,
            )
        )

    def forget(self) -> None:
        """Drop the state, so that the next round is a first one."""
        for name in ("_migrations", "_migrations_journal"):
            self.database[name].drop()

    def definition(self, value: str | None) -> definition.Definition:
        """Return the migration, with a constant where no *value* is given."""
        constant = f'{{value: {{$oid: "{self.organization}"}}}}'
        return definition.load(DOCUMENT.format(id=MIGRATION, value=value or constant))


@contextmanager
def filled(documents: int, organizations: int) -> Iterator[tuple[Bench, str]]:
    """Give a bench with this much data on a server of its own, and the server's URI."""
    with tempfile.TemporaryDirectory() as folder:
        server = ReplicaSet(Path(folder) / "server", cache_gb=2.0)
        server.start()
        try:
            with server.client() as client:
                yield Bench(client, documents, organizations), server.uri()
        finally:
            server.stop()


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds *work* took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def against(first: Callable[[], float], second: Callable[[], float], rounds: int) -> list[float]:
    """Return first/second of *rounds* alternating rounds."""
    return [first() / second() for _ in range(rounds)]


def measure(bench: Bench, rounds: int, *, loop: bool) -> list[report.Result]:
    """Run all contenders against each other."""
    results = []
    update, undo, stopped, live = [], [], [], []
    journal_bytes = 0.0
    for _ in range(rounds):
        bare = bench.bare_update()
        unset = bench.bare_unset()
        ours = bench.engine()
        stopped.append((bench.digested + bench.verification(alone=True)) / ours)
        live.append(bench.verification(alone=False) / ours)
        size = bench.database.command("collStats", "_migrations_journal")["size"]
        journal_bytes = size / bench.documents * 1e6
        update.append(ours / bare)
        undo.append(bench.undo() / unset)
    results.append(report.Result.of("migrate / bare updateMany", update, at_most=1.15))
    results.append(report.Result.of("rollback / bare $unset", undo, at_most=1.25))
    results.append(report.Result.of("verification, stopped / migration", stopped, at_most=0.5))
    results.append(report.Result.of("verification, live / migration", live, at_most=0.5))
    results.append(
        report.Result.of("journal, MB per million documents", [journal_bytes / 1e6], at_most=20)
    )

    def ours_and_back() -> float:
        seconds = bench.engine()
        bench.undo()
        return seconds

    def theirs(contender: Callable[[], float]) -> float:
        seconds = contender()
        bench.bare_unset()
        return seconds

    owned = []
    for _ in range(rounds):
        by_owner = bench.engine(BY_OWNER)
        bench.undo()
        owned.append(by_owner / ours_and_back())
    results.append(report.Result.of("value by reference / constant value", owned, at_most=1.5))
    # So far, nothing but our engine has worked in this process since the filling.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    results.append(report.Result.of("memory of the engine, MiB", [peak], at_most=150))
    single = against(lambda: theirs(bench.bulk_of_single_updates), ours_and_back, rounds)
    results.append(report.Result.of("bulk_write of UpdateOne / migrate", single))
    if loop:
        slow = against(lambda: theirs(bench.runbook_loop), ours_and_back, 1)
        results.append(report.Result.of("the runbook's loop / migrate", slow, at_least=20))
    return results


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--organizations", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-loop", action="store_true", help="leave the slow runbook loop out")
    asked = parser.parse_args()
    with filled(asked.documents, asked.organizations) as (bench, _uri):
        results = measure(bench, asked.rounds, loop=not asked.no_loop)
    report.publish(
        "migration", results, note=f"{asked.documents:,} documents, {asked.rounds} rounds"
    )


if __name__ == "__main__":
    main()
