"""The repairs: what each does to data that is wrong, and that it is undone exactly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from bson import Decimal128, Int64, ObjectId
from mongo_migration.errors import PlanBlockedError
from mongo_migration.procedures import plan_text

from tests.support.migrations import Deployment, failed, named
from tests.support.snapshot import differences
from tests.support.tenants import ABSENT, Tenants, tenants

NOW = datetime.now(UTC).replace(microsecond=0)
START, END = NOW - timedelta(days=100), NOW + timedelta(days=200)


def company(site: Deployment) -> Tenants:
    """Organizations, users, and collections for periods and journal entries."""
    made = tenants(site)
    for name in ("financialperiods", "journalentries"):
        site.data.create_collection(name)
    return made


def period(site: Deployment, tenant: Any, **fields: Any) -> ObjectId:
    document = {
        "_id": ObjectId(),
        "organization": tenant,
        "fiscalYear": 2026,
        "startDate": START,
        "endDate": END,
        "status": "open",
        "notes": {"b": 1, "a": [None, 2.0]},
        **fields,
    }
    kept = {key: value for key, value in document.items() if value is not ABSENT}
    site.data["financialperiods"].insert_one(kept)
    return kept["_id"]


def entry(site: Deployment, tenant: Any, period: Any = ABSENT, **fields: Any) -> ObjectId:
    document = {"_id": ObjectId(), "organization": tenant, "date": NOW, "total": 7, **fields}
    if period is not ABSENT:
        document["financialPeriod"] = period
    site.data["journalentries"].insert_one(document)
    return document["_id"]


def periods_of(site: Deployment) -> dict[Any, Any]:
    rows = site.data["journalentries"].find()
    return {row["_id"]: row.get("financialPeriod", ABSENT) for row in rows}


def repair_and_undo(
    site: Deployment, repair: str, *, writers_stopped: bool = False, **variables: Any
) -> Any:
    """Repair, verify, and return what there is then; the caller's checks are on that."""
    before = site.content()
    if writers_stopped:
        site.maintenance("on")
    site.migrate(repair, writers_stopped=writers_stopped, **variables)
    verified = site.verify(repair)
    assert failed(verified) == []
    after = site.content()
    collections = {name: {row["_id"]: row for row in site.data[name].find()} for name in after[0]}
    undone = site.roll_back(repair)
    assert undone["conflict_count"] == 0
    assert differences(before[0], site.content()[0]) == []
    assert site.content()[1] == before[1]
    assert failed(site.verify(repair, "rolled_back")) == []
    if writers_stopped:
        site.maintenance("off")
    return collections, verified


@pytest.mark.parametrize("writers_stopped", [False, True], ids=["live", "stopped"])
def test_of_duplicate_periods_the_one_with_most_entries_stays(
    deployment: Deployment, writers_stopped: bool
):
    made = company(deployment)
    one, two, other = made.organizations
    old, used, third = (period(deployment, one) for _ in range(3))
    kept = period(deployment, two)
    # Two of one fiscal year that don't overlap: halves of it.
    half = START + timedelta(days=100)
    period(deployment, other, endDate=half - timedelta(milliseconds=1))
    period(deployment, other, startDate=half)
    entries = [entry(deployment, one, which) for which in (old, used, used, third)]
    apart = entry(deployment, two, kept)

    data, verified = repair_and_undo(deployment, "R01", writers_stopped=writers_stopped)

    assert set(data["financialperiods"]) & {old, used, third} == {used}
    assert len(data["financialperiods"]) == 4
    assert {data["journalentries"][one_]["financialPeriod"] for one_ in entries} == {used}
    assert data["journalentries"][apart]["financialPeriod"] == kept
    if writers_stopped:
        check = named(verified, "financialperiods: nothing else changed")
        assert (check["status"], check["examined"]) == ("passed", 4 + 2)
        assert named(verified, "but the 2 removed")["status"] == "passed"


@pytest.mark.parametrize(("keep", "position"), [("oldest", 0), ("newest", 2)])
def test_the_rule_says_which_duplicate_stays(deployment: Deployment, keep: str, position: int):
    made = company(deployment)
    all_three = [period(deployment, made.organizations[0]) for _ in range(3)]
    entry(deployment, made.organizations[0], all_three[1])
    data, _verified = repair_and_undo(deployment, "R01", keep=keep)
    assert set(data["financialperiods"]) == {all_three[position]}


def test_duplicates_that_differ_are_refused_unless_a_policy_says_what_to_do(
    deployment: Deployment,
):
    made = company(deployment)
    first = period(deployment, made.organizations[0])
    period(deployment, made.organizations[0], status="closed")
    before = deployment.everything()
    with pytest.raises(PlanBlockedError, match="differ in status"):
        deployment.migrate("R01")
    assert differences(before, deployment.everything()) == []
    data, _verified = repair_and_undo(deployment, "R01", differing_periods="merge")
    assert set(data["financialperiods"]) == {first}
    data, _verified = repair_and_undo(deployment, "R01", differing_periods="skip")
    assert len(data["financialperiods"]) == 2


def test_what_a_merge_of_differing_periods_would_remove_is_told_one_by_one(
    deployment: Deployment,
):
    tenant = company(deployment).organizations[0]
    months = [START + timedelta(days=30 * number) for number in range(4)]
    parts = [
        period(deployment, tenant, startDate=first, endDate=last - timedelta(milliseconds=1))
        for first, last in pairwise(months)
    ]
    assert deployment.plan("R01")["totals"]["to_remove"] == 0
    year = period(deployment, tenant)
    entry(deployment, tenant, year)
    entry(deployment, tenant, year)
    booked = entry(deployment, tenant, parts[1])
    plan = deployment.plan("R01")
    (problem,) = plan["problems"]
    assert "differ in endDate, startDate" in problem["what"]
    assert problem["settings"] == {"differing_periods": ["skip", "merge"]}
    told = {row["remove"]: row for row in plan["steps"][0]["removals"]}
    assert set(told) == set(parts)
    assert told[parts[1]]["keep"] == year
    assert (told[parts[0]]["references"], told[parts[1]]["references"]) == (0, 1)
    text = plan_text.table(plan)
    assert all(f"{part}" in text for part in parts)
    data, _verified = repair_and_undo(deployment, "R01", differing_periods="merge")
    assert set(data["financialperiods"]) == {year}
    assert data["journalentries"][booked]["financialPeriod"] == year


def test_periods_that_only_touch_are_no_duplicates(deployment: Deployment):
    tenant = company(deployment).organizations[0]
    middle = START + timedelta(days=30)
    period(deployment, tenant, endDate=middle)
    period(deployment, tenant, startDate=middle)
    assert deployment.plan("R01")["steps"][0]["groups"] == 0


TAGS = """
id: "900"
name: merge-tags
summary: One of each.
after: []
downtime: required
steps:
  - name: Merge
    merge_duplicates:
      in: tags
      by: [name]
      keep: oldest
      referenced_by: {posts: tag}
postconditions: []
"""


@pytest.mark.parametrize("ids", [(1, 2), (1.0, 2), (Int64(1), Decimal128("2.0"))], ids=str)
@pytest.mark.parametrize("writers_stopped", [False, True], ids=["live", "stopped"])
def test_a_reference_of_another_number_type_is_moved_too(
    deployment: Deployment, ids: tuple[Any, Any], writers_stopped: bool
):
    tags, posts = deployment.data["tags"], deployment.data["posts"]
    tags.insert_many([{"_id": one, "name": "a"} for one in ids])
    held: list[Any] = [2, 2.0, Int64(2), Decimal128("2.00"), Decimal128("2"), 1, 1.0, 3]
    posts.insert_many([{"_id": number, "tag": value} for number, value in enumerate(held)])
    before = deployment.content()
    assert deployment.plan((TAGS, "900.yml"))["steps"][0]["to_repoint"] == 5
    if writers_stopped:
        deployment.maintenance("on")
    deployment.migrate((TAGS, "900.yml"), writers_stopped=writers_stopped)
    assert [row["name"] for row in tags.find()] == ["a"]
    assert posts.count_documents({"tag": 1}) == 7
    assert failed(deployment.verify((TAGS, "900.yml"))) == []
    deployment.roll_back("900")
    assert deployment.content() == before


def test_a_period_made_in_the_place_of_a_removed_one_is_a_conflict(deployment: Deployment):
    made = company(deployment)
    kept, gone = (period(deployment, made.organizations[0]) for _ in range(2))
    deployment.migrate("R01")
    deployment.data["financialperiods"].insert_one({"_id": gone, "made": "by hand"})
    undone = deployment.roll_back("R01")
    assert undone["conflict_count"] == 1
    assert undone["conflicts"][0]["_id"] == gone
    assert deployment.data["financialperiods"].find_one({"_id": gone})["made"] == "by hand"
    assert deployment.data["financialperiods"].find_one({"_id": kept}) is not None


def test_duplicates_are_merged_on_a_server_without_transactions(
    standalone_deployment: Deployment,
):
    made = company(standalone_deployment)
    kept, gone = (period(standalone_deployment, made.organizations[0]) for _ in range(2))
    entry(standalone_deployment, made.organizations[0], gone)
    entry(standalone_deployment, made.organizations[0], kept)
    data, _verified = repair_and_undo(standalone_deployment, "R01")
    assert set(data["financialperiods"]) == {kept}


def test_a_repair_is_done_again_for_what_has_gone_wrong_since(deployment: Deployment):
    made = company(deployment)
    tenant = made.organizations[0]
    right = period(deployment, tenant)
    entry(deployment, tenant)
    first = deployment.migrate("R02")
    deployment.verify("R02")
    again = deployment.migrate("R02")
    assert (again["changed"], again["run"]) == (False, first["run"])
    late = entry(deployment, tenant)
    third = deployment.migrate("R02")
    assert (third["changed"], third["modified"]) == (True, 1)
    assert third["run"] != first["run"]
    assert periods_of(deployment)[late] == right


def test_unassigned_entries_go_to_their_own_organization(deployment: Deployment):
    made = company(deployment)
    one, two, none = made.organizations
    mine, theirs = period(deployment, one), period(deployment, two)
    last_year = {"startDate": START - timedelta(days=365), "endDate": START - timedelta(seconds=1)}
    past = period(deployment, one, fiscalYear=2025, **last_year)
    cases = {
        entry(deployment, one): mine,
        entry(deployment, two, None): theirs,
        entry(deployment, one, ObjectId()): mine,
        entry(deployment, one, date=START - timedelta(days=9)): past,
        entry(deployment, one, date="2026-05-01"): mine,
        entry(deployment, two, theirs): theirs,
        entry(deployment, none): ABSENT,
    }
    data, _verified = repair_and_undo(deployment, "R02")
    assert {
        key: row.get("financialPeriod", ABSENT) for key, row in data["journalentries"].items()
    } == cases


def test_not_updated_says_why_of_each_document(deployment: Deployment):
    made = company(deployment)
    one = made.organizations[0]
    fine = made.add("items", made.users[one])
    made.add("expenses", ABSENT)
    made.add("suppliers", ObjectId())
    homeless = made.user(ABSENT)
    made.add("bills", homeless)
    deployment.data.command(
        "collMod",
        "invoices",
        validator={"$jsonSchema": {"properties": {"amount": {"bsonType": "string"}}}},
    )
    plan = deployment.plan("R03")
    said = {row["collection"]: row["unresolved"] for row in plan["steps"]}
    assert "createdBy is empty" in str(said["expenses"])
    assert "no document in users" in str(said["suppliers"])
    assert said["bills"][0]["count"] == 1
    assert plan["totals"]["to_change"] == 1
    data, _verified = repair_and_undo(deployment, "R03")
    assert data["items"][fine]["organizationId"] == one


def test_a_document_that_the_validator_refuses_is_named(deployment: Deployment):
    made = company(deployment)
    identifier = made.add("invoices", made.users[made.organizations[0]])
    deployment.data.command(
        "collMod",
        "invoices",
        validator={"$jsonSchema": {"properties": {"amount": {"bsonType": "string"}}}},
    )
    (problem,) = deployment.plan("R03")["problems"]
    assert "validator" in problem["what"]
    assert problem["samples"] == [identifier]


def test_text_becomes_an_id_only_where_it_names_something(deployment: Deployment):
    made = company(deployment)
    one = made.organizations[0]
    right = period(deployment, one)
    good = made.add("invoices", made.users[one], str(one))
    word = made.add("invoices", made.users[one], "Sharma Traders")
    nobody = made.add("invoices", made.users[one], str(ObjectId()))
    owner = made.add("bankaccounts", str(made.users[one]))
    booked = entry(deployment, str(one), str(right))
    plan = deployment.plan("R04")
    assert plan["totals"]["to_change"] == 4
    data, _verified = repair_and_undo(deployment, "R04")
    assert data["invoices"][good]["organizationId"] == one
    assert data["invoices"][word]["organizationId"] == "Sharma Traders"
    assert isinstance(data["invoices"][nobody]["organizationId"], str)
    assert data["bankaccounts"][owner]["userId"] == made.users[one]
    assert data["journalentries"][booked]["organization"] == one
    assert data["journalentries"][booked]["financialPeriod"] == right


def test_null_and_empty_fields_get_what_can_be_known(deployment: Deployment):
    made = company(deployment)
    one, two, _three = made.organizations
    right = period(deployment, one)
    null = made.add("items", made.users[one], None)
    empty = made.add("customers", made.users[two], "")
    missing = made.add("customers", made.users[two])
    lost = made.add("items", None, None)
    booked = entry(deployment, None, ObjectId(), createdBy=made.users[one])
    bare = entry(deployment, one, createdBy=made.users[two])
    deployment.data["journalentries"].update_one({"_id": bare}, {"$unset": {"organization": 1}})
    gone = entry(deployment, other := ObjectId(), createdBy=made.users[two])
    dated = entry(deployment, one, None)
    data, _verified = repair_and_undo(deployment, "R05")
    assert data["items"][null]["organizationId"] == one
    assert data["customers"][empty]["organizationId"] == two
    assert "organizationId" not in data["customers"][missing]
    assert data["items"][lost]["organizationId"] is None
    assert data["journalentries"][booked]["organization"] == one
    assert data["journalentries"][bare]["organization"] == two
    assert data["journalentries"][gone]["organization"] == other, "a value is no empty field"
    assert data["journalentries"][dated]["financialPeriod"] == right


def test_periods_of_a_half_done_script_are_adopted_and_003_makes_no_second_ones(
    deployment: Deployment,
):
    made = company(deployment)
    one, two, three = made.organizations
    year = NOW.year if NOW.month >= 4 else NOW.year - 1
    # Midnight of the 1st of April in Kolkata, as the old script wrote it.
    dates = {
        "startDate": datetime(year, 3, 31, 18, 30, tzinfo=UTC),
        "endDate": datetime(year + 1, 3, 31, 18, 29, 59, 999000, tzinfo=UTC),
    }
    bare = period(deployment, one, fiscalYear=ABSENT, status=ABSENT, **dates)
    text = period(deployment, str(two), fiscalYear=str(year), status=None, **dates)
    done, left = entry(deployment, one, bare), entry(deployment, two)
    entry(deployment, three)
    data, _verified = repair_and_undo(deployment, "R06")
    for identifier, tenant in ((bare, one), (text, two)):
        there = data["financialperiods"][identifier]
        assert (there["organization"], there["fiscalYear"]) == (tenant, year)
        assert there["status"] == "open"
    assert data["journalentries"][left]["financialPeriod"] == text
    assert data["journalentries"][done]["financialPeriod"] == bare

    deployment.migrate("R06")
    deployment.migrate("003")
    rows = list(deployment.data["financialperiods"].find())
    assert sorted(row["organization"] for row in rows) == sorted([one, two, three])
    assert {bare, text} < {row["_id"] for row in rows}
