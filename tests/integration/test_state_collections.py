"""Our records lie in plain collections: what else has their name is refused by it."""

from __future__ import annotations

from typing import Any

import pytest
from mongo_migration.ledger.state_format import StateError
from mongo_migration.procedures import status
from pymongo.database import Database

from tests.support import torture
from tests.support.snapshot import snapshot

Db = Database[dict[str, Any]]
OURS = ("_migrations", "_migrations_journal")


def _copied(db: Db, name: str, **options: Any) -> None:
    """Put a collection with *options* and the same documents in the place of *name*."""
    documents = list(db[name].find())
    db[name].drop()
    db.create_collection(name, **options)
    db[name].insert_many(documents)


def _a_view(db: Db, name: str) -> None:
    db.client.admin.command(
        {"renameCollection": f"{db.name}.{name}", "to": f"{db.name}.was"}, comment="hostile"
    )
    db.command({"create": name, "viewOn": "was", "pipeline": [{"$match": {"seq": {"$ne": 3}}}]})


ODD = {
    "a view": _a_view,
    "a capped collection": lambda db, name: _copied(db, name, capped=True, size=1 << 20),
    "a collection with a collation": lambda db, name: _copied(
        db, name, collation={"locale": "en", "strength": 2}
    ),
    "a collection with a validator": lambda db, name: db.command(
        {"collMod": name, "validator": {"never": True}}
    ),
}


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("kind", ODD)
def test_what_isnt_a_plain_collection_is_refused_by_name(database: Db, kind: str, name: str):
    torture.fill(database)
    torture.migrate(database)
    ODD[kind](database, name)
    before = snapshot(database)
    for work in (
        torture.migrate,
        torture.roll_back,
        lambda db: status.describe(client=db.client, database=db.name, definition=None),
    ):
        with pytest.raises(StateError) as refused:
            work(database)
        assert f"{database.name}.{name} is {kind}" in refused.value.message
    assert snapshot(database) == before
