"""The seeded company is the same every time and holds the cases that it names."""

from __future__ import annotations

from typing import Any

import pytest
from pymongo.database import Database

from embedded import dirty
from embedded.company import INDEXES, OWNER_FIELDS
from embedded.seed import Company, seed, shares
from tests.support.snapshot import differences, snapshot

Data = Database[dict[str, Any]]
SIZE = 800


def test_the_same_arguments_make_the_same_company(database: Data):
    seed(database, SIZE, dirty=True)
    first = snapshot(database)
    database.client.drop_database(database.name)
    seed(database, SIZE, dirty=True)
    assert differences(first, snapshot(database)) == []


def test_another_seed_makes_another_company(database: Data):
    seed(database, SIZE)
    first = snapshot(database)
    database.client.drop_database(database.name)
    seed(database, SIZE, seed=2)
    assert differences(first, snapshot(database))


@pytest.mark.parametrize("size", [60, 1000, 5001])
def test_size_is_the_number_of_all_documents(database: Data, size: int):
    company = seed(database, size)
    assert company.total == size
    stored = {name: database[name].count_documents({}) for name in database.list_collection_names()}
    assert stored == company.counts
    assert set(stored) == {"organizations", "users", "financialperiods", *shares(size)}


def test_clean_data_have_an_owner_with_an_organization_everywhere(database: Data):
    seed(database, SIZE)
    users = {user["_id"]: user["organizationId"] for user in database["users"].find()}
    organizations = set(database["organizations"].distinct("_id"))
    assert set(users.values()) == organizations
    for name, owner in OWNER_FIELDS.items():
        for document in database[name].find():
            assert users[document[owner]] in organizations
            # What is set already is right.
            if document.get("organizationId"):
                assert document["organizationId"] == users[document[owner]]
    for entry in database["journalentries"].find():
        assert entry["organization"] in organizations
        assert sum(line["debit"] - line["credit"] for line in entry["lines"]) == 0


def test_clean_data_show_the_ordinary_cases(database: Data):
    seed(database, 4000)
    items = database["items"]
    assert items.count_documents({"organizationId": {"$exists": False}})
    assert items.count_documents({"organizationId": {"$type": "null"}})
    assert items.count_documents({"organizationId": ""})
    assert items.count_documents({"organizationId": {"$type": "objectId"}})
    organizations = list(database["organizations"].find())
    assert sum("createdBy" not in one for one in organizations) == 1
    assert len({one["settings"].get("fiscalYearStart") for one in organizations}) > 3
    assert any("timezone" not in one["settings"] for one in organizations)


def test_the_application_has_its_indexes(database: Data):
    company = seed(database, SIZE)
    for name in company.counts:
        found = [dict(index["key"]) for index in database[name].list_indexes()]
        assert found == [{"_id": 1}, *map(dict, INDEXES[name])]


def test_documents_have_an_ordinary_size(database: Data):
    company = seed(database, 2000)
    sizes = {
        name: database.command("collStats", name)["avgObjSize"]
        for name in company.counts
        if name in OWNER_FIELDS or name == "journalentries"
    }
    assert {name: size for name, size in sizes.items() if not 220 <= size <= 600} == {}


@pytest.fixture
def company(database: Data) -> Company:
    return seed(database, SIZE, dirty=True)


def test_every_dirty_case_is_made_and_described(database: Data, company: Company):
    assert list(company.cases) == list(dirty.CASES)
    for name, case in company.cases.items():
        assert dirty.CASES[name].__doc__
        stored = database[case.collection].count_documents({"_id": {"$in": case.ids}})
        assert stored == len(case.ids), name
        assert case.ids or name == "empty_collection"
    stored = {name: database[name].count_documents({}) for name in database.list_collection_names()}
    assert stored == company.counts


@pytest.mark.parametrize(
    ("case", "condition"),
    [
        ("null_organization", {"organizationId": {"$type": "null"}}),
        ("string_organization", {"organizationId": {"$type": "string"}}),
        ("already_set", {"organizationId": {"$type": "objectId"}}),
        ("no_owner", {"createdBy": {"$exists": False}}),
        ("null_owner", {"createdBy": {"$type": "null"}}),
        ("no_creator", {"createdBy": {"$exists": False}}),
        ("month_13", {"settings.fiscalYearStart": 13}),
        ("unknown_timezone", {"settings.timezone": "Mars/Olympus_Mons"}),
        ("period_locked", {"status": "locked"}),
        ("entry_without_date", {"date": {"$exists": False}}),
        ("entry_of_unknown_organization", {"organization": {"$type": "objectId"}}),
    ],
)
def test_a_dirty_case_is_what_its_name_says(
    database: Data, company: Company, case: str, condition: dict[str, Any]
):
    made = company.cases[case]
    query = {"_id": {"$in": made.ids}, **condition}
    assert database[made.collection].count_documents(query) == len(made.ids)


def test_some_cases_can_be_chosen(database: Data):
    company = seed(database, SIZE, dirty=["no_owner", "month_13"])
    assert list(company.cases) == ["no_owner", "month_13"]
    with pytest.raises(ValueError, match="no_ownr"):
        seed(database, SIZE, seed=3, dirty=["no_ownr"])
