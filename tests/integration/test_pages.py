"""docs/operations: the example of each page does what the page says, and is undone exactly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from mongo_migration.values import ejson

from embedded.mongod import ReplicaSet
from tests.integration.test_corpus import there_and_back
from tests.support import corpus, databases
from tests.support.playbooks import ROOT

PAGES = sorted((ROOT / "docs" / "operations").glob("*.md"))
# What a block of a page's example begins with.
_PARTS = ("before", "after", "besides")


def example_of(page: Path) -> corpus.Case:
    """Return the example of *page*: a document, then the data before and after, and what else."""
    blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (document,) = [block for block in blocks if block.startswith("id: ")]
    parts = {
        name: yaml.safe_load(block) or {}
        for name in _PARTS
        for block in blocks
        if block.startswith(f"# {name}\n")
    }
    besides = parts.pop("besides", {})
    return corpus.Case(
        name=page.stem, need="", document=document, **ejson.from_plain({**parts, **besides})
    )


@pytest.fixture
def pair(replica_set: ReplicaSet) -> Iterator[tuple[corpus.Db, corpus.Db]]:
    """A database to migrate, and one to hold what is wanted."""
    with ExitStack() as stack:
        admin = stack.enter_context(replica_set.client())
        yield (
            stack.enter_context(databases.fresh(admin, roles=False)),
            stack.enter_context(databases.fresh(admin, roles=False)),
        )


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_the_example_of_each_page_does_what_it_says(page: Path, pair: Any):
    case = example_of(page)
    assert case.before != case.after or case.indexes or case.collections
    assert page.stem in case.document
    there_and_back(case, *pair, each_once=False)
