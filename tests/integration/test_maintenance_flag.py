"""The maintenance flag in a document of the application's database."""

from __future__ import annotations

from typing import Any

import pytest
from bson import ObjectId
from mongo_migration.maintenance import flag_document
from mongo_migration.maintenance.flag_document import FlagError
from pymongo.database import Database

Data = Database[dict[str, Any]]

FLAG: dict[str, Any] = {"collection": "settings", "filter_": {"_id": "maintenance"}, "field": "on"}


def test_the_document_is_made_set_and_left_alone_when_it_is_right(database: Data) -> None:
    assert flag_document.set_field(database, **FLAG, value=True)["changed"]
    assert list(database["settings"].find()) == [{"_id": "maintenance", "on": True}]

    assert not flag_document.set_field(database, **FLAG, value=True)["changed"]

    off = flag_document.set_field(database, **FLAG, value=False)
    assert off["diff"] == {"before": {"on": True}, "after": {"on": False}}
    assert database["settings"].find_one({}) == {"_id": "maintenance", "on": False}


def test_other_fields_stay_and_a_path_leads_into_a_document(database: Data) -> None:
    where = ObjectId()
    database["settings"].insert_one({"_id": where, "theme": "dark", "modes": {"beta": 1}})

    flag_document.set_field(
        database,
        collection="settings",
        filter_={"_id": {"$oid": str(where)}},
        field="modes.maintenance",
        value="yes",
    )

    assert database["settings"].find_one({}) == {
        "_id": where,
        "theme": "dark",
        "modes": {"beta": 1, "maintenance": "yes"},
    }


def test_reading_and_check_mode_write_nothing(database: Data) -> None:
    assert flag_document.set_field(database, **FLAG) == {
        "changed": False,
        "found": False,
        "value": None,
        "diff": {"before": {"on": None}, "after": {"on": None}},
    }
    assert flag_document.set_field(database, **FLAG, value=True, check=True)["changed"]
    assert database.list_collection_names() == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"collection": "_migrations"}, "an application keeps nothing in '_migrations'"),
        ({"field": "a..b"}, "'a..b' is not a path of a field"),
        ({"filter_": {"_id": {"$oid": "short"}}}, "must be extended JSON"),
        ({"filter_": {"$or": [{"a": 1}]}}, "none can be made from an operator"),
        ({"filter_": {}}, "several documents fit"),
    ],
)
def test_a_wrong_description_is_refused_in_words(
    database: Data, wrong: dict[str, Any], words: str
) -> None:
    database["settings"].insert_many([{"n": 1}, {"n": 2}])

    with pytest.raises(FlagError, match="For the maintenance flag") as error:
        flag_document.set_field(database, **{**FLAG, **wrong}, value=True)

    assert words in error.value.message
    assert database["settings"].count_documents({"on": True}) == 0
