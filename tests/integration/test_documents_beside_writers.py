"""``update``, ``move``, ``extract`` and ``change_id`` while an application goes on writing.

The application remembers what the server acknowledged: no increment of it is lost, no document that
it inserted is left behind, and none that it deleted comes back.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from mongo_migration.document import definition
from pymongo.database import Database

from tests.support import torture
from tests.support.migrations import Deployment, failed

Db = Database[dict[str, Any]]
DOCUMENTS = 300
HEAD = 'id: "980"\nname: live\nsummary: One step.\nafter: []\ndowntime: none\nsteps:\n'

TO_NUMBERS = HEAD + (
    "  - update: {collections: [items], where: {price: {$type: string}},"
    " set: {price: {expression: {$toInt: $price}}}}\n"
)
NEGATE = HEAD + (
    "  - update: {collections: [items], set: {price: {expression: {$concat: ['-', $price]}}}}\n"
)
TWO_HOPS = HEAD + (
    "  - update: {collections: [items], where: {of: {$exists: false}}, let: {"
    " order: {reference: {from: orders, match: {item: $number}, take: _id, otherwise: null}},"
    " of: {reference: {from: orders, match: {_id: $$order}, take: item, otherwise: none}}},"
    " set: {of: {expression: $$of}}}\n"
)
MOVE = HEAD + "  - move: {from: [items], into: moved, set: {moved: {value: true}}}\n"
EXTRACT = HEAD + (
    "  - extract: {from: items, field: parts, into: parts, document: {of: $_id, part: $$this}}\n"
)
NEW_ID = HEAD + (
    "  - change_id: {in: items, where: {_id: {$type: int}}, id: {expression: {$toString: $_id}},"
    " referenced_by: {orders: item}}\n"
)


class Application:
    """Increments, inserts and deletes, wherever the document is by now."""

    def __init__(self, db: Db, *, names: tuple[str, ...], ids: Callable[[int], list[Any]]) -> None:
        self._places = [db[name] for name in names]
        self._ids = ids
        self._dice = random.Random(5)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.increments: Counter[int] = Counter()
        self.numbers = list(range(DOCUMENTS))
        self.deleted: set[int] = set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ended.is_set():
            dice, number = self._dice.random(), self._dice.choice(self.numbers)
            if dice < 0.2:
                self._insert()
            elif dice < 0.3 and number not in self.deleted:
                self._delete(number)
            else:
                self._increment(number)
            time.sleep(0.002)

    def _insert(self) -> None:
        number = len(self.numbers)
        self._places[0].insert_one(item(number))
        self.numbers.append(number)

    def _delete(self, number: int) -> None:
        if any(place.delete_one({"number": number}).deleted_count for place in self._places):
            self.deleted.add(number)

    def _increment(self, number: int) -> None:
        for place in self._places:
            if place.update_one({"number": number}, {"$inc": {"n": 1}}).matched_count:
                self.increments[number] += 1
                return


def item(number: int) -> dict[str, Any]:
    return {"_id": number, "number": number, "n": 0, "price": str(number), "parts": ["x", number]}


@contextmanager
def beside(db: Db, *names: str) -> Iterator[Application]:
    """Fill `items`, and let an application work on them until the block ends."""
    db.items.insert_many(map(item, range(DOCUMENTS)))
    db.orders.insert_many({"_id": n, "item": n} for n in range(DOCUMENTS))
    application = Application(db, names=names or ("items",), ids=lambda n: [n])
    application.start()
    try:
        yield application
    finally:
        application.stop()


def run(deployment: Deployment, text: str, **more: Any) -> None:
    torture.migrate(
        deployment.data,
        definition=definition.load(text, "980-live.yml"),
        batch_size=20,
        lease_seconds=30,
        **more,
    )


def assert_nothing_lost(application: Application, rows: list[dict[str, Any]]) -> None:
    """Each document is there once, with all that was written to it."""
    found = Counter(row["number"] for row in rows)
    assert set(found.values()) == {1}
    assert set(found) == set(application.numbers) - application.deleted
    assert {row["number"]: row["n"] for row in rows if row["n"]} == {
        number: count
        for number, count in application.increments.items()
        if number not in application.deleted
    }


@pytest.fixture(params=["deployment", "standalone_deployment"])
def either(request: pytest.FixtureRequest) -> Deployment:
    found: Deployment = request.getfixturevalue(request.param)
    return found


def test_an_update_converts_all_that_comes_and_overwrites_nothing(either: Deployment):
    with beside(either.data) as application:
        run(either, TO_NUMBERS)
    # What came after the last look keeps its text, and the next run finds it.
    rows = list(either.data.items.find())
    assert_nothing_lost(application, rows)
    late = [row for row in rows if isinstance(row["price"], str)]
    assert all(row["number"] >= DOCUMENTS for row in late)
    assert {int(row["price"]) == row["number"] for row in rows} == {True}


def test_what_two_look_ups_find_goes_to_its_own_document_beside_writers(either: Deployment):
    with beside(either.data) as application:
        run(either, TWO_HOPS)
    rows = list(either.data.items.find())
    assert_nothing_lost(application, rows)
    assert all(row["number"] >= DOCUMENTS for row in rows if "of" not in row)
    for row in rows:
        assert row.get("of", "none") == (row["number"] if row["number"] < DOCUMENTS else "none")
    assert failed(either.verify((TWO_HOPS, "980-live.yml"))) == []


def test_an_update_that_nothing_tells_is_done_once_beside_writers(either: Deployment):
    with beside(either.data) as application:
        run(either, NEGATE)
    rows = list(either.data.items.find())
    assert_nothing_lost(application, rows)
    assert {row["price"].count("-") for row in rows if row["number"] < DOCUMENTS} == {1}
    assert {row["price"].count("-") for row in rows} <= {0, 1}
    what = NEGATE, "980-live.yml"
    assert failed(either.verify(what)) == []
    either.roll_back("980")
    after = list(either.data.items.find())
    assert_nothing_lost(application, after)
    assert {row["price"].count("-") for row in after} == {0}


def test_a_move_takes_along_what_is_written_meanwhile(deployment: Deployment):
    db = deployment.data
    with beside(db, "items", "moved") as application:
        run(deployment, MOVE)
    assert_nothing_lost(application, [*db.items.find(), *db.moved.find()])
    assert all(row["number"] >= DOCUMENTS for row in db.items.find())


def test_an_extraction_leaves_all_else_of_its_owners_alone(either: Deployment):
    db = either.data
    with beside(db) as application:
        run(either, EXTRACT)
    rows = list(db.items.find())
    assert_nothing_lost(application, rows)
    assert all(row["number"] >= DOCUMENTS for row in rows if "parts" in row)
    parts = Counter(row["of"] for row in db.parts.find())
    assert set(parts.values()) == {2}
    assert {row["_id"] for row in rows if "parts" not in row} <= set(parts)


def test_new_ids_keep_what_was_written_and_referred_to_meanwhile(deployment: Deployment):
    db = deployment.data
    with beside(db) as application:
        run(deployment, NEW_ID)
    rows = list(db.items.find())
    assert_nothing_lost(application, rows)
    assert all(str(row["_id"]) == str(row["number"]) for row in rows)
    assert all(row["number"] >= DOCUMENTS for row in rows if isinstance(row["_id"], int))
    there = {row["_id"] for row in rows}
    dangling = [row["_id"] for row in db.orders.find() if row["item"] not in there]
    assert set(dangling) <= application.deleted
