"""What is to be pasted into mongosh ends no string and names any collection."""

from __future__ import annotations

import json
import re

import pytest
from mongo_migration.support import mongosh

HOSTILE = ["'); db.dropDatabase(); ('", '"); db.dropDatabase(); ("', "a\\", "a\n", "a\u2028", "ä"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_stays_one_string(name: str):
    said = mongosh.drop_index(name, name)
    found = re.fullmatch(r"db\.getCollection\((.*)\)\.dropIndex\((.*)\)", said)
    assert found is not None
    assert [json.loads(text) for text in found.groups()] == [name, name]
    assert said.isascii()
    assert said.isprintable()


def test_a_collection_that_begins_with_an_underscore_is_no_property_of_db():
    assert mongosh.collection("_migrations") == 'db.getCollection("_migrations")'


@pytest.mark.parametrize("name", HOSTILE)
def test_a_command_names_it_as_one_string_too(name: str):
    command = {"collMod": name, "index": {"name": name, "prepareUnique": False}}
    said = mongosh.run(command, database=name)
    found = re.fullmatch(r"db\.getSiblingDB\((.*)\)\.runCommand\((.*)\)", said)
    assert found is not None
    assert [json.loads(text) for text in found.groups()] == [name, command]
    assert mongosh.run({"ping": 1}) == 'db.runCommand({"ping": 1})'
