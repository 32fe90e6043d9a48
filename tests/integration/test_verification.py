"""Verification fails whenever something is wrong: none of its checks passes by accident."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from mongo_migration.errors import MigrationError
from mongo_migration.ledger.journal import Journal
from mongo_migration.server import connection
from pymongo.write_concern import WriteConcern

from embedded.mongod import Standalone
from tests.conftest import CACHE_GB
from tests.support.migrations import Deployment, failed, named
from tests.support.tenants import OWNER_FIELDS, Tenants, tenants

Damage = Callable[[Deployment, Tenants], object]

INDEX = (
    """
id: "901"
name: numbered
summary: An index.
downtime: none
steps:
  - set_field: {collections: [items], field: colour, where: {colour: blue}, value: {value: red}}
  - create_index: {collections: [items], keys: {number: 1}}
""",
    "901-numbered.yml",
)


@pytest.fixture
def site(deployment: Deployment) -> Deployment:
    return deployment


@pytest.fixture
def company(site: Deployment) -> Tenants:
    made = tenants(site)
    for model in OWNER_FIELDS:
        for user in made.users.values():
            made.add(model, user)
    return made


def at(phase: str, site: Deployment) -> None:
    run = site.data["_migrations"].find_one({"kind": "run", "migration": "004"})
    assert run is not None
    assert run["phase"] == phase


# -- 004 -------------------------------------------------------------------------------------


def replace_index(site: Deployment, keys: Any, name: str | None, **options: Any) -> None:
    site.data["items"].drop_index("organizationId_1")
    site.data["items"].create_index(keys, **({"name": name} if name else {}), **options)


DAMAGES: dict[str, tuple[Damage, str]] = {
    "a collection is dropped": (
        lambda site, company: site.data["bills"].drop(),
        "every collection of the migration exists",
    ),
    "all documents of a collection are deleted": (
        lambda site, company: site.data["bills"].delete_many({}),
        "bills: no document is without organizationId",
    ),
    "one document loses the field": (
        lambda site, company: site.data["bills"].update_one({}, {"$unset": {"organizationId": ""}}),
        "bills: no document is without organizationId",
    ),
    "one document gets null": (
        lambda site, company: site.data["bills"].update_one({}, {"$set": {"organizationId": None}}),
        "bills: no document is without organizationId",
    ),
    "one document gets a text": (
        lambda site, company: site.data["bills"].update_one({}, {"$set": {"organizationId": "x"}}),
        "bills: every organizationId is of type objectId that exists in organizations",
    ),
    "one document gets an organization that does not exist": (
        lambda site, company: site.data["bills"].update_one(
            {}, {"$set": {"organizationId": ObjectId()}}
        ),
        "bills: every organizationId is of type objectId that exists in organizations",
    ),
    "an organization is deleted": (
        lambda site, company: site.data["organizations"].delete_one(
            {"_id": company.organizations[0]}
        ),
        "stockLedgers: every organizationId is of type objectId that exists in organizations",
    ),
    "a document without the field is written": (
        lambda site, company: site.data["items"].insert_one(
            {"addedBy": company.users[company.organizations[0]]}
        ),
        "items: no document is without organizationId",
    ),
    "an index is dropped": (
        lambda site, company: site.data["items"].drop_index("organizationId_1"),
        "items: index organizationId_1 exists and is finished",
    ),
    "an index is replaced by another of the same name": (
        lambda site, company: replace_index(site, [("organizationId", -1)], "organizationId_1"),
        "items: index organizationId_1 exists and is finished",
    ),
    "an index becomes sparse": (
        lambda site, company: replace_index(site, [("organizationId", 1)], None, sparse=True),
        "items: index organizationId_1 exists and is finished",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_verification_fails_when(site: Deployment, company: Tenants, damage: str):
    site.migrate("004")
    harm, check = DAMAGES[damage]
    harm(site, company)
    before = site.everything()
    result = site.verify("004")
    assert check in failed(result)
    assert result["passed"] is False
    assert result["failures"] == failed(result)
    assert site.everything() == before
    at("applied", site)


def test_what_is_sound_is_verified_and_stays_so(site: Deployment, company: Tenants):
    site.migrate("004")
    first = site.verify("004")
    assert (first["passed"], first["changed"], first["phase"]) == (True, True, "verified")
    at("verified", site)
    before = site.everything()
    assert site.verify("004")["changed"] is False
    assert site.everything() == before


def test_checks_say_how_many_documents_they_examined(site: Deployment, company: Tenants):
    site.migrate("004")
    for check in site.verify("004")["checks"]:
        if "organizationId is of type" in check["name"]:
            assert check["examined"] == 3


def test_drift_is_found_long_after_verification(site: Deployment, company: Tenants):
    site.migrate("004")
    site.verify("004")
    user = company.users[company.organizations[0]]
    site.data["invoices"].insert_many([{"createdBy": user} for _ in range(4)])
    result = site.verify("004")
    check = named(result, "invoices: no document is without organizationId")
    assert (check["status"], check["observed"], check["examined"]) == ("failed", 4, 7)
    at("verified", site)


def test_a_look_does_not_write(site: Deployment, company: Tenants):
    site.migrate("004")
    before = site.everything()
    assert site.verify("004", record=False)["passed"] is True
    assert site.everything() == before


@pytest.mark.parametrize("expect", ["applied", "rolled_back"])
def test_there_is_nothing_to_verify_before_a_run(site: Deployment, company: Tenants, expect: str):
    with pytest.raises(MigrationError, match="Migration 004 is pending"):
        site.verify("004", expect)


# -- nothing else changed --------------------------------------------------------------------


def swap_document(site: Deployment, company: Tenants) -> None:
    site.data["bills"].delete_one({})
    company.add("bills", company.users[company.organizations[0]], company.organizations[0])


STRAY: dict[str, tuple[Damage, str]] = {
    "another field of a migrated document": (
        lambda site, company: site.data["bills"].update_one({}, {"$set": {"amount": 13}}),
        "bills: nothing else changed but organizationId",
    ),
    "the type of a number": (
        lambda site, company: site.data["bills"].update_one({}, {"$set": {"tags.0": "b"}}),
        "bills: nothing else changed but organizationId",
    ),
    "a collection that no step touches": (
        lambda site, company: site.data["users"].update_one({}, {"$set": {"name": "X"}}),
        "users: nothing else changed",
    ),
    "a new collection": (
        lambda site, company: site.data["strays"].insert_one({}),
        "strays: nothing else changed",
    ),
    "a collection that goes": (
        lambda site, company: site.data["strays"].drop(),
        "strays: nothing else changed",
    ),
    "a document replaced by another": (
        swap_document,
        "bills: nothing else changed but organizationId",
    ),
}


@pytest.mark.parametrize("what", STRAY)
def test_under_maintenance_a_change_is_found_in(site: Deployment, company: Tenants, what: str):
    if what == "a collection that goes":
        site.data["strays"].insert_one({})
    site.maintenance("on")
    site.migrate("004")
    harm, check = STRAY[what]
    harm(site, company)
    result = site.verify("004")
    # A document that goes takes its organization with it.
    fields = ["bills: every organizationId is as it was, or as the journal says"]
    assert failed(result) == [check, *(fields if harm is swap_document else [])]
    assert result["passed"] is False


def test_under_maintenance_sound_data_pass(site: Deployment, company: Tenants):
    site.maintenance("on")
    site.migrate("004")
    result = site.verify("004")
    assert result["passed"] is True
    compared = [c for c in result["checks"] if "nothing else changed" in c["name"]]
    assert len(compared) == 15
    assert {check["status"] for check in compared} == {"passed"}


@pytest.mark.parametrize("expect", ["applied", "rolled_back"])
def test_the_journal_is_read_once(
    site: Deployment, company: Tenants, monkeypatch: pytest.MonkeyPatch, expect: str
):
    """It is as large as what was migrated."""
    site.maintenance("on")
    site.migrate("004")
    if expect == "rolled_back":
        site.roll_back("004")
    original, whole = Journal.entries, list[str]()

    def entries(self: Journal, **selector: Any) -> Any:
        if not selector:
            whole.append(expect)
        return original(self, **selector)

    monkeypatch.setattr(Journal, "entries", entries)
    assert site.verify("004", expect)["passed"] is True
    assert whole == [expect]


def test_under_maintenance_a_missing_document_is_found(site: Deployment, company: Tenants):
    site.maintenance("on")
    site.migrate("004")
    site.data["bills"].delete_one({})
    assert "bills: as many documents as before" in failed(site.verify("004"))


def test_what_a_ttl_index_deletes_meanwhile_is_no_fault_of_the_migration(
    site: Deployment, company: Tenants
):
    now, hour = datetime.now(UTC), timedelta(hours=1)
    sessions = site.data["sessions"]
    # Deleted here by hand: the server looks once a minute.
    sessions.create_index("seen", expireAfterSeconds=3600)
    sessions.create_index("closed", expireAfterSeconds=0, partialFilterExpression={"by": "us"})
    sessions.insert_many(
        [
            {"_id": "due", "seen": now - hour},
            {"_id": "due, in an array", "seen": [now + 90 * hour, now]},
            {"_id": "closed", "closed": now, "by": "us"},
            {"_id": "stays", "seen": now + 90 * hour},
            {"_id": "never", "closed": now, "by": "them"},
        ]
    )
    before = site.content()
    site.maintenance("on")
    site.migrate("004")
    sessions.delete_many({"_id": {"$in": ["due", "due, in an array", "closed"]}})
    result = site.verify("004")
    assert failed(result) == []
    check = named(result, "sessions: nothing else changed")
    assert (check["status"], check["examined"]) == ("passed", 2)
    assert "TTL" in check["detail"]
    sessions.update_one({"_id": "never"}, {"$set": {"by": "nobody"}})
    assert failed(site.verify("004")) == ["sessions: nothing else changed"]
    sessions.update_one({"_id": "never"}, {"$set": {"by": "them"}})
    site.roll_back("004")
    assert failed(site.verify("004", "rolled_back")) == []
    gone = site.content()[0].pop("sessions")
    assert {k: v for k, v in before[0].items() if k != "sessions"} == {
        k: v for k, v in site.content()[0].items() if k != "sessions"
    }
    assert len(gone) == 2


def test_a_ttl_index_on_a_touched_collection_is_told_by_the_plan(
    site: Deployment, company: Tenants
):
    site.data["bills"].create_index("at", expireAfterSeconds=60)
    site.data["bills"].update_one({}, {"$set": {"at": datetime.now(UTC)}})
    (said,) = [line for line in site.plan("004")["warnings"] if "TTL" in line]
    assert said.startswith("bills: ") and "about 1 " in said


def test_after_maintenance_it_is_said_that_nothing_can_be_compared(
    site: Deployment, company: Tenants
):
    site.maintenance("on")
    site.migrate("004")
    site.maintenance("off")
    result = site.verify("004")
    assert result["passed"] is True
    assert named(result, "nothing else changed")["status"] == "skipped"


def test_what_users_write_between_two_maintenance_modes_is_no_fault_of_the_migration(
    site: Deployment, company: Tenants
):
    site.maintenance("on")
    site.migrate("004")
    site.maintenance("off")
    site.data["bills"].update_one({}, {"$set": {"number": "changed by a user"}})
    site.maintenance("on")
    site.roll_back("004")
    result = site.verify("004", "rolled_back")
    assert failed(result) == []
    assert named(result, "nothing else changed")["status"] == "skipped"


def test_without_maintenance_each_batch_proves_itself(site: Deployment, company: Tenants):
    site.batch_size = 2
    site.migrate("004")
    check = named(site.verify("004"), "nothing else changed in any document of a batch")
    assert (check["status"], check["examined"]) == ("passed", 39)


def test_after_a_rollback_a_change_under_maintenance_is_found(site: Deployment, company: Tenants):
    site.maintenance("on")
    site.migrate("004")
    site.roll_back("004")
    assert failed(site.verify("004", "rolled_back")) == []
    site.data["bills"].update_one({}, {"$set": {"organizationId": None}})
    found = failed(site.verify("004", "rolled_back"))
    assert found == ["bills: every organizationId is as it was before"]


def test_after_a_rollback_what_the_run_wrote_is_found(site: Deployment, company: Tenants):
    site.migrate("004")
    written = site.data["bills"].find_one()
    site.roll_back("004")
    assert failed(site.verify("004", "rolled_back")) == []
    site.data["bills"].replace_one({"_id": written["_id"]}, written)
    site.data["items"].create_index([("organizationId", 1)])
    assert set(failed(site.verify("004", "rolled_back"))) == {
        "items: nothing is left of create_index organizationId_1",
        "bills: nothing is left of set_field",
    }


# -- 003 -------------------------------------------------------------------------------------


@pytest.fixture
def books(site: Deployment) -> Deployment:
    for name in ("organizations", "journalentries", "financialperiods"):
        site.data.create_collection(name)
    for _ in range(3):
        tenant = ObjectId()
        site.data["organizations"].insert_one({"_id": tenant})
        site.data["journalentries"].insert_many(
            [{"organization": tenant, "date": datetime.now(UTC)} for _ in range(2)]
        )
    return site


def swap_period(data: Any) -> None:
    entry = data["journalentries"].find_one()
    other = data["financialperiods"].find_one({"organization": {"$ne": entry["organization"]}})
    data["journalentries"].update_one(
        {"_id": entry["_id"]}, {"$set": {"financialPeriod": other["_id"]}}
    )


def copy_period(data: Any) -> None:
    data["financialperiods"].insert_one({**data["financialperiods"].find_one(), "_id": ObjectId()})


BOOK_DAMAGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a period is deleted": (
        lambda data: data["financialperiods"].delete_one({}),
        "every organization has a period that contains today",
    ),
    "the periods are dropped": (
        lambda data: data["financialperiods"].drop(),
        "every organization has a period that contains today",
    ),
    "the entries are dropped": (
        lambda data: data["journalentries"].drop(),
        "every collection of the migration exists",
    ),
    "the organizations are deleted": (
        lambda data: data["organizations"].delete_many({}),
        "every organization has a period that contains today",
    ),
    "an entry loses its period": (
        lambda data: data["journalentries"].update_one({}, {"$unset": {"financialPeriod": ""}}),
        "journalEntries: no document is without financialPeriod",
    ),
    "an entry goes to another organization's period": (
        swap_period,
        "every journal entry's period belongs to its own organization",
    ),
    "a second open period appears": (
        copy_period,
        "no organization has two open periods that contain today",
    ),
    "a period is closed": (
        lambda data: data["financialperiods"].update_one({}, {"$set": {"status": "closed"}}),
        "as many open periods as organizations",
    ),
    "a period of nobody appears": (
        lambda data: data["financialperiods"].insert_one({"status": "closed"}),
        "as many financial periods as organizations",
    ),
    "an organization appears": (
        lambda data: data["organizations"].insert_one({}),
        "every organization has a period that contains today",
    ),
}


@pytest.mark.parametrize("damage", BOOK_DAMAGES)
def test_verification_of_003_fails_when(books: Deployment, damage: str):
    books.migrate("003")
    harm, check = BOOK_DAMAGES[damage]
    harm(books.data)
    assert check in failed(books.verify("003"))


def test_003_counts_its_own_periods_out_of_what_changed(books: Deployment):
    books.maintenance("on")
    books.migrate("003")
    result = books.verify("003")
    assert result["passed"] is True
    assert named(result, "financialperiods: nothing else changed")["status"] == "passed"
    books.data["financialperiods"].insert_one({"status": "closed"})
    assert "financialperiods: nothing else changed" in failed(books.verify("003"))


def test_a_change_to_a_period_that_the_run_inserted_is_found(books: Deployment):
    books.maintenance("on")
    books.migrate("003")
    books.data["financialperiods"].update_one({}, {"$set": {"name": "mine"}})
    assert failed(books.verify("003"))


def test_a_server_that_has_miscounted_since_a_crash_fails_no_verification(tmp_path: Path) -> None:
    with Standalone(tmp_path / "server", auth=False, cache_gb=CACHE_GB) as server:
        options = {"uri": server.uri(None), "database": "shop"}
        with connection.connect(options) as client, server.client() as other:
            deployment = Deployment(client, other["shop"])
            other["shop"]["items"].insert_many(
                [{"number": number, "colour": "blue"} for number in range(50)]
            )
            deployment.migrate(INDEX)
            other["shop"].get_collection("x", write_concern=WriteConcern(j=True)).insert_one({})
        server.kill(0)
        server.restart(0)
        with connection.connect(options) as client, server.client() as other:
            assert other["shop"]["items"].estimated_document_count() == 0, "it counts right"
            assert failed(Deployment(client, other["shop"]).verify(INDEX)) == []
