"""A batch whose changes don't fit the server's cache is halved, there and back, until it fits.

Of every operation that writes documents, and of every kind of journal entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from mongo_migration.ledger import batches

from tests.conftest import CACHE_GB
from tests.support.migrations import Deployment, failed

# A deletion changes less than half of what an update does.
DOCUMENTS = {"delete": 450, "insert_for_each": 450, "move": 450, "extract": 450}
_OTHERS = 160
HEAD = """
id: "901"
name: wide
summary: Documents with many index entries.
downtime: recommended
steps:
"""
STEPS = {
    "set_field": """
  - set_field: {collections: [items], field: colour, value: {value: red}}
""",
    "update": """
  - update: {collections: [items], set: {colour: {value: red}}}
""",
    "delete": """
  - delete: {collections: [items], where: {tags: tag 0}}
""",
    "insert_for_each": """
  - insert_for_each:
      from: seeds
      into: items
      key: [seed]
      document: {seed: $_id, tags: $tags, colour: blue}
""",
    "merge_duplicates": """
  - merge_duplicates:
      in: seeds
      by: [twin]
      keep: oldest
      referenced_by: {items: seed}
""",
    "move": """
  - move: {from: [items], into: moved}
""",
    "change_id": """
  - change_id: {in: items, id: {generate: objectId}, referenced_by: {}}
""",
    "extract": """
  - extract: {from: seeds, field: parts, into: items, document: {$mergeObjects: [$$this]}}
""",
}


@pytest.fixture
def resize(client: Any) -> Iterator[Callable[[float], None]]:
    """Give the server another cache while it runs."""

    def to(gigabytes: float) -> None:
        size = f"{int(gigabytes * 1024)}MB"
        client.admin.command("setParameter", 1, wiredTigerEngineRuntimeConfig=f"cache_size={size}")

    yield to
    to(CACHE_GB)


def fill(deployment: Deployment, documents: int) -> None:
    """Each document has 300 entries in each of four indexes, all of which a new colour changes."""
    data = deployment.data
    tags = [f"tag {number}" for number in range(300)]
    data["items"].insert_many(
        [{"_id": number, "tags": tags, "seed": 1} for number in range(documents)]
    )
    data["seeds"].insert_many(
        [
            {"_id": number, "tags": tags, "twin": max(number, 1), "parts": [{"tags": tags}]}
            for number in range(documents)
        ]
    )
    for number in range(4):
        keys = [("colour", 1), ("seed", 1), ("tags", 1), (f"other{number}", 1)]
        data["items"].create_index(keys)
    deployment.batch_size = 10_000


def entries(wide: Deployment, run: str) -> list[dict[str, Any]]:
    return list(wide.data["_migrations_journal"].find({"run": run}))


def batches_of(wide: Deployment, run: str) -> int:
    found = wide.data["_migrations"].find_one({"_id": run})
    assert found is not None
    return int(found["counts"]["batches"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "operation",
    [pytest.param(name, marks=[] if name == "update" else pytest.mark.torture) for name in STEPS],
)
def test_a_batch_that_does_not_fit_the_cache_is_halved_there_and_back(
    operation: str,
    deployment: Deployment,
    resize: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "DIVISIBLE_SECONDS", 0.1)
    wide = deployment
    fill(wide, DOCUMENTS.get(operation, _OTHERS))
    document = (HEAD + STEPS[operation], "901-wide.yml")
    before = wide.content()

    run = wide.migrate(document, writers_stopped=True)["run"]

    parts = len(entries(wide, run))
    assert parts > 1, "the server takes all of it at once: the test is too small"
    assert failed(wide.verify(document)) == []
    after = wide.content()
    assert after != before
    assert wide.roll_back("901")["conflict_count"] == 0
    assert wide.content() == before

    # A journal from a time when the server took all of it at once, and back where it doesn't.
    resize(2)
    run = wide.migrate(document, writers_stopped=True)["run"]
    assert len(entries(wide, run)) < parts
    forth = batches_of(wide, run)
    resize(CACHE_GB)
    back = wide.roll_back("901")
    assert (back["phase"], back["conflict_count"]) == ("rolled_back", 0)
    assert batches_of(wide, run) - forth > len(entries(wide, run)), "undone in more than one part"
    assert wide.content() == before
    assert failed(wide.verify(document, "rolled_back")) == []
