"""State that release 1.0 has left, in every phase, is resumed, verified and rolled back exactly.

``tests/fixtures/state_1_0`` was made by release 1.0 itself, on a replica set and a standalone
server: the documents before, and then everything, its own collections included.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bson import json_util
from mongo_migration.document import definition
from mongo_migration.procedures import rollback, verify
from mongo_migration.procedures.work import Job
from pymongo.database import Database

from tests.support import torture
from tests.support.migrations import Deployment, failed

Db = Database[dict[str, Any]]

FOLDER = Path(__file__).parents[1] / "fixtures" / "state_1_0"
OPTIONS = json_util.JSONOptions(json_mode=json_util.JSONMode.CANONICAL, tz_aware=True)
MERGE = definition.load(
    """
id: "902"
name: merge-tags
summary: Tags of one name become one.
downtime: none
steps:
  - merge_duplicates:
      in: tags
      by: [name]
      keep: oldest
      when_different: merge
      referenced_by: {posts: tag}
""",
    "902-merge-tags.yml",
)


def load(db: Db, name: str) -> dict[str, Any]:
    """Fill *db* as the fixture says; return the documents from before the run."""
    text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    found = json_util.loads(text, json_options=OPTIONS)
    for collection, documents in found["collections"].items():
        if documents:
            db[collection].insert_many(documents)
        for index in found["indexes"].get(collection, ()):
            if index["name"] != "_id_":
                db[collection].create_index(list(index["key"].items()), name=index["name"])
    before: dict[str, Any] = found["before"]
    return before


def content(db: Db) -> dict[str, Any]:
    return {
        name: list(db[name].find().sort("_id", 1))
        for name in sorted(db.list_collection_names())
        if not name.startswith("_migrations")
    }


def roll_back(db: Db, what: definition.Definition) -> dict[str, Any]:
    return rollback.roll_back(
        Job(
            settings=torture.settings(),
            **torture.common(db),
        ),
        what.id,
        definition=what,
    )


def check(db: Db, what: definition.Definition, expect: str) -> list[str]:
    return failed(
        verify.verify(
            client=db.client, database=db.name, definition=what, expect=expect, operator={}
        )
    )


def take_through(db: Db, name: str) -> None:
    phase = name.partition("-")[2]
    what = MERGE if phase == "merged" else torture.DEFINITION
    before = load(db, name)
    if phase in ("interrupted", "failed"):
        assert torture.migrate(db, batch_size=10)["phase"] == "applied"
    if phase not in ("rolling_back", "rolled_back"):
        assert check(db, what, "applied") == []
    if phase != "rolled_back":
        assert roll_back(db, what)["phase"] == "rolled_back"
    assert check(db, what, "rolled_back") == []
    assert content(db) == before
    assert sorted(db["items"].index_information()) == ["_id_"]


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("replica_set-*.json")))
def test_on_a_replica_set(name: str, database: Db) -> None:
    take_through(database, name)


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("standalone-*.json")))
def test_on_a_standalone_server(name: str, standalone_deployment: Deployment) -> None:
    take_through(standalone_deployment.data, name)


def test_a_journal_of_1_0_of_which_a_part_is_gone_is_refused(database: Db) -> None:
    load(database, "replica_set-applied")
    database["_migrations_journal"].delete_one({"seq": 4})
    with pytest.raises(Exception, match="1 of the 9 journal entries"):
        roll_back(database, torture.DEFINITION)
