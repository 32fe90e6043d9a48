"""003 gives every organization its financial period and every journal entry one of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from bson import DatetimeMS, Int64, ObjectId
from mongo_migration.errors import PlanBlockedError
from mongo_migration.ledger import by_uuid, runs
from pymongo.collection import Collection

from tests.support.migrations import Deployment, failed

MILLISECOND = timedelta(milliseconds=1)
AUTUMN = datetime(2026, 10, 31, 12, tzinfo=UTC)

Document = dict[str, Any]
At = Callable[[datetime], None]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> At:
    """Set the clock that a run asks for its now."""

    def set_clock(moment: datetime) -> None:
        monkeypatch.setattr(runs, "server_now", lambda database: moment)

    return set_clock


def midnight(year: int, month: int, zone: str) -> datetime:
    """Return the first instant of a month somewhere, by the timezone database of Python."""
    return datetime(year, month, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def bounds(year: int, month: int, zone: str) -> tuple[datetime, datetime]:
    return midnight(year, month, zone), midnight(year + 1, month, zone) - MILLISECOND


def organization(site: Deployment, settings: Any = None, **fields: Any) -> ObjectId:
    document = {"_id": ObjectId(), "name": "Sharma Traders", "createdBy": ObjectId(), **fields}
    if settings is not None:
        document["settings"] = settings
    site.data["organizations"].insert_one(document)
    return document["_id"]


def entry(site: Deployment, tenant: Any, date: Any = AUTUMN, **fields: Any) -> ObjectId:
    document = {"_id": ObjectId(), "organization": tenant, "date": date, "note": "n", **fields}
    site.data["journalentries"].insert_one(document)
    return document["_id"]


def period(site: Deployment, tenant: Any, year: int, **fields: Any) -> ObjectId:
    start, end = bounds(year, 4, "Asia/Kolkata")
    document = {
        "_id": ObjectId(),
        "organization": tenant,
        "fiscalYear": year,
        "startDate": start,
        "endDate": end,
        "status": "open",
        **fields,
    }
    site.data["financialperiods"].insert_one(document)
    return document["_id"]


def periods(site: Deployment, tenant: Any) -> list[Document]:
    return list(site.data["financialperiods"].find({"organization": tenant}).sort("startDate"))


def period_of(site: Deployment, identifier: ObjectId) -> Any:
    return site.data["journalentries"].find_one({"_id": identifier}).get("financialPeriod")


@pytest.fixture
def site(deployment: Deployment) -> Deployment:
    for name in ("organizations", "journalentries", "financialperiods"):
        deployment.data.create_collection(name)
    return deployment


# -- the period of today ---------------------------------------------------------------------

ZONES = [
    "Asia/Kolkata",
    "America/New_York",
    "America/St_Johns",
    "Europe/Berlin",
    "Europe/London",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
    "Asia/Kathmandu",
    "UTC",
]


def test_periods_begin_and_end_at_midnight_of_the_organizations_own_timezone(
    site: Deployment, at: At
):
    at(AUTUMN)
    expected = {}
    for zone in ZONES:
        for month in (1, 4, 7, 10, 11, 12):
            tenant = organization(site, {"fiscalYearStart": month, "timezone": zone})
            local = AUTUMN.astimezone(ZoneInfo(zone))
            year = local.year if local.month >= month else local.year - 1
            expected[tenant] = (year, *bounds(year, month, zone))
    site.migrate("003")
    stored = list(site.data["financialperiods"].find())
    assert len(stored) == len(expected)
    for document in stored:
        tenant = document["organization"]
        found = (document["fiscalYear"], document["startDate"], document["endDate"])
        assert found == expected[tenant]
        assert document["name"] == f"FY {found[0]}-{found[0] + 1}"


def test_a_period_holds_what_the_application_expects(site: Deployment, at: At):
    at(AUTUMN)
    creator = ObjectId()
    tenant = organization(
        site, {"fiscalYearStart": 4, "timezone": "Asia/Kolkata"}, createdBy=creator
    )
    site.migrate("003")
    (document,) = periods(site, tenant)
    identifier = document.pop("_id")
    assert isinstance(identifier, ObjectId)
    assert document == {
        "name": "FY 2026-2027",
        "fiscalYear": 2026,
        "startDate": datetime(2026, 3, 31, 18, 30, tzinfo=UTC),
        "endDate": datetime(2027, 3, 31, 18, 29, 59, 999000, tzinfo=UTC),
        "status": "open",
        "organization": tenant,
        "createdBy": creator,
        "notes": "Created by migration 003",
        "createdAt": AUTUMN,
        "updatedAt": AUTUMN,
    }
    assert site.data["financialperiods"].count_documents({"fiscalYear": {"$type": "int"}}) == 1


@pytest.mark.parametrize("creator", [{}, {"createdBy": None}])
def test_an_organization_without_a_creator_creates_its_period_itself(
    site: Deployment, creator: Document
):
    document = {"_id": ObjectId(), "name": "Old", **creator}
    site.data["organizations"].insert_one(document)
    site.migrate("003")
    (made,) = periods(site, document["_id"])
    assert made["createdBy"] == document["_id"]


@pytest.mark.parametrize(
    "settings",
    [None, {}, {"currency": "INR"}, {"fiscalYearStart": None, "timezone": None}],
    ids=["no settings", "empty settings", "other settings", "null settings"],
)
def test_an_organization_that_says_nothing_has_april_in_kolkata(
    site: Deployment, at: At, settings: Any
):
    at(AUTUMN)
    tenant = organization(site, settings)
    site.migrate("003")
    (made,) = periods(site, tenant)
    assert (made["startDate"], made["endDate"]) == bounds(2026, 4, "Asia/Kolkata")


def test_settings_that_are_null_count_as_unsaid(site: Deployment, at: At):
    at(AUTUMN)
    tenant = ObjectId()
    site.data["organizations"].insert_one({"_id": tenant, "settings": None})
    site.migrate("003")
    (made,) = periods(site, tenant)
    assert (made["startDate"], made["endDate"]) == bounds(2026, 4, "Asia/Kolkata")


def test_the_inventory_can_name_other_defaults(site: Deployment, at: At):
    at(AUTUMN)
    tenant = organization(site)
    site.migrate("003", default_fiscal_year_start=7, default_timezone="Europe/Berlin")
    (made,) = periods(site, tenant)
    assert (made["startDate"], made["endDate"]) == bounds(2026, 7, "Europe/Berlin")


@pytest.mark.parametrize("month", [7, 7.0, Int64(7)], ids=["int", "double", "long"])
def test_a_month_may_be_any_whole_number(site: Deployment, at: At, month: Any):
    at(AUTUMN)
    tenant = organization(site, {"fiscalYearStart": month, "timezone": "UTC"})
    site.migrate("003")
    assert periods(site, tenant)[0]["startDate"] == datetime(2026, 7, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "month"), [("Asia/Kolkata", 4), ("America/New_York", 1), ("Pacific/Auckland", 12)]
)
def test_the_year_changes_at_the_millisecond(site: Deployment, at: At, zone: str, month: int):
    tenant = organization(site, {"fiscalYearStart": month, "timezone": zone})
    for moment, year in (
        (midnight(2026, month, zone) - MILLISECOND, 2025),
        (midnight(2026, month, zone), 2026),
    ):
        at(moment)
        site.migrate("003")
        (made,) = periods(site, tenant)
        assert made["fiscalYear"] == year
        assert (made["startDate"], made["endDate"]) == bounds(year, month, zone)
        site.roll_back("003")


def test_a_day_without_midnight_begins_at_one(site: Deployment, at: At):
    # Where clocks go forward at midnight, as they did in Paraguay.
    start = datetime(2023, 10, 1, 4, tzinfo=UTC)
    assert midnight(2023, 10, "America/Asuncion") == start
    at(start + timedelta(days=40))
    tenant = organization(site, {"fiscalYearStart": 10, "timezone": "America/Asuncion"})
    site.migrate("003")
    assert periods(site, tenant)[0]["startDate"] == start


# -- entries under default_period ------------------------------------------------------------


def test_every_entry_goes_to_the_period_of_its_own_organization(site: Deployment, at: At):
    at(AUTUMN)
    tenants = [organization(site) for _ in range(4)]
    old = datetime(2019, 1, 1, tzinfo=UTC)
    entries = {entry(site, t, date): t for t in tenants for date in (AUTUMN, old) for _ in range(3)}
    planned = site.plan("003")
    result = site.migrate("003")
    by_tenant = {t: periods(site, t)[0]["_id"] for t in tenants}
    assert len(set(by_tenant.values())) == 4
    for identifier, tenant in entries.items():
        assert period_of(site, identifier) == by_tenant[tenant]
    assert (result["modified"], result["inserted"]) == (24, 4)
    assert any("12 lie outside the dates" in line for line in planned["warnings"])
    assert failed(site.verify("003")) == []


def test_an_entry_without_a_date_goes_to_the_present_period_too(site: Deployment):
    tenant = organization(site)
    entries = [entry(site, tenant, date) for date in (None, "2026-05-01", 17)]
    site.migrate("003")
    (made,) = periods(site, tenant)
    assert {period_of(site, identifier) for identifier in entries} == {made["_id"]}


def test_no_other_field_of_an_entry_changes(site: Deployment):
    tenant = organization(site)
    identifier = entry(site, tenant, lines=[{"debit": 1.5}, {"credit": 1.5}])
    before = site.data["journalentries"].find_one()
    site.migrate("003")
    after = site.data["journalentries"].find_one({"_id": identifier})
    assert after.pop("financialPeriod") == periods(site, tenant)[0]["_id"]
    assert list(after.items()) == list(before.items())


# -- entries under per_fiscal_year -----------------------------------------------------------


@pytest.mark.parametrize(
    ("month", "zone"),
    [(4, "Asia/Kolkata"), (1, "America/New_York"), (12, "Pacific/Auckland"), (7, "Europe/London")],
)
def test_each_entry_goes_to_the_year_that_contains_it_to_the_millisecond(
    site: Deployment, at: At, month: int, zone: str
):
    at(AUTUMN)
    tenant = organization(site, {"fiscalYearStart": month, "timezone": zone})
    expected = {}
    for year in (2023, 2024, 2025):
        first, last = bounds(year, month, zone)
        expected |= {
            entry(site, tenant, first - MILLISECOND): year - 1,
            entry(site, tenant, first): year,
            entry(site, tenant, last): year,
        }
    site.migrate("003", fiscal_years="per_fiscal_year")
    made = {document["_id"]: document for document in periods(site, tenant)}
    local = AUTUMN.astimezone(ZoneInfo(zone))
    present = local.year if local.month >= month else local.year - 1
    years = {*expected.values(), present}
    assert sorted(document["fiscalYear"] for document in made.values()) == sorted(years)
    for document in made.values():
        assert (document["startDate"], document["endDate"]) == bounds(
            document["fiscalYear"], month, zone
        )
        assert document["status"] == ("open" if document["fiscalYear"] == present else "closed")
    for identifier, year in expected.items():
        assert made[period_of(site, identifier)]["fiscalYear"] == year
    assert failed(site.verify("003")) == []


def test_years_without_entries_get_no_period(site: Deployment, at: At):
    at(AUTUMN)
    tenant = organization(site)
    entry(site, tenant, datetime(2020, 6, 1, tzinfo=UTC))
    site.migrate("003", fiscal_years="per_fiscal_year")
    assert [document["fiscalYear"] for document in periods(site, tenant)] == [2020, 2026]


def test_a_year_to_come_gets_an_open_period_if_it_has_entries(site: Deployment, at: At):
    at(AUTUMN)
    tenant = organization(site)
    identifier = entry(site, tenant, datetime(2027, 6, 1, tzinfo=UTC))
    site.migrate("003", fiscal_years="per_fiscal_year")
    assert [(p["fiscalYear"], p["status"]) for p in periods(site, tenant)] == [
        (2026, "open"),
        (2027, "open"),
    ]
    assert period_of(site, identifier) == periods(site, tenant)[1]["_id"]
    assert failed(site.verify("003")) == []


@pytest.mark.parametrize("date", [None, "2026-05-01"])
def test_an_entry_without_a_date_belongs_to_no_year(site: Deployment, date: Any):
    tenant = organization(site)
    entry(site, tenant)
    dateless = entry(site, tenant, date)
    before = site.content()
    with pytest.raises(PlanBlockedError) as caught:
        site.migrate("003", fiscal_years="per_fiscal_year")
    (problem,) = caught.value.details["problems"]
    assert (problem["count"], problem["samples"]) == (1, [dateless])
    assert site.content() == before
    assert "_migrations" not in site.data.list_collection_names()


# -- periods that are there already ----------------------------------------------------------


def test_an_open_period_of_this_year_is_kept_and_used(site: Deployment, at: At):
    at(AUTUMN)
    tenant = organization(site)
    kept = period(site, tenant, 2026, name="ours", notes="made by hand")
    identifier = entry(site, tenant)
    before = periods(site, tenant)
    result = site.migrate("003")
    assert periods(site, tenant) == before
    assert period_of(site, identifier) == kept
    assert result["inserted"] == 0
    assert failed(site.verify("003")) == []


@pytest.mark.parametrize("year", [2026.0, Int64(2026)], ids=["double", "long"])
def test_a_year_is_the_same_whatever_its_number_type(site: Deployment, at: At, year: Any):
    at(AUTUMN)
    tenant = organization(site)
    kept = period(site, tenant, 2026, fiscalYear=year)
    site.migrate("003")
    assert [document["_id"] for document in periods(site, tenant)] == [kept]


def test_a_period_of_last_year_stays_beside_the_new_one(site: Deployment, at: At):
    at(AUTUMN)
    tenant = organization(site)
    old = period(site, tenant, 2025, status="closed")
    identifier = entry(site, tenant)
    site.migrate("003")
    first, second = periods(site, tenant)
    assert first["_id"] == old
    assert second["fiscalYear"] == 2026
    assert period_of(site, identifier) == second["_id"]
    assert failed(site.verify("003")) == []


@pytest.mark.parametrize("status", ["closed", "locked"])
def test_a_closed_period_of_this_year_gets_no_entries_unless_allowed(
    site: Deployment, at: At, status: str
):
    at(AUTUMN)
    tenant = organization(site)
    kept = period(site, tenant, 2026, status=status)
    identifier = entry(site, tenant)
    before = site.content()
    with pytest.raises(PlanBlockedError) as caught:
        site.migrate("003")
    (problem,) = caught.value.details["problems"]
    assert problem["collection"] == "journalEntries"
    assert (problem["count"], problem["samples"]) == (1, [identifier])
    assert site.content() == before
    site.migrate("003", assignable_statuses=["open", status])
    assert period_of(site, identifier) == kept
    assert [document["status"] for document in periods(site, tenant)] == [status]
    assert failed(site.verify("003")) == []


def test_two_open_periods_of_today_stop_the_migration_and_the_repair_is_named(
    site: Deployment, at: At
):
    at(AUTUMN)
    tenant = organization(site)
    twice = {period(site, tenant, 2026), period(site, tenant, 2026)}
    before = site.content()
    with pytest.raises(PlanBlockedError) as caught:
        site.migrate("003")
    (problem,) = caught.value.details["problems"]
    assert "no organization has two open periods that contain today" in problem["what"]
    assert set(problem["samples"][0]) == twice
    assert (problem["repair"], problem["count"]) == ("duplicate_periods", 1)
    assert problem["settings"] == {"unclear_periods": ["make", "leave"]}
    assert site.content() == before


def test_an_overlapping_period_is_kept_and_none_is_put_over_it(site: Deployment, at: At):
    at(AUTUMN)
    tenant = organization(site)
    long_year = period(
        site, tenant, 2025, endDate=datetime(2026, 12, 31, tzinfo=UTC), fiscalYear=2025
    )
    identifier = entry(site, tenant)
    planned = site.plan("003")
    assert any(str(long_year) in line for line in planned["warnings"])
    site.migrate("003")
    assert [document["_id"] for document in periods(site, tenant)] == [long_year]
    assert period_of(site, identifier) == long_year
    assert failed(site.verify("003")) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"fiscalYear": 2025, "endDate": datetime(2026, 6, 30, tzinfo=UTC)},  # overlaps
        {
            "fiscalYear": 2026,
            "startDate": datetime(2025, 3, 31, 18, 30, tzinfo=UTC),
            "endDate": datetime(2026, 3, 31, 18, 29, 59, 999000, tzinfo=UTC),
        },  # named by its end
        {"fiscalYear": 2026, "startDate": None},
    ],
    ids=["overlapping", "same year", "without dates"],
)
def test_a_period_that_stands_in_the_way_without_containing_today_is_a_problem_of_the_plan(
    site: Deployment, at: At, fields: Document
):
    at(AUTUMN)
    tenant = organization(site)  # has no entries, so nothing else can stop it
    kept = period(site, tenant, 2025, **fields)
    before = site.content()
    with pytest.raises(PlanBlockedError) as caught:
        site.migrate("003")
    (problem,) = caught.value.details["problems"]
    assert problem["collection"] == "financialPeriods"
    assert (problem["count"], problem["samples"]) == (1, [kept])
    assert site.content() == before


def test_a_period_in_the_way_does_no_harm_if_another_contains_today(site: Deployment, at: At):
    at(AUTUMN)
    tenant = organization(site)
    period(site, tenant, 2025, endDate=datetime(2026, 6, 30, tzinfo=UTC))
    present = period(site, tenant, 2027, startDate=datetime(2026, 7, 1, tzinfo=UTC))
    identifier = entry(site, tenant)
    site.migrate("003")
    assert period_of(site, identifier) == present
    assert failed(site.verify("003")) == []


def test_periods_of_other_organizations_do_not_count(site: Deployment, at: At):
    at(AUTUMN)
    one, other = organization(site), organization(site)
    period(site, one, 2026)
    site.migrate("003")
    assert [document["fiscalYear"] for document in periods(site, other)] == [2026]


# -- entries that have one -------------------------------------------------------------------


def test_an_entry_that_has_a_period_keeps_it(site: Deployment, at: At):
    at(AUTUMN)
    tenant = organization(site)
    old = period(site, tenant, 2025, status="closed")
    identifier = entry(site, tenant, financialPeriod=old)
    before = site.data["journalentries"].find_one({"_id": identifier})
    site.migrate("003")
    assert site.data["journalentries"].find_one({"_id": identifier}) == before
    site.roll_back("003")
    assert site.data["journalentries"].find_one({"_id": identifier}) == before


@pytest.mark.parametrize("value", [None, "", "FY 2026", ObjectId(), 2026, ["x"], {"year": 2026}])
def test_what_is_no_period_is_replaced_and_comes_back(site: Deployment, value: Any):
    tenant = organization(site)
    identifier = entry(site, tenant, financialPeriod=value)
    before = site.content()
    site.migrate("003")
    assert period_of(site, identifier) == periods(site, tenant)[0]["_id"]
    site.roll_back("003")
    assert site.content() == before


@pytest.mark.parametrize("policy", ["replace", "skip"])
def test_an_entry_in_another_organizations_period_is_told_by_the_plan(
    site: Deployment, at: At, policy: str
):
    at(AUTUMN)
    one, other = organization(site), organization(site)
    theirs = period(site, other, 2026)
    wrong = entry(site, one, financialPeriod=theirs)
    right = entry(site, other, financialPeriod=theirs)
    before = site.content()
    with pytest.raises(PlanBlockedError) as caught:
        site.migrate("003")
    (problem,) = caught.value.details["problems"]
    assert (problem["count"], problem["samples"]) == (1, [wrong])
    assert problem["policy"] == "when_contradicted: fail"
    assert problem["settings"] == {"contradicting_entries": ["replace", "skip"]}
    site.migrate("003", contradicting_entries=policy)
    (mine,) = periods(site, one)
    assert period_of(site, wrong) == (mine["_id"] if policy == "replace" else theirs)
    assert period_of(site, right) == theirs
    assert failed(site.verify("003")) == []
    site.roll_back("003")
    assert failed(site.verify("003", "rolled_back")) == []
    assert site.content() == before


# -- entries of nobody -----------------------------------------------------------------------


@pytest.mark.parametrize("tenant", [ObjectId(), None, "", "text", 7])
def test_an_entry_of_an_unknown_organization_stops_unless_skipped(site: Deployment, tenant: Any):
    organization(site)
    lost = entry(site, tenant)
    before = site.content()
    with pytest.raises(PlanBlockedError) as caught:
        site.migrate("003")
    (problem,) = caught.value.details["problems"]
    assert (problem["count"], problem["samples"]) == (1, [lost])
    assert site.content() == before
    result = site.migrate("003", unresolved_entries="skip")
    assert result["skipped"] == 1
    assert period_of(site, lost) is None
    checked = site.verify("003")
    assert failed(checked) == []
    assert any("1 left alone by policy" in str(check["detail"]) for check in checked["checks"])


def test_the_id_of_an_organization_as_text_is_not_taken_for_the_organization(site: Deployment):
    tenant = organization(site)
    entry(site, str(tenant))
    with pytest.raises(PlanBlockedError):
        site.migrate("003")


# -- settings that are invalid ---------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"fiscalYearStart": 13},
        {"fiscalYearStart": 0},
        {"fiscalYearStart": -1},
        {"fiscalYearStart": 4.5},
        {"fiscalYearStart": float("nan")},
        {"fiscalYearStart": float("inf")},
        {"fiscalYearStart": "April"},
        {"fiscalYearStart": "4"},
        {"fiscalYearStart": True},
        {"fiscalYearStart": [4]},
        {"timezone": "Mars/Olympus_Mons"},
        {"timezone": ""},
        {"timezone": 5.5},
        {"timezone": "$name"},
    ],
    ids=str,
)
def test_an_invalid_setting_stops_unless_the_default_is_chosen(
    site: Deployment, at: At, settings: Document
):
    at(AUTUMN)
    tenant = organization(site, settings)
    good = organization(site, {"fiscalYearStart": 7, "timezone": "UTC"})
    before = site.content()
    with pytest.raises(PlanBlockedError) as caught:
        site.migrate("003")
    (problem,) = caught.value.details["problems"]
    assert problem["collection"] == "organizations"
    assert (problem["count"], problem["samples"]) == (1, [tenant])
    assert site.content() == before
    assert site.plan("003", invalid_settings="default")["warnings"]
    site.migrate("003", invalid_settings="default")
    (made,) = periods(site, tenant)
    assert (made["startDate"], made["endDate"]) == bounds(2026, 4, "Asia/Kolkata")
    assert periods(site, good)[0]["startDate"] == datetime(2026, 7, 1, tzinfo=UTC)


# -- collections that are empty or missing ---------------------------------------------------


def test_without_organizations_there_is_nothing_to_do(site: Deployment):
    result = site.migrate("003")
    assert (result["modified"], result["inserted"]) == (0, 0)
    assert failed(site.verify("003")) == []


def test_the_collection_of_periods_comes_and_goes_with_them(site: Deployment):
    site.data["financialperiods"].drop()
    tenant = organization(site)
    entry(site, tenant)
    before = site.content()
    site.migrate("003")
    assert len(periods(site, tenant)) == 1
    assert failed(site.verify("003")) == []
    site.roll_back("003")
    assert "financialperiods" not in site.data.list_collection_names()
    assert site.content() == before


def test_a_deployment_without_journal_entries_gets_its_periods(site: Deployment):
    site.data["journalentries"].drop()
    site.collections["journalEntries"] = None
    tenant = organization(site)
    before = site.content()
    planned = site.plan("003")
    assert any("journalEntries: left out" in line for line in planned["warnings"])
    site.migrate("003")
    assert len(periods(site, tenant)) == 1
    assert failed(site.verify("003")) == []
    site.roll_back("003")
    assert site.content() == before


def test_what_is_skipped_is_counted_once(site: Deployment):
    tenant = organization(site)
    for _ in range(3):
        entry(site, tenant)
        entry(site, ObjectId())
    site.batch_size = 2
    result = site.migrate("003", unresolved_entries="skip")
    assert (result["modified"], result["skipped"]) == (3, 3)


def test_an_entry_of_a_year_beyond_9999_goes_to_the_present_period_too(site: Deployment, at: At):
    at(AUTUMN)
    tenant = organization(site)
    typo = entry(site, tenant, DatetimeMS(317_000_000_000_000))  # in the year 12015
    before = site.content()
    site.migrate("003")
    assert period_of(site, typo) == periods(site, tenant)[0]["_id"]
    assert failed(site.verify("003")) == []
    site.roll_back("003")
    assert site.content() == before


def test_an_entry_of_a_year_beyond_9999_is_no_obstacle_to_the_years_of_others(
    site: Deployment, at: At
):
    at(AUTUMN)
    tenant = organization(site)
    near = entry(site, tenant, datetime(1970, 1, 1, tzinfo=UTC))
    typo = entry(site, tenant, DatetimeMS(317_000_000_000_000))
    before = site.content()
    with pytest.raises(PlanBlockedError) as caught:
        site.migrate("003", fiscal_years="per_fiscal_year")
    (problem,) = caught.value.details["problems"]
    assert (problem["count"], problem["samples"]) == (1, [typo])
    site.migrate("003", fiscal_years="per_fiscal_year", unresolved_entries="skip")
    assert [row["fiscalYear"] for row in periods(site, tenant)] == [1969, 2026]
    assert period_of(site, near) == periods(site, tenant)[0]["_id"]
    assert period_of(site, typo) is None
    assert failed(site.verify("003")) == []
    site.roll_back("003")
    assert site.content() == before


def _applied_to_a_database_without_periods(site: Deployment) -> Collection[dict[str, Any]]:
    site.data["financialperiods"].drop()
    entry(site, organization(site))
    site.migrate("003")
    return site.data["financialperiods"]


def test_a_document_inserted_while_the_emptied_collection_goes_is_kept(
    site: Deployment, monkeypatch: pytest.MonkeyPatch
):
    made = _applied_to_a_database_without_periods(site)
    late = {"_id": ObjectId(), "name": "made by the application"}
    rename = by_uuid.rename

    def insert_first(*args: Any) -> None:
        made.insert_one(late)
        rename(*args)

    monkeypatch.setattr(by_uuid, "rename", insert_first)
    site.roll_back("003")
    assert list(made.find()) == [late]
    assert "_migrations_emptied" not in site.data.list_collection_names()


def test_what_a_killed_rollback_left_aside_is_brought_back(site: Deployment):
    made = _applied_to_a_database_without_periods(site)
    late = {"_id": ObjectId(), "name": "made by the application"}
    site.data["_migrations_emptied"].insert_one(late)
    site.roll_back("003")
    assert list(made.find()) == [late]
    assert "_migrations_emptied" not in site.data.list_collection_names()
