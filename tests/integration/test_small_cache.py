"""A batch whose changes don't fit the server's cache is halved, there and back, until it fits."""

from __future__ import annotations

from typing import Any

import pytest
from mongo_migration.ledger import batches
from mongo_migration.operations import field_groups

from tests.support.migrations import Deployment, failed

DOCUMENT = (
    """
id: "901"
name: coloured
summary: A field that is part of indexes over a long array.
downtime: recommended
steps:
  - set_field: {collections: [items], field: colour, value: {value: red}}
""",
    "901-coloured.yml",
)
DOCUMENTS = 160


@pytest.fixture
def wide(deployment: Deployment) -> Deployment:
    """Each document has 300 entries in each of four indexes, all of which a new colour changes."""
    items = deployment.data["items"]
    tags = [f"tag {number}" for number in range(300)]
    items.insert_many([{"_id": number, "tags": tags} for number in range(DOCUMENTS)])
    for number in range(4):
        items.create_index([("colour", 1), ("tags", 1), (f"other{number}", 1)])
    return deployment


@pytest.mark.slow
def test_a_batch_that_does_not_fit_the_cache_is_halved_there_and_back(
    wide: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_DIVISIBLE_SECONDS", 0.1)
    wide.batch_size = 10_000
    before = wide.content()
    parts: list[Any] = []
    slice_ = field_groups._slice
    monkeypatch.setattr(
        field_groups, "_slice", lambda *given: parts.append(given[1:]) or slice_(*given)
    )

    done = wide.migrate(DOCUMENT, writers_stopped=True)

    assert done["modified"] == DOCUMENTS
    sizes = [sum(len(group["ids"]) for group in entry["groups"]) for entry in wide.journal()]
    assert sum(sizes) == DOCUMENTS
    assert max(sizes) < DOCUMENTS, "the server takes all of it at once: the test is too small"
    assert wide.data["items"].count_documents({"colour": "red"}) == DOCUMENTS
    assert failed(wide.verify(DOCUMENT)) == []

    # As an entry of a time when the server took more.
    first = wide.journal()[0]
    groups = [{"value": "red", "ids": list(range(DOCUMENTS))}]
    state = wide.data["_migrations_journal"]
    state.delete_many({"run": first["run"], "seq": {"$ne": first["seq"]}})
    state.update_one({"_id": first["_id"]}, {"$set": {"groups": groups}})
    wide.data["_migrations"].update_one({"_id": first["run"]}, {"$set": {"seq": first["seq"]}})
    back = wide.roll_back("901")

    assert back["phase"] == "rolled_back"
    assert (back["restored"], back["conflict_count"]) == (DOCUMENTS, 0)
    assert len(parts) > 1
    assert wide.content() == before
