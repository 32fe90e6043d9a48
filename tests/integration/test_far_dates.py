"""A validator or a partial index may name a date that Python doesn't know."""

from __future__ import annotations

from pathlib import Path

from bson.datetime_ms import DatetimeMS
from mongo_migration.document import definition
from mongo_migration.procedures import plan, rollback, status
from mongo_migration.server import connection
from mongo_migration.support import listing

from embedded.mongod import ReplicaSet
from tests.support import backups, torture
from tests.support.snapshot import snapshot
from tests.support.torture import Db

FAR = DatetimeMS(1 << 50)  # in the year 37648
EARLIER = {"$or": [{"when": {"$exists": False}}, {"when": {"$lt": FAR}}]}
BY_EXPRESSION = {
    "$expr": {"$or": [{"$eq": [{"$type": "$when"}, "missing"]}, {"$lt": ["$when", FAR]}]}
}
PARTLY = {"name": "far", "key": {"when": 1}, "partialFilterExpression": {"when": {"$lt": FAR}}}
NAMES = ("items", "entries")
ANOTHER = """
id: "902"
name: validator
summary: Another validator.
downtime: none
steps:
  - validate: {collections: [items], validator: {n: {$exists: true}}}
"""


def test_they_are_in_the_way_of_nothing(
    replica_set: ReplicaSet, database: Db, tmp_path: Path
) -> None:
    """By a client as the modules make it, which knows such dates in documents."""
    given = {"uri": replica_set.uri("admin"), "database": database.name}
    with connection.connect(given) as client:
        there_and_back(client[database.name], tmp_path)


def there_and_back(database: Db, tmp_path: Path) -> None:
    torture.fill(database)
    for name in NAMES:
        rule = {"$and": [EARLIER, BY_EXPRESSION]}
        database.command({"collMod": name, "validator": rule})
        database.command({"createIndexes": name, "indexes": [PARTLY]})
    options = {name: listing.options_of(database[name]) for name in NAMES}
    before = snapshot(database)
    client, another = database.client, definition.load(ANOTHER, "902-validator.yml")

    assert not plan.make(client, database.name, torture.DEFINITION)["problems"]
    archive = Path(backups.take(client, database.name, tmp_path)["archive"])
    torture.migrate(database)
    torture.assert_verified(database)
    torture.roll_back(database)
    assert snapshot(database) == before

    torture.migrate(database, definition=another)
    assert listing.options_of(database["items"])["validator"] == {"n": {"$exists": True}}
    rollback.roll_back(torture._job(database), "902", another)
    assert {name: listing.options_of(database[name]) for name in NAMES} == options

    status.describe(client=client, database=database.name, definition=another)
    backups.put_back(client, database.name, archive)
    assert snapshot(database) == before
    assert {name: listing.options_of(database[name]) for name in NAMES} == options
