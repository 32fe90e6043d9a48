"""A rollback is exact, and whatever was changed since is told and left alone."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import DatetimeMS, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp, encode
from bson.binary import Binary, UuidRepresentation
from bson.code import Code
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.raw_bson import RawBSONDocument
from mongo_migration.errors import MigrationError, PlanBlockedError

from tests.support.migrations import Deployment, failed
from tests.support.tenants import ABSENT, OWNER_FIELDS, Tenants, tenants


@pytest.fixture
def site(deployment: Deployment) -> Deployment:
    return deployment


@pytest.fixture
def company(site: Deployment) -> Tenants:
    return tenants(site)


# One of every type that an _id can have, several of some, in no order.
IDS: list[Any] = [
    "b",
    ObjectId(),
    7,
    None,
    {"shop": 1, "no": 2},
    Binary.from_uuid(uuid.UUID(int=42), UuidRepresentation.STANDARD),
    datetime(2020, 1, 1, tzinfo=UTC),
    -3,
    True,
    "a",
    ObjectId(),
    2.5,
    Int64(2**40),
    Decimal128("12.50"),
    "",
    False,
    MinKey(),
    MaxKey(),
    {},
    {"no": 2, "shop": 1},
    Binary(b"\x00\x01", 128),
    Timestamp(1, 2),
    "z" * 500,
    Code("f()"),
    DatetimeMS(-(2**60)),  # a date before the year 1
    DatetimeMS(2**60),
    float("nan"),
    float("-inf"),
]

# What stands where an organization belongs, of every type that BSON has.
VALUES: list[Any] = [
    *(value for value in IDS if value is not None),
    [],
    [ObjectId()],
    [[1]],
    Regex("^a", "i"),
    DBRef("organizations", ObjectId()),
    Code("f()", {"x": 1}),
    {"$set": {"a": 1}},
    {"a.b": 1, "$c": 2},
    {"a": {"b": [None, {"c": 1.0}]}},
    "$name",
    "$$ROOT",
    -0.0,
    Decimal128("NaN"),
    Decimal128("0E+3"),
]


# -- exact -----------------------------------------------------------------------------------


@pytest.mark.parametrize("writers_stopped", [True, False], ids=["stopped", "live"])
def test_ids_of_every_type_are_migrated_in_small_batches_and_rolled_back(
    site: Deployment, company: Tenants, writers_stopped: bool
):
    site.batch_size = 3
    tenant = company.organizations[0]
    for identifier in IDS:
        company.add("stockledgers", company.users[tenant], _id=identifier)
    before = site.content()
    result = site.migrate("004", writers_stopped=writers_stopped)
    assert result["modified"] == len(IDS)
    done = site.data["stockledgers"].count_documents({"organizationId": tenant})
    assert done == len(IDS)
    entries = [entry for entry in site.journal() if entry["kind"] == "set_field"]
    assert max(sum(len(group["ids"]) for group in entry["groups"]) for entry in entries) == 3
    assert failed(site.verify("004")) == []
    site.roll_back("004")
    assert site.content() == before
    assert failed(site.verify("004", "rolled_back")) == []


@pytest.mark.parametrize("writers_stopped", [True, False], ids=["stopped", "live"])
def test_values_of_every_type_come_back_byte_for_byte(
    site: Deployment, company: Tenants, writers_stopped: bool
):
    site.batch_size = 5
    tenant = company.organizations[0]
    for value in VALUES:
        company.add("items", company.users[tenant], value)
    before = site.content()
    site.migrate("004", writers_stopped=writers_stopped)
    assert site.data["items"].count_documents({"organizationId": tenant}) == len(VALUES)
    assert failed(site.verify("004")) == []
    site.roll_back("004")
    assert site.content() == before


def add_raw(site: Deployment, company: Tenants, field: bytes) -> ObjectId:
    """Store an item whose last field is raw BSON, as drivers no longer write it."""
    identifier = ObjectId()
    body = b"\x07_id\x00" + identifier.binary
    body += b"\x07addedBy\x00" + company.users[company.organizations[0]].binary + field
    document = (len(body) + 5).to_bytes(4, "little") + body + b"\x00"
    site.data["items"].insert_one(RawBSONDocument(document))
    return identifier


@pytest.mark.parametrize(
    "raw",
    [
        b"\x06organizationId\x00",
        b"\x0eorganizationId\x00\x02\x00\x00\x00a\x00",
        b"\x0corganizationId\x00\x02\x00\x00\x00a\x00" + bytes(12),
    ],
    ids=["undefined", "symbol", "DBPointer"],
)
def test_a_value_of_a_type_that_no_driver_can_put_back_stops_the_plan(
    site: Deployment, company: Tenants, raw: bytes
):
    identifier = add_raw(site, company, raw)
    before = site.everything()
    with pytest.raises(PlanBlockedError, match="of a type that BSON no longer has") as caught:
        site.migrate("004")
    (problem,) = caught.value.details["problems"]
    assert (problem["count"], problem["samples"]) == (1, [identifier])
    assert site.everything() == before


def test_a_collection_with_a_collation_comes_back_exactly(site: Deployment, company: Tenants):
    site.data["items"].drop()
    site.data.create_collection("items", collation={"locale": "en", "strength": 1})
    site.batch_size = 2
    for identifier, value in (("a", "X"), ("b", "x"), ("C", "É"), ("d", "e"), (1, ABSENT)):
        company.add("items", company.users[company.organizations[0]], value, _id=identifier)
    before = site.content()
    site.migrate("004")
    assert site.data["items"].count_documents({"organizationId": company.organizations[0]}) == 5
    assert failed(site.verify("004")) == []
    site.roll_back("004")
    assert site.content() == before


def test_a_clustered_collection_comes_back_exactly(site: Deployment, company: Tenants):
    site.data["items"].drop()
    site.data.create_collection("items", clusteredIndex={"key": {"_id": 1}, "unique": True})
    site.batch_size = 2
    for _ in range(5):
        company.add("items", company.users[company.organizations[0]])
    before = site.content()
    site.migrate("004")
    assert failed(site.verify("004")) == []
    site.roll_back("004")
    assert site.content() == before


def test_both_migrations_are_rolled_back_in_turn_to_the_very_state_before(
    site: Deployment, company: Tenants
):
    books(site, company)
    before = site.content()
    site.migrate("003")
    between = site.content()
    for model in OWNER_FIELDS:
        assert "organizationId_1" not in site.data[model].index_information()
    site.migrate("004")
    with pytest.raises(MigrationError, match="Migration 004 builds on 003 and is applied"):
        site.roll_back("003")
    site.roll_back("004")
    assert site.content() == between
    site.roll_back("003")
    assert site.content() == before


def test_migrating_again_after_a_rollback_works(site: Deployment, company: Tenants):
    identifier = company.add("items", company.users[company.organizations[0]], "")
    before = site.content()
    for _ in range(2):
        assert site.migrate("004")["modified"] == 1
        assert company.value("items", identifier) == company.organizations[0]
        assert failed(site.verify("004")) == []
        assert site.roll_back("004")["restored"] == 1
        assert site.content() == before
    runs = site.data["_migrations"].find({"kind": "run"}, {"phase": 1})
    assert [run["phase"] for run in runs] == ["rolled_back", "rolled_back"]


def test_a_second_rollback_writes_nothing(site: Deployment, company: Tenants):
    company.add("items", company.users[company.organizations[0]])
    site.migrate("004")
    site.roll_back("004")
    before = site.everything(), site.content()
    result = site.roll_back("004")
    assert (result["changed"], result["phase"]) == (False, "rolled_back")
    assert (site.everything(), site.content()) == before


def test_without_a_run_there_is_nothing_to_roll_back(site: Deployment, company: Tenants):
    before = site.everything()
    assert site.roll_back("004")["changed"] is False
    assert site.everything() == before


def test_values_too_large_for_one_journal_entry_are_written_in_several(
    site: Deployment, company: Tenants
):
    for number, size in enumerate((6, 6, 1, 6, 14)):
        company.add("items", company.users[company.organizations[0]], f"{number}" * (size << 20))
    before = site.content()
    site.migrate("004", writers_stopped=True)
    sizes = [
        row["size"]
        for row in site.data["_migrations_journal"].aggregate(
            [{"$match": {"kind": "set_field"}}, {"$project": {"size": {"$bsonSize": "$$ROOT"}}}]
        )
    ]
    assert len(sizes) > 3
    assert sum(sizes) > 33 << 20
    site.roll_back("004")
    assert site.content() == before


# -- conflicts of set_field ------------------------------------------------------------------


@pytest.fixture
def changed(site: Deployment, company: Tenants) -> dict[str, Any]:
    """Migrate, then change some documents as an application would; return them by what."""
    one, other = company.organizations[:2]
    user = company.users[one]
    ids = {
        name: company.add("items", user, value)
        for name, value in {
            "untouched": ABSENT,
            "other field": "",
            "other value": "old",
            "emptied": "old",
            "removed": "old",
            "as before": "old",
            "deleted": ABSENT,
        }.items()
    }
    site.migrate("004")
    items = site.data["items"]
    items.update_one({"_id": ids["other field"]}, {"$set": {"amount": 99}})
    items.update_one({"_id": ids["other value"]}, {"$set": {"organizationId": other}})
    items.update_one({"_id": ids["emptied"]}, {"$set": {"organizationId": None}})
    items.update_one({"_id": ids["removed"]}, {"$unset": {"organizationId": ""}})
    items.update_one({"_id": ids["as before"]}, {"$set": {"organizationId": "old"}})
    items.delete_one({"_id": ids["deleted"]})
    ids["added"] = company.add("items", user, other)
    return ids


CONFLICTS = ("other value", "emptied", "removed", "deleted")


def test_what_was_changed_since_is_kept_and_told(
    site: Deployment, company: Tenants, changed: dict[str, Any]
):
    other = company.organizations[1]
    result = site.roll_back("004")
    held = {name: company.value("items", changed[name]) for name in changed if name != "deleted"}
    assert held == {
        "untouched": ABSENT,
        "other field": "",
        "other value": other,
        "emptied": None,
        "removed": ABSENT,
        "as before": "old",
        "added": other,
    }
    assert site.data["items"].find_one({"_id": changed["other field"]})["amount"] == 99
    assert site.data["items"].count_documents({}) == 7
    assert result["conflict_count"] == len(CONFLICTS)
    told = {item["_id"]: item for item in result["conflicts"]}
    assert set(told) == {changed[name] for name in CONFLICTS}
    assert told[changed["other value"]]["observed"] == other
    assert told[changed["other value"]]["expected"] == company.organizations[0]
    assert "deleted" in told[changed["deleted"]]["reason"]
    assert result["restored"] == 2
    assert failed(site.verify("004", "rolled_back")) == []


def test_what_was_changed_since_can_be_restored_all_the_same(
    site: Deployment, company: Tenants, changed: dict[str, Any]
):
    result = site.roll_back("004", on_conflict="restore")
    held = {name: company.value("items", changed[name]) for name in changed if name != "deleted"}
    assert held == {
        "untouched": ABSENT,
        "other field": "",
        "other value": "old",
        "emptied": "old",
        "removed": "old",
        "as before": "old",
        "added": company.organizations[1],
    }
    assert [item["_id"] for item in result["conflicts"]] == [changed["deleted"]]


def test_what_was_changed_since_can_stop_the_rollback_before_it_writes(
    site: Deployment, company: Tenants, changed: dict[str, Any]
):
    before = site.content()[0]["items"]
    with pytest.raises(MigrationError, match="Nothing of this batch was undone") as caught:
        site.roll_back("004", on_conflict="fail")
    assert site.content()[0]["items"] == before
    assert {item["_id"] for item in caught.value.details["conflicts"]} <= set(changed.values())
    with pytest.raises(MigrationError, match="half rolled back"):
        site.migrate("004")
    # The same rollback with another choice goes on from there.
    site.roll_back("004", on_conflict="keep")
    assert company.value("items", changed["untouched"]) is ABSENT


@pytest.fixture
def many(site: Deployment) -> tuple[Tenants, list[ObjectId]]:
    """Twelve documents of twelve organizations, so that no two have the same value; migrated."""
    company = tenants(site, 12)
    ids = [company.add("items", company.users[tenant]) for tenant in company.organizations]
    site.migrate("004")
    assert [company.value("items", identifier) for identifier in ids] == company.organizations
    return company, ids


def test_many_values_are_undone_each_where_it_still_is(
    site: Deployment, many: tuple[Tenants, list[ObjectId]]
):
    company, ids = many
    other = company.organizations[11]
    items = site.data["items"]
    # Of the same statement: another's value, its own value in a list, none, and gone.
    items.update_one({"_id": ids[0]}, {"$set": {"organizationId": other}})
    items.update_one({"_id": ids[1]}, {"$set": {"organizationId": [company.organizations[1]]}})
    items.update_one({"_id": ids[2]}, {"$set": {"organizationId": None}})
    items.delete_one({"_id": ids[3]})
    result = site.roll_back("004")
    kept = {one: company.value("items", one) for one in ids if one != ids[3]}
    assert kept == {
        ids[0]: other,
        ids[1]: [company.organizations[1]],
        ids[2]: None,
        **dict.fromkeys(ids[4:], ABSENT),
    }
    assert {item["_id"] for item in result["conflicts"]} == set(ids[:4])
    assert result["restored"] == 8


def test_many_values_stop_the_rollback_together(
    site: Deployment, many: tuple[Tenants, list[ObjectId]]
):
    company, ids = many
    site.data["items"].update_one({"_id": ids[5]}, {"$set": {"organizationId": None}})
    before = site.content()[0]["items"]
    with pytest.raises(MigrationError, match="Nothing of this batch was undone"):
        site.roll_back("004", on_conflict="fail")
    assert site.content()[0]["items"] == before
    site.roll_back("004", on_conflict="restore")
    assert [company.value("items", identifier) for identifier in ids] == [ABSENT] * 12


def test_numbers_that_only_an_expression_takes_for_equal_are_kept(site: Deployment):
    company = tenants(site)
    ids = [company.add("items", None, amount=float(number)) for number in range(8)]
    text = {
        "id": "005",
        "name": "copy-amount",
        "summary": "Copies a number.",
        "downtime": "none",
        "steps": [
            {
                "set_field": {
                    "collections": ["items"],
                    "field": "copy",
                    "value": {"expression": "$amount"},
                }
            }
        ],
    }
    site.migrate((json.dumps(text), "005-copy-amount.yml"))
    site.data["items"].update_one({"_id": ids[6]}, {"$set": {"copy": 6}})  # an int now
    result = site.roll_back("005")
    found = {row["_id"]: row.get("copy", ABSENT) for row in site.data["items"].find()}
    assert found == {**dict.fromkeys(ids, ABSENT), ids[6]: 6}
    assert [item["_id"] for item in result["conflicts"]] == [ids[6]]


def test_a_dropped_collection_does_not_come_back(site: Deployment, company: Tenants):
    company.add("items", company.users[company.organizations[0]])
    bill = company.add("bills", company.users[company.organizations[0]])
    site.migrate("004")
    site.data["items"].drop()
    result = site.roll_back("004")
    assert result["conflict_count"] == 1
    assert company.value("bills", bill) is ABSENT
    assert "items" not in site.data.list_collection_names()


# -- conflicts of create_index ---------------------------------------------------------------


def test_an_index_that_was_changed_since_is_kept_and_told(site: Deployment, company: Tenants):
    site.migrate("004")
    site.data["items"].drop_index("organizationId_1")
    site.data["items"].create_index([("organizationId", 1)], sparse=True)
    result = site.roll_back("004")
    assert site.data["items"].index_information()["organizationId_1"]["sparse"] is True
    assert "items.organizationId_1" not in result["dropped"]
    assert len(result["dropped"]) == 12
    assert failed(site.verify("004", "rolled_back")) == []


def test_an_index_that_is_gone_already_is_no_conflict(site: Deployment, company: Tenants):
    site.migrate("004")
    site.data["items"].drop_index("organizationId_1")
    assert site.roll_back("004")["conflict_count"] == 0


# -- conflicts of insert_for_each ------------------------------------------------------------


def books(site: Deployment, company: Tenants) -> None:
    for name in ("journalentries", "financialperiods"):
        site.data.create_collection(name)
    for tenant in company.organizations:
        site.data["journalentries"].insert_one({"organization": tenant, "date": 1})


def test_periods_that_were_changed_or_are_referred_to_are_kept_and_told(
    site: Deployment, company: Tenants
):
    books(site, company)
    site.migrate("003")
    periods, entries = site.data["financialperiods"], site.data["journalentries"]
    first, second, third = (
        periods.find_one({"organization": tenant}) for tenant in company.organizations
    )
    periods.update_one({"_id": first["_id"]}, {"$set": {"status": "closed"}})
    later = entries.insert_one({"financialPeriod": second["_id"]}).inserted_id
    result = site.roll_back("003")
    assert [row["_id"] for row in periods.find().sort("_id")] == sorted(
        [first["_id"], second["_id"]]
    )
    assert periods.find_one({"_id": first["_id"]})["status"] == "closed"
    assert {item["_id"] for item in result["conflicts"]} == {first["_id"], second["_id"]}
    assert result["removed"] == 1
    assert third["_id"] not in {item["_id"] for item in result["conflicts"]}
    assert entries.count_documents({"financialPeriod": {"$exists": True}}) == 1
    assert entries.find_one({"_id": later})["financialPeriod"] == second["_id"]
    assert failed(site.verify("003", "rolled_back")) == []


def test_a_changed_period_can_be_removed_but_never_one_that_is_referred_to(
    site: Deployment, company: Tenants
):
    books(site, company)
    site.migrate("003")
    periods = site.data["financialperiods"]
    first, second = (
        periods.find_one({"organization": tenant}) for tenant in company.organizations[:2]
    )
    periods.update_one({"_id": first["_id"]}, {"$set": {"status": "closed"}})
    site.data["journalentries"].insert_one({"financialPeriod": second["_id"]})
    site.roll_back("003", on_conflict="restore")
    assert [row["_id"] for row in periods.find()] == [second["_id"]]


def test_more_kept_periods_than_are_told_still_pass_verification(
    site: Deployment, company: Tenants
):
    for _ in range(150):
        company.organization()
    books(site, company)
    site.migrate("003")
    site.data["financialperiods"].update_many({}, {"$set": {"status": "closed"}})
    result = site.roll_back("003")
    assert result["conflict_count"] == 153
    assert len(result["conflicts"]) == 100
    assert site.data["financialperiods"].count_documents({}) == 153
    assert failed(site.verify("003", "rolled_back")) == []


def test_a_period_written_by_hand_since_stays(site: Deployment, company: Tenants):
    books(site, company)
    before = site.content()
    site.migrate("003")
    by_hand = site.data["financialperiods"].insert_one({"organization": 1}).inserted_id
    site.roll_back("003")
    assert [row["_id"] for row in site.data["financialperiods"].find()] == [by_hand]
    site.data["financialperiods"].delete_one({"_id": by_hand})
    assert site.content() == before


# -- a server without transactions -----------------------------------------------------------


@pytest.fixture
def alone(standalone_deployment: Deployment) -> Deployment:
    return standalone_deployment


@pytest.mark.parametrize("writers_stopped", [True, False], ids=["stopped", "live"])
def test_without_transactions_both_migrations_are_exact(alone: Deployment, writers_stopped: bool):
    alone.batch_size = 3
    company = tenants(alone)
    books(alone, company)
    for model in ("items", "bills"):
        for identifier, tenant in zip(IDS, company.organizations * 10, strict=False):
            company.add(model, company.users[tenant], None, _id=identifier)
        for value in VALUES:
            company.add(model, company.users[company.organizations[1]], value)
    before = alone.content()
    alone.migrate("003", writers_stopped=writers_stopped)
    assert failed(alone.verify("003")) == []
    alone.migrate("004", writers_stopped=writers_stopped)
    assert failed(alone.verify("004")) == []
    for identifier, tenant in zip(IDS, company.organizations * 10, strict=False):
        assert company.value("items", identifier) == tenant
    assert alone.data["bills"].count_documents({"organizationId": {"$type": "objectId"}}) == len(
        IDS
    ) + len(VALUES)
    alone.roll_back("004")
    alone.roll_back("003")
    assert alone.content() == before


def test_without_transactions_a_conflict_stops_before_anything_is_written(alone: Deployment):
    company = tenants(alone)
    ids = [company.add("items", company.users[company.organizations[0]], "old") for _ in range(3)]
    alone.migrate("004")
    alone.data["items"].update_one({"_id": ids[1]}, {"$set": {"organizationId": None}})
    before = alone.content()[0]["items"]
    with pytest.raises(MigrationError, match="Nothing of this batch was undone"):
        alone.roll_back("004", on_conflict="fail")
    assert alone.content()[0]["items"] == before
    alone.roll_back("004")
    assert [company.value("items", identifier) for identifier in ids] == ["old", None, "old"]


# -- large ids and documents -----------------------------------------------------------------


def test_ids_and_documents_of_any_size_fit_the_journal(deployment: Deployment) -> None:
    """Entries are bound by their bytes: of ids, of inserted documents, of conflicts."""
    data = deployment.data
    data["items"].insert_many([{"_id": f"{number:06}" + "x" * 1000} for number in range(9000)])
    data["people"].insert_many([{"_id": n, "blob": "b" * 40_000} for n in range(500)])
    document = """
id: "950"
name: large
summary: Large ids, large documents.
downtime: none
steps:
  - set_field: {collections: [items], field: kind, type: string, value: {value: a}}
  - insert_for_each:
      from: people
      into: copies
      key: [person]
      document: {person: $_id, blob: $blob}
"""
    before = deployment.content()
    deployment.batch_size = 20_000
    deployment.migrate((document, "950-large.yml"))
    sizes = [len(encode(entry)) for entry in deployment.journal()]
    assert max(sizes) < 8 << 20
    data["items"].update_many({}, {"$set": {"kind": "b"}})
    data["copies"].update_many({}, {"$set": {"more": 1}})
    undone = deployment.roll_back("950")
    assert undone["conflict_count"] == 9500
    assert data["copies"].count_documents({}) == 500
    data["items"].update_many({}, {"$unset": {"kind": ""}})
    data["copies"].drop()
    assert deployment.content() == before


@pytest.mark.parametrize("kind", ["deployment", "standalone_deployment"])
def test_text_that_a_collation_calls_equal_is_another_value(
    kind: str, request: pytest.FixtureRequest
):
    site: Deployment = request.getfixturevalue(kind)
    items = site.data.create_collection("items", collation={"locale": "en", "strength": 2})
    items.insert_many([{"_id": 1}, {"_id": 2}, {"_id": 3, "mark": ""}])
    step = "set_field: {collections: [items], field: mark, type: string, value: {value: tea}}"
    text = f'id: "005"\nname: mark-items\nsummary: Marks.\ndowntime: none\nsteps:\n  - {step}\n'
    document = (text, "005-mark-items.yml")
    site.migrate(document)
    items.update_one({"_id": 2}, {"$set": {"mark": "TEA"}})

    assert site.roll_back("005")["conflict_count"] == 1
    found = {row["_id"]: row.get("mark") for row in items.find()}
    assert found == {1: None, 2: "TEA", 3: ""}
