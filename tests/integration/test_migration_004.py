"""004 gives every document of the 13 core models the organization of its owner."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from bson import Int64, ObjectId
from bson.decimal128 import Decimal128
from mongo_migration.document import definition
from mongo_migration.errors import DefinitionError, MigrationError, PlanBlockedError
from mongo_migration.procedures import plan

from tests.support.migrations import Deployment, failed, named, text_of
from tests.support.tenants import ABSENT, OWNER_FIELDS, Tenants, tenants

# What a field holds that counts as nothing in it.
EMPTY = {"missing": ABSENT, "null": None, "empty": ""}
INVALID: dict[str, Any] = {
    "word": "Sharma Traders",
    "dangling": ObjectId(),
    "int": 5,
    "array": [],
    "object": {"id": 1},
    "bool": False,
}


@pytest.fixture
def site(deployment: Deployment) -> Deployment:
    return deployment


@pytest.fixture
def company(site: Deployment) -> Tenants:
    return tenants(site)


def refusal(site: Deployment, **variables: Any) -> list[dict[str, Any]]:
    """Return the problems for which a migration is refused, having looked that nothing changed."""
    before = site.everything()
    with pytest.raises(PlanBlockedError) as caught:
        site.migrate("004", **variables)
    assert site.everything() == before
    assert site.plan("004", **variables)["problems"] == caught.value.details["problems"]
    return list(caught.value.details["problems"])


# -- the ordinary case -----------------------------------------------------------------------


@pytest.mark.parametrize("writers_stopped", [True, False], ids=["stopped", "live"])
def test_every_document_gets_its_owners_organization_and_rollback_takes_it_away(
    site: Deployment, company: Tenants, writers_stopped: bool
):
    site.batch_size = 7
    expected: dict[str, dict[Any, ObjectId]] = {}
    for model in OWNER_FIELDS:
        expected[model] = {
            company.add(model, user, value): tenant
            for tenant, user in company.users.items()
            for value in (*EMPTY.values(), *INVALID.values(), str(tenant), tenant, [tenant])
        }
    before = site.content()
    result = site.migrate("004", writers_stopped=writers_stopped)
    for model, documents in expected.items():
        stored = {row["_id"]: row for row in site.data[model].find()}
        assert {key: row["organizationId"] for key, row in stored.items()} == documents
    # All but the one in twelve that was right.
    assert result["modified"] == result["matched"] == 13 * 3 * 11
    assert failed(site.verify("004")) == []
    site.roll_back("004")
    assert site.content() == before
    assert failed(site.verify("004", "rolled_back")) == []


def test_no_other_field_changes(site: Deployment, company: Tenants):
    user = company.users[company.organizations[0]]
    for model in OWNER_FIELDS:
        company.add(model, user, extra={"z": 1, "a": [None, 1.0]})
    before = {model: site.data[model].find_one() for model in OWNER_FIELDS}
    site.migrate("004")
    for model, document in before.items():
        after = site.data[model].find_one()
        assert after.pop("organizationId") == company.organizations[0]
        assert list(after.items()) == list(document.items())


def test_every_model_gets_an_index_that_goes_with_the_rollback(site: Deployment, company: Tenants):
    site.migrate("004")
    for model in OWNER_FIELDS:
        assert site.data[model].index_information()["organizationId_1"] == {
            "v": 2,
            "key": [("organizationId", 1)],
        }
    site.roll_back("004")
    for model in OWNER_FIELDS:
        assert list(site.data[model].index_information()) == ["_id_"]


def test_the_journal_holds_every_value_that_was_replaced(site: Deployment, company: Tenants):
    user = company.users[company.organizations[0]]
    replaced = {company.add("items", user, value): value for value in INVALID.values()}
    absent = company.add("items", user)
    null = company.add("items", user, None)
    site.migrate("004")
    kept = {}
    for entry in site.journal():
        for group in entry.get("groups", ()):
            for identifier in group["ids"]:
                kept[identifier] = group.get("before", ABSENT)
    assert kept == {**replaced, absent: ABSENT, null: None}


def test_values_of_equal_look_come_back_with_their_own_type(site: Deployment, company: Tenants):
    """1, 1.0 and true are equal to MongoDB, as are missing and null."""

    user = company.users[company.organizations[0]]
    for value in (1, 1.0, True, Int64(1), Decimal128("1"), Decimal128("1.0"), 0, -0.0, False):
        company.add("items", user, value)
    for value in (ABSENT, None, "", [], [None], [[]], {}, {"a": 1, "b": 2}, {"b": 2, "a": 1}):
        company.add("items", user, value)
    before = site.content()
    site.migrate("004")
    assert site.data["items"].count_documents({"organizationId": company.organizations[0]}) == 18
    site.roll_back("004")
    assert site.content() == before


# -- what is right already -------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["replace", "skip"])
def test_a_valid_organization_that_is_not_the_owners_stops_unless_a_policy_says_which_is_right(
    site: Deployment, company: Tenants, policy: str
):
    one, other = company.organizations[:2]
    wrong = company.add("bills", company.users[one], other)
    right = company.add("bills", company.users[other], other)
    ours = company.add("bills", company.users[one])
    orphan = company.add("bills", ABSENT, other)
    before = site.content()
    with pytest.raises(PlanBlockedError) as caught:
        site.migrate("004")
    (problem,) = caught.value.details["problems"]
    assert (problem["count"], problem["samples"]) == (1, [wrong])
    assert site.content() == before
    site.batch_size = 1
    site.migrate("004", contradicting_documents=policy)
    assert company.value("bills", wrong) == (one if policy == "replace" else other)
    assert company.value("bills", right) == company.value("bills", orphan) == other
    assert company.value("bills", ours) == one
    checked = site.verify("004")
    assert failed(checked) == []
    left = [(one["count"], one["ids"], one["policy"]) for one in checked["left_alone"]]
    assert left == ([] if policy == "replace" else [(1, [wrong], "when_contradicted: skip")])
    site.roll_back("004")
    assert site.content() == before


# -- text that contradicts -------------------------------------------------------------------


def test_the_text_of_another_organizations_id_stops_unless_a_policy_says_which_is_right(
    site: Deployment, company: Tenants
):
    one, other = company.organizations[:2]
    identifier = company.add("invoices", company.users[one], str(other))
    plain = company.add("invoices", company.users[one])
    (problem,) = refusal(site)
    assert problem["collection"] == "invoices"
    assert (problem["count"], problem["samples"]) == (1, [identifier])
    site.migrate("004", contradicting_documents="replace")
    assert company.value("invoices", identifier) == one
    site.roll_back("004")
    assert company.value("invoices", identifier) == str(other)
    result = site.migrate("004", contradicting_documents="skip")
    assert company.value("invoices", identifier) == str(other)
    assert company.value("invoices", plain) == one
    assert result["skipped"] == 1
    checked = site.verify("004")
    assert failed(checked) == []
    of_type = named(checked, "invoices: every organizationId is of type")
    assert "1 left alone by policy" in of_type["detail"]


# -- documents of nobody ---------------------------------------------------------------------

NOBODY = {
    "no owner": ABSENT,
    "null owner": None,
    "unknown owner": ObjectId(),
    "owner as text": "65f000000000000000000001",
    "owner in a list": [ObjectId()],
}


@pytest.mark.parametrize("owner", NOBODY.values(), ids=list(NOBODY))
def test_without_an_owner_several_organizations_are_listed_and_none_is_chosen(
    site: Deployment, company: Tenants, owner: Any
):
    lost = company.add("expenses", owner)
    (problem,) = refusal(site)
    assert problem["collection"] == "expenses"
    assert (problem["count"], problem["samples"]) == (1, [lost])
    for tenant in company.organizations:
        assert str(tenant) in problem["what"]
    assert "inventory" in problem["fix"]


@pytest.mark.parametrize("tenant", [ABSENT, None, ""], ids=["missing", "null", "empty"])
def test_an_owner_without_an_organization_is_like_no_owner(
    site: Deployment, company: Tenants, tenant: Any
):
    company.add("expenses", company.user(tenant))
    (problem,) = refusal(site)
    assert str(company.organizations[0]) in problem["what"]


def test_without_an_owner_the_only_organization_is_taken(site: Deployment):
    company = tenants(site, 1)
    lost = [company.add("expenses", owner) for owner in NOBODY.values()]
    site.migrate("004")
    for identifier in lost:
        assert company.value("expenses", identifier) == company.organizations[0]
    assert failed(site.verify("004")) == []


def test_the_inventory_can_name_the_organization_of_documents_without_an_owner(
    site: Deployment, company: Tenants
):
    named_one = company.organization(slug="acme")
    lost = [company.add("expenses", owner) for owner in NOBODY.values()]
    owned = company.add("expenses", company.users[company.organizations[0]])
    site.migrate("004", default_organization={"slug": "acme"})
    for identifier in lost:
        assert company.value("expenses", identifier) == named_one
    assert company.value("expenses", owned) == company.organizations[0]
    assert failed(site.verify("004")) == []


def test_the_default_organization_can_be_named_by_its_id(site: Deployment, company: Tenants):
    lost = company.add("expenses", None)
    chosen = company.organizations[1]
    site.migrate("004", default_organization={"_id": {"$oid": str(chosen)}})
    assert company.value("expenses", lost) == chosen


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ({"slug": "nobody"}, "there is no document in organizations"),
        ({"name": "Patel"}, "more than one"),
    ],
)
def test_a_default_organization_that_is_not_one_stops(
    site: Deployment, company: Tenants, where: dict[str, Any], says: str
):
    company.add("expenses", None)
    (problem,) = refusal(site, default_organization=where)
    assert says in problem["what"]


def test_a_default_organization_with_a_malformed_id_is_refused(site: Deployment, company: Tenants):
    before = site.everything()
    with pytest.raises(DefinitionError, match="'acme' is not a valid ObjectId"):
        site.migrate("004", default_organization={"_id": {"$oid": "acme"}})
    assert site.everything() == before


def test_an_owner_of_an_organization_that_is_gone_stops_even_where_one_is_left(site: Deployment):
    """Its documents were another tenant's: they must not land with whoever remains."""
    company = tenants(site, 1)
    lost = company.add("paymentouts", company.user(ObjectId()))
    (problem,) = refusal(site)
    assert problem["samples"] == [lost]
    assert refusal(site, default_organization={"name": "Patel"})


def test_what_has_no_organization_can_be_left_exactly_as_it_is(site: Deployment, company: Tenants):
    values = [*EMPTY.values(), *INVALID.values()]
    lost = {company.add("expenses", None, value): value for value in values}
    owned = company.add("expenses", company.users[company.organizations[0]])
    documents = {row["_id"]: row for row in site.data["expenses"].find()}
    result = site.migrate("004", unresolved_documents="skip")
    assert result["skipped"] == len(lost)
    assert result["modified"] == 1
    for identifier in lost:
        assert site.data["expenses"].find_one({"_id": identifier}) == documents[identifier]
    assert company.value("expenses", owned) == company.organizations[0]
    checked = site.verify("004")
    assert failed(checked) == []
    detail = named(checked, "expenses: no document is without")["detail"]
    assert f"{len(lost)} left alone by policy" in detail
    (left,) = checked["left_alone"]
    assert (left["collection"], left["count"]) == ("expenses", len(lost))
    assert set(left["ids"]) == set(lost)
    assert left["policy"] == "when_unresolved: skip"


# -- values that are no organization ---------------------------------------------------------


@pytest.mark.parametrize("value", INVALID.values(), ids=list(INVALID))
def test_what_is_no_organization_can_be_kept(site: Deployment, company: Tenants, value: Any):
    user = company.users[company.organizations[0]]
    kept, empty = company.add("items", user, value), company.add("items", user, "")
    site.migrate("004", invalid_values="keep")
    assert company.value("items", kept) == value
    assert company.value("items", empty) == company.organizations[0]
    checked = site.verify("004")
    assert failed(checked) == []
    (left,) = checked["left_alone"]
    assert (left["ids"], left["policy"]) == ([kept], "when_invalid: keep")


@pytest.mark.parametrize("value", INVALID.values(), ids=list(INVALID))
def test_what_is_no_organization_can_stop(site: Deployment, company: Tenants, value: Any):
    user = company.users[company.organizations[0]]
    wrong = company.add("items", user, value)
    company.add("items", user, None)
    (problem,) = refusal(site, invalid_values="fail")
    assert (problem["count"], problem["samples"]) == (1, [wrong])


def test_the_plan_tells_why_each_document_is_a_candidate(site: Deployment, company: Tenants):
    user = company.users[company.organizations[0]]
    for value in (ABSENT, ABSENT, None, "", "word", 5, ObjectId(), company.organizations[0]):
        company.add("items", user, value)
    (row,) = [
        row
        for row in site.plan("004")["steps"]
        if row["collection"] == "items" and row["kind"] == "set_field"
    ]
    assert row["empty"] == {"missing": 2, "null": 1, "empty_string": 1}
    assert row["invalid"] == {"wrong_type": 2, "dangling": 1}
    assert (row["documents"], row["candidates"], row["to_change"]) == (8, 7, 7)


# -- collections -----------------------------------------------------------------------------


def test_without_an_organization_nothing_is_migrated(site: Deployment):
    tenants(site, 0)
    problems = refusal(site)
    assert "there is at least one organization" in problems[0]["what"]


def test_empty_collections_are_migrated_to_empty_collections_with_an_index(
    site: Deployment, company: Tenants
):
    site.migrate("004", writers_stopped=True)
    assert failed(site.verify("004")) == []
    assert "organizationId_1" in site.data["returns"].index_information()


def test_a_collection_that_the_deployment_lacks_is_left_out(site: Deployment, company: Tenants):
    site.data["returns"].drop()
    site.collections["returns"] = None
    identifier = company.add("bills", company.users[company.organizations[0]])
    assert any("returns: left out" in line for line in site.plan("004")["warnings"])
    before = site.content()
    site.migrate("004")
    assert company.value("bills", identifier) == company.organizations[0]
    assert "returns" not in site.data.list_collection_names()
    assert failed(site.verify("004")) == []
    site.roll_back("004")
    assert site.content() == before


def wrong_names(site: Deployment) -> str:
    before = site.everything()
    with pytest.raises(DefinitionError) as caught:
        site.migrate("004")
    assert site.everything() == before
    return caught.value.message


def test_missing_collections_are_told_at_once_each_with_the_near_name(
    site: Deployment, company: Tenants
):
    del site.collections["bankAccounts"], site.collections["paymentIns"]
    site.data["expenses"].drop()
    message = wrong_names(site)
    assert (
        "'bankaccounts' does. Map it in the inventory: mongo_collections: {bankAccounts: "
        in message
    )
    assert "{paymentIns: paymentins}" in message
    assert "'expenses' doesn't exist" in message
    assert "mongo_collections: {expenses: null}" in message


def test_a_view_is_refused(site: Deployment, company: Tenants):
    site.data["returns"].drop()
    site.data.create_collection("returns", viewOn="bills", pipeline=[])
    assert "'returns' is a view" in wrong_names(site)


def test_a_time_series_is_refused(site: Deployment, company: Tenants):
    site.data["returns"].drop()
    site.data.create_collection("returns", timeseries={"timeField": "at"})
    assert "'returns' is a timeseries" in wrong_names(site)


def test_a_capped_collection_is_refused(site: Deployment, company: Tenants):
    site.data["returns"].drop()
    site.data.create_collection("returns", capped=True, size=1 << 20)
    assert "'returns' is a capped collection" in wrong_names(site)


# -- indexes ---------------------------------------------------------------------------------


def test_an_index_that_was_there_is_used_and_kept(site: Deployment, company: Tenants):
    site.data["items"].create_index([("organizationId", 1)])
    before = site.content()
    result = site.migrate("004")
    assert "items.organizationId_1" not in result["indexes"]
    assert len(result["indexes"]) == 12
    site.roll_back("004")
    assert site.content() == before


@pytest.mark.parametrize("options", [{"unique": True}, {"sparse": True}, {"name": "by_tenant"}])
def test_another_index_in_the_way_stops(
    site: Deployment, company: Tenants, options: dict[str, Any]
):
    site.data["items"].create_index([("organizationId", 1)], **options)
    (problem,) = refusal(site)
    assert problem["collection"] == "items"


# -- once and again --------------------------------------------------------------------------


def test_a_second_run_writes_nothing(site: Deployment, company: Tenants):
    company.add("items", company.users[company.organizations[0]])
    site.migrate("004")
    before = site.everything(), site.content()
    assert site.migrate("004")["changed"] is False
    assert (site.everything(), site.content()) == before
    site.verify("004")
    before = site.everything(), site.content()
    assert site.migrate("004")["changed"] is False
    assert (site.everything(), site.content()) == before


def test_a_changed_document_of_an_applied_migration_is_refused(site: Deployment, company: Tenants):

    site.migrate("004")
    before = site.everything()
    text, source = text_of("004")
    changed = (text.replace("Index the field", "Index it"), source)
    with pytest.raises(Exception, match="has changed since run 004-") as caught:
        site.migrate(changed)
    assert "An applied migration is never changed" in str(caught.value)
    assert site.everything() == before
    with pytest.raises(MigrationError, match="check out the revision"):
        site.roll_back("004")  # by the changed document
    assert site.everything() == before
    site.load("004")
    site.roll_back("004")
    assert site.migrate(changed)["changed"] is True


def test_003_must_come_first(site: Deployment, company: Tenants):

    text, source = text_of("004")
    loaded = definition.load(text, source, collections=site.collections)
    (problem,) = plan.make(site.client, site.data.name, loaded)["problems"]
    assert "migration 003 must be applied before 004" in problem["what"]


# -- validators ------------------------------------------------------------------------------

NO_ORGANIZATION = {"$jsonSchema": {"not": {"required": ["organizationId"]}}}


def test_documents_that_a_validator_would_refuse_are_found_by_the_plan(
    site: Deployment, company: Tenants
):
    user = company.users[company.organizations[0]]
    good, bad = company.add("items", user), company.add("items", user, color="none")
    rule = {"$or": [{"organizationId": {"$exists": False}}, {"color": {"$exists": False}}]}
    site.data.command("collMod", "items", validator=rule)
    before = site.everything()
    (refused,) = [item for item in refusal(site) if item["policy"] == "validator"]
    assert (refused["collection"], refused["count"], refused["samples"]) == ("items", 1, [bad])
    assert "collMod" in refused["fix"]
    assert site.everything() == before
    site.data["items"].delete_one({"_id": bad})
    assert site.migrate("004")["phase"] == "applied"
    assert site.data["items"].find_one({"_id": good})["organizationId"]


@pytest.mark.parametrize(
    "options",
    [{"validationAction": "warn"}, {"validationLevel": "off"}],
    ids=["warn", "off"],
)
def test_a_validator_that_refuses_nothing_is_in_nobodys_way(
    site: Deployment, company: Tenants, options: dict[str, str]
):
    company.add("items", company.users[company.organizations[0]])
    site.data.command("collMod", "items", validator=NO_ORGANIZATION, **options)
    assert site.migrate("004")["modified"] == 1


@pytest.mark.usefixtures("roomy")
def test_a_document_without_room_for_the_field_is_found_by_the_plan(
    site: Deployment, company: Tenants
):
    full = company.add("bills", company.users[company.organizations[0]])
    room = (16 << 20) - len(bson.encode(site.data["bills"].find_one({"_id": full})))
    site.data["bills"].update_one({"_id": full}, {"$set": {"scan": bytes(room - 20)}})
    (refused,) = refusal(site)
    assert "larger than MongoDB's 16 MB" in refused["what"]
    assert (refused["collection"], refused["count"], refused["samples"]) == ("bills", 1, [full])


def test_a_moderate_validator_leaves_documents_alone_that_were_invalid_before(
    site: Deployment, company: Tenants
):
    company.add("items", company.users[company.organizations[0]], color="none")
    rule = {"color": {"$exists": False}}
    site.data.command("collMod", "items", validator=rule, validationLevel="moderate")
    assert site.migrate("004")["modified"] == 1
    assert failed(site.verify("004")) == []


def test_the_plan_shows_a_few_real_documents_of_each_kind(site: Deployment, company: Tenants):
    user = company.users[company.organizations[0]]
    for model in OWNER_FIELDS:
        for value in (None, "", 17):
            company.add(model, user, value)
            company.add(model, user, value)
    plan = site.plan("004")
    shown = [(row, one) for row in plan["steps"] for one in row.get("preview", ())]
    # Two of each: null, empty, of another type; the rest is more of the same.
    assert len(shown) == 2 * 3
    for row, one in shown:
        found = site.data[row["real_name"]].find_one({"_id": one["_id"]})
        assert found is not None
        assert one["before"]["organizationId"] == found["organizationId"]
        assert one["after"] == {"organizationId": company.organizations[0]}
