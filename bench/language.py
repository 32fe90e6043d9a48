"""What other changes than a new field cost: expressions, deletes, the team's own Python.

    python -m bench.language --documents 1000000 --rounds 3

Each against what somebody would write by hand, which can't be undone. The documents are those of
:mod:`.migration`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import bson
from mongo_migration.document import definition
from pymongo import UpdateOne, WriteConcern

from bench import report
from bench.migration import Bench, filled, timed

HEAD = """
id: "901"
name: bench
summary: Measures.
downtime: none
steps:
"""
RAISED = {"$round": [{"$multiply": ["$price", 1.1]}, 2]}
RAISE = """
  - update:
      collections: [items]
      set: {price: {expression: {$round: [{$multiply: [$price, 1.1]}, 2]}}}
"""
DELETE = """
  - delete: {collections: [items], where: {at: {$gte: 0}}}
"""
SLUG = """
  - update:
      collections: [items]
      set: {slug: {python: {file: 901_slug.py, function: slug, inputs: [$name]}}}
"""
FUNCTION = """
def slug(name):
    return name.lower().replace(" ", "-")
"""


def slug(name: str) -> str:
    """Return what the team's function does."""
    return name.lower().replace(" ", "-")


class Language:
    """The contenders of a filled database; each returns its seconds."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.items = bench.items

    def ours(self, steps: str) -> float:
        """Our migration of *steps*, journalled and resumable."""
        return self.bench.carried_out(
            definition.load(HEAD + steps, "901-bench.yml", files={"901_slug.py": FUNCTION})
        )

    def bare_expression(self) -> float:
        """One updateMany with the same pipeline."""
        return timed(lambda: self.items.update_many({}, [{"$set": {"price": RAISED}}]))

    def prices(self) -> dict[Any, float]:
        """Return what a rollback by hand would have to know."""
        return {row["_id"]: row["price"] for row in self.items.find({}, {"price": 1})}

    def given_back(self, prices: dict[Any, float]) -> float:
        """A bulk_write of UpdateOne, a thousand a call, of values kept in memory."""
        return timed(
            lambda: self._in_bulk(
                UpdateOne({"_id": identity}, {"$set": {"price": price}})
                for identity, price in prices.items()
            )
        )

    def bare_delete(self) -> float:
        """One deleteMany, of a copy with the same indexes."""
        self.items.aggregate([{"$out": "copy"}])
        copy = self.bench.database["copy"].with_options(write_concern=WriteConcern("majority"))
        for key in ("sku", "createdBy", "at"):
            copy.create_index(key)
        seconds = timed(lambda: copy.delete_many({"at": {"$gte": 0}}))
        copy.drop()
        return seconds

    def loop(self) -> float:
        """The same function, called in a loop over all documents that writes in bulk."""
        seconds = timed(
            lambda: self._in_bulk(
                UpdateOne({"_id": row["_id"]}, {"$set": {"slug": slug(row["name"])}})
                for row in self.items.find({}, {"name": 1})
            )
        )
        self.items.update_many({}, {"$unset": {"slug": ""}})
        return seconds

    def journal(self) -> int:
        """Return the size of the journal in bytes, uncompressed."""
        size = self.bench.database.command("collStats", "_migrations_journal")["size"]
        return int(size)

    def _in_bulk(self, updates: Iterator[UpdateOne]) -> None:
        pending: list[UpdateOne] = []
        for update in updates:
            pending.append(update)
            if len(pending) == 1000:
                self.items.bulk_write(pending)
                pending = []
        if pending:
            self.items.bulk_write(pending)


def measure(bench: Bench, rounds: int) -> list[report.Result]:
    """Run all of them, in alternation."""
    at = Language(bench)
    images = sum(
        len(bson.encode({"_id": identity, "price": price}))
        for identity, price in at.prices().items()
    )
    whole = bench.database.command("collStats", "items")["size"]
    expression, back, kept = [], [], []
    for _ in range(rounds):
        prices = at.prices()
        bare = at.bare_expression()
        by_hand = at.given_back(prices)
        expression.append(at.ours(RAISE) / bare)
        kept.append(at.journal() / images)
        back.append(bench.undo() / by_hand)
    delete, deleted = [], []
    for _ in range(rounds):
        bare = at.bare_delete()
        delete.append(at.ours(DELETE) / bare)
        deleted.append(at.journal() / whole)
        bench.undo()
    python = [_there_and_back(at, SLUG) / at.loop() for _ in range(rounds)]
    of: Callable[..., report.Result] = report.Result.of
    return [
        of("update by an expression / updateMany", expression, at_most=1.5),
        of("its rollback / bulk_write of UpdateOne", back, at_most=1),
        of("its journal / before-images", kept, at_most=1.2),
        of("delete / bare deleteMany", delete, at_most=3),
        of("its journal / documents", deleted, at_most=1.2),
        of("the team's Python / a loop by hand", python, at_most=1),
    ]


def _there_and_back(at: Language, steps: str) -> float:
    seconds = at.ours(steps)
    at.bench.undo()
    return seconds


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--organizations", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with filled(asked.documents, asked.organizations) as (bench, _uri):
        results = measure(bench, asked.rounds)
    report.publish(
        "language", results, note=f"{asked.documents:,} documents, {asked.rounds} rounds"
    )


if __name__ == "__main__":
    main()
