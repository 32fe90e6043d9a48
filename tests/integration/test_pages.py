"""docs/operations: the example of each page does what the page says, and is undone exactly."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from mongo_migration.operations.registry import OPERATIONS
from mongo_migration.procedures import migrate, rollback
from mongo_migration.values import ejson

from embedded.mongod import ReplicaSet
from tests.integration.test_corpus import job, there_and_back
from tests.support import corpus, databases
from tests.support.playbooks import ROOT
from tests.support.snapshot import differences, snapshot

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


# Its example needs a program, and what that writes isn't journalled: a test of its own, below.
_EXACT = [page for page in PAGES if page.stem != "command"]


@pytest.mark.parametrize("page", _EXACT, ids=[page.stem for page in _EXACT])
def test_the_example_of_each_page_does_what_it_says(page: Path, pair: Any):
    case = example_of(page)
    assert case.before != case.after or case.indexes or case.collections
    assert page.stem in case.document
    there_and_back(case, *pair, each_once=False)


def test_every_operation_has_a_page_and_every_page_is_found():
    assert {page.stem for page in PAGES} == set(OPERATIONS)
    guide = (ROOT / "docs" / "writing-migrations.md").read_text(encoding="utf-8")
    for name in OPERATIONS:
        assert f"[`{name}`](operations/{name}.md)" in guide, name


_NPM = """#!/bin/sh
exec {python} -c '
import os, sys
from pymongo import MongoClient
items = MongoClient(os.environ["MONGO_URI"])["{database}"]["items"]
assert os.environ["NODE_ENV"] == "production"
if sys.argv[2] == "migrate:up":
    items.update_many({{}}, {{"$set": {{"price": 1}}}})
else:
    items.update_many({{}}, {{"$unset": {{"price": ""}}}})
' "$@"
"""


def test_the_example_of_a_command_does_what_it_says(
    pair: Any, replica_set: ReplicaSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    db, wanted = pair
    case = example_of(ROOT / "docs" / "operations" / "command.md")
    npm = tmp_path / "npm"
    npm.write_text(_NPM.format(python=sys.executable, database=db.name))
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    case = replace(case, document=case.document.replace("/srv/app", str(tmp_path)))
    corpus.fill(db, case, "before")
    corpus.fill(wanted, case, "after")
    before = snapshot(db)
    secrets = {"MONGO_URI": replica_set.uri()}
    migrate.migrate(job(db, secrets=secrets), case.load())
    corpus.assert_after(db, wanted, case)
    rollback.roll_back(job(db, secrets=secrets), case.load().id, case.load())
    assert differences(before, snapshot(db)) == []
