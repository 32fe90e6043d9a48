"""003 among periods of every length: months and quarters, gaps, overlaps, closed ones."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from bson import ObjectId
from mongo_migration.errors import PlanBlockedError
from mongo_migration.operations.documents import row_inputs

from embedded.company import OWNER_FIELDS
from tests.integration.test_migration_003 import (
    AUTUMN,
    MILLISECOND,
    At,
    at,
    entry,
    midnight,
    organization,
    period,
    period_of,
    periods,
    site,
)
from tests.support.migrations import Deployment, failed

__all__ = ["at", "site"]

ZONES = [
    (4, "Asia/Kolkata"),
    (1, "America/St_Johns"),
    (7, "Australia/Lord_Howe"),
    (8, "Pacific/Chatham"),
]


def parts(
    site: Deployment, tenant: ObjectId, size: int, *, month: int = 4, zone: str = "Asia/Kolkata"
) -> list[ObjectId]:
    """Store the periods of the fiscal year of autumn 2026, *size* months each; return their ids."""
    first = 2026 if month <= 10 else 2025
    starts = [midnight(first, month, zone)]
    for number in range(month + size, month + 13, size):
        starts.append(midnight(first + (number - 1) // 12, (number - 1) % 12 + 1, zone))
    return [
        period(
            site,
            tenant,
            first,
            startDate=start,
            endDate=end - MILLISECOND,
            status="open" if start <= AUTUMN < end else "closed" if end <= AUTUMN else "future",
        )
        for start, end in pairwise(starts)
    ]


def drop(site: Deployment, identifier: ObjectId) -> dict[str, Any]:
    gone = site.data["financialperiods"].find_one_and_delete({"_id": identifier})
    assert gone is not None
    return dict(gone)


def round_trip(site: Deployment, **variables: Any) -> dict[str, Any]:
    """Migrate and verify; return the plan. The caller undoes it by `undo`."""
    plan = site.plan("003", **variables)
    assert plan["problems"] == []
    site.migrate("003", **variables)
    assert failed(site.verify("003")) == []
    return plan


def undo(site: Deployment, before: Any) -> None:
    site.roll_back("003")
    assert failed(site.verify("003", "rolled_back")) == []
    assert site.content() == before


@pytest.mark.parametrize("size", [1, 3, 6])
def test_an_organization_with_shorter_periods_keeps_them_and_gets_none(
    site: Deployment, at: At, size: int
):
    at(AUTUMN)
    made = {}
    for month, zone in ZONES:
        tenant = organization(site, {"fiscalYearStart": month, "timezone": zone})
        made[tenant] = parts(site, tenant, size, month=month, zone=zone)
        entry(site, tenant, AUTUMN - timedelta(days=90))
    before = site.content()
    round_trip(site)
    for tenant, ids in made.items():
        assert [row["_id"] for row in periods(site, tenant)] == ids
        (booked,) = site.data["journalentries"].find({"organization": tenant})
        today = site.data["financialperiods"].find_one({"_id": booked["financialPeriod"]})
        assert today is not None and today["startDate"] <= AUTUMN <= today["endDate"]
    undo(site, before)


@pytest.mark.parametrize("size", [1, 3])
def test_entries_go_to_the_shorter_period_that_contains_their_date(
    site: Deployment, at: At, size: int
):
    at(AUTUMN)
    entries = {}
    for month, zone in ZONES:
        tenant = organization(site, {"fiscalYearStart": month, "timezone": zone})
        for identifier in parts(site, tenant, size, month=month, zone=zone):
            there = site.data["financialperiods"].find_one({"_id": identifier})
            assert there is not None
            for date in (there["startDate"], there["endDate"]):
                entries[entry(site, tenant, date)] = identifier
    before = site.content()
    plan = round_trip(site, fiscal_years="per_fiscal_year")
    assert plan["totals"]["to_insert"] == 0
    assert {identifier: period_of(site, identifier) for identifier in entries} == entries
    undo(site, before)


def test_no_year_is_laid_beside_halves_whether_it_is_a_leap_year_or_not(site: Deployment, at: At):
    at(AUTUMN)
    tenant = organization(site)
    ids = parts(site, tenant, 6)
    # Fiscal year 2027 ends in a leap year, 2029 doesn't.
    booked = [entry(site, tenant, datetime(year, 9, 29, tzinfo=UTC)) for year in (2027, 2029)]
    before = site.content()
    plan = round_trip(site, fiscal_years="per_fiscal_year", wrong_data="leave")
    assert plan["totals"]["to_insert"] == 0
    assert [row["_id"] for row in periods(site, tenant)] == ids
    assert [period_of(site, one) for one in booked] == [None, None]
    undo(site, before)


def test_a_gap_among_months_is_told_with_its_choices(site: Deployment, at: At):
    at(AUTUMN)
    tenant = organization(site)
    ids = parts(site, tenant, 1)
    drop(site, ids[6])  # October
    booked = entry(site, tenant)
    other = organization(site)  # has none at all: gets its year whatever is chosen
    before = site.content()
    with pytest.raises(PlanBlockedError) as caught:
        site.migrate("003")
    gap, entries = caught.value.details["problems"]
    assert (gap["collection"], gap["count"], gap["policy"]) == (
        "financialPeriods",
        1,
        "when_gap: fail",
    )
    assert gap["settings"] == {"unclear_periods": ["make", "leave"]}
    assert (entries["count"], entries["samples"]) == (1, [booked])
    assert "unclear_periods" in entries["settings"]
    assert site.content() == before
    (further, _other) = site.plan("003", contradicting_entries="skip")["next"]
    playbook, extra = further.split(" -e ", 1)
    assert playbook == "ansible-playbook migrate-003.yml --check"
    (words,) = shlex.split(extra)
    chosen = json.loads(words)["migration_variables"]["003"]
    assert chosen == {"contradicting_entries": "skip", "wrong_data": "leave"}

    round_trip(site, unclear_periods="leave")
    assert [row["_id"] for row in periods(site, tenant)] == [i for i in ids if i != ids[6]]
    assert period_of(site, booked) is None
    assert len(periods(site, other)) == 1
    gap, entries = site.verify("003")["left_alone"]
    assert (gap["collection"], gap["policy"]) == ("financialPeriods", "when_gap: leave")
    assert (gap["count"], gap["ids"]) == (1, [{"organization": tenant}])
    assert (entries["collection"], entries["policy"]) == ("journalEntries", "when_unclear: skip")
    assert (entries["count"], entries["ids"]) == (1, [booked])
    assert "financialPeriods" in entries["what"]
    undo(site, before)


@pytest.mark.parametrize(("month", "zone"), ZONES)
@pytest.mark.parametrize("size", [1, 3])
def test_a_period_that_is_made_fits_the_gap_and_is_no_longer_than_its_neighbours(
    site: Deployment, at: At, month: int, zone: str, size: int
):
    at(AUTUMN)
    tenant = organization(site, {"fiscalYearStart": month, "timezone": zone})
    ids = parts(site, tenant, size, month=month, zone=zone)
    today = next(
        row for row in periods(site, tenant) if row["startDate"] <= AUTUMN <= row["endDate"]
    )
    gone = [drop(site, identifier) for identifier in ids if identifier >= today["_id"]]
    booked = entry(site, tenant)
    before = site.content()
    round_trip(site, unclear_periods="make")
    (made,) = [row for row in periods(site, tenant) if row["_id"] not in ids]
    assert (made["startDate"], made["endDate"]) == (gone[0]["startDate"], gone[0]["endDate"])
    assert made["status"] == "open"
    local = made["startDate"].astimezone(ZoneInfo(zone)), made["endDate"].astimezone(ZoneInfo(zone))
    assert made["name"] == " to ".join(dict.fromkeys(f"{day:%B %Y}" for day in local))
    assert period_of(site, booked) == made["_id"]
    undo(site, before)


def test_a_made_period_is_named_as_those_beside_it(site: Deployment, at: At):
    at(AUTUMN)
    months, years = organization(site), organization(site)
    for number, identifier in enumerate(parts(site, months, 1)):
        name = {"$set": {"name": f"FY26-27/{number + 1:02}"}}
        site.data["financialperiods"].update_one({"_id": identifier}, name)
        if number == 6:
            drop(site, identifier)
    period(site, years, 2025, status="closed", name="GJ 2025-26")
    round_trip(site, unclear_periods="make")
    assert [row["name"] for row in periods(site, months)][6] == "FY26-27/07"
    assert periods(site, years)[-1]["name"] == "GJ 2026-27"


def test_a_made_period_ends_where_its_neighbours_begin(site: Deployment, at: At):
    at(AUTUMN)
    tenant = organization(site)
    last = datetime(2026, 10, 20, 7, 30, tzinfo=UTC)
    period(site, tenant, 2026, endDate=last)
    following = datetime(2026, 12, 24, tzinfo=UTC)
    period(site, tenant, 2026, startDate=following)
    round_trip(site, unclear_periods="make")
    made = periods(site, tenant)[1]
    assert (made["startDate"], made["endDate"]) == (last + MILLISECOND, following - MILLISECOND)
    assert made["name"] == "2026-10-20 to 2026-12-24"


def test_entries_in_gaps_of_the_past_get_periods_that_fit(site: Deployment, at: At):
    at(AUTUMN)
    tenant = organization(site)
    ids = parts(site, tenant, 1)
    gone = {drop(site, ids[number])["startDate"]: number for number in (1, 2, 6)}
    dates = [start + timedelta(days=day) for start in gone for day in (0, 9)]
    ages = datetime(2019, 5, 1, tzinfo=UTC)  # another fiscal year, in which there is none
    entries = {entry(site, tenant, date): date for date in (*dates, ages)}
    before = site.content()
    with pytest.raises(PlanBlockedError):
        site.migrate("003", fiscal_years="per_fiscal_year")
    plan = round_trip(site, fiscal_years="per_fiscal_year", unclear_periods="make")
    assert plan["totals"]["to_insert"] == len(gone) + 1
    rows = periods(site, tenant)
    for one, following in pairwise(rows):
        assert one["endDate"] < following["startDate"]
    made = {row["name"]: row["status"] for row in rows if row["_id"] not in ids}
    assert made == {
        "May 2019": "closed",
        "May 2026": "closed",
        "June 2026": "closed",
        "October 2026": "open",
    }
    by_id = {row["_id"]: row for row in rows}
    for identifier, date in entries.items():
        where = by_id[period_of(site, identifier)]
        assert where["startDate"] <= date <= where["endDate"]
    undo(site, before)


def test_months_of_last_year_alone_are_a_gap_too(site: Deployment, at: At):
    at(midnight(2027, 5, "Asia/Kolkata"))
    tenant = organization(site)
    parts(site, tenant, 1)
    with pytest.raises(PlanBlockedError):
        site.migrate("003")
    round_trip(site, unclear_periods="make")
    made = periods(site, tenant)[-1]
    assert made["startDate"] == midnight(2027, 5, "Asia/Kolkata")
    assert made["endDate"] == midnight(2027, 6, "Asia/Kolkata") - MILLISECOND


def test_a_free_year_among_whole_years_gets_its_period_and_the_plan_says_so(
    site: Deployment, at: At
):
    at(AUTUMN)
    tenant = organization(site)
    period(site, tenant, 2025, status="locked")
    period(site, tenant, 2027, status="future")
    plan = round_trip(site)
    assert any("1 of the documents to insert join others" in line for line in plan["warnings"])
    assert [row["fiscalYear"] for row in periods(site, tenant)] == [2025, 2026, 2027]


@pytest.mark.parametrize("fields", [{}, {"endDate": AUTUMN + timedelta(days=5)}], ids=str)
def test_organizations_with_two_open_periods_of_today_can_be_left(
    site: Deployment, at: At, fields: dict[str, Any]
):
    at(AUTUMN)
    tenant, other = organization(site), organization(site)
    twice = {period(site, tenant, 2026), period(site, tenant, 2026, **fields)}
    left, booked = entry(site, tenant), entry(site, other)
    before = site.content()
    plan = round_trip(site, unclear_periods="leave")
    assert any("two open periods" in line for line in plan["warnings"])
    assert {row["_id"] for row in periods(site, tenant)} == twice
    assert period_of(site, left) is None
    assert period_of(site, booked) == periods(site, other)[0]["_id"]
    undo(site, before)


@pytest.mark.parametrize("years", ["default_period", "per_fiscal_year"])
@pytest.mark.parametrize("held", ["nothing", "another's"])
def test_an_entry_goes_to_the_one_period_that_contains_its_date_and_else_is_left(
    site: Deployment, at: At, years: str, held: str
):
    at(AUTUMN)
    tenant, other = organization(site), organization(site)
    foreign = period(site, other, 2026)
    first = period(site, tenant, 2026, endDate=midnight(2026, 11, "Asia/Kolkata"))
    second = period(site, tenant, 2026, startDate=midnight(2026, 10, "Asia/Kolkata"))
    last_year = period(site, tenant, 2025, status="closed")
    fields = {} if held == "nothing" else {"financialPeriod": foreign}
    before = fields.get("financialPeriod")
    closed = last_year if years == "per_fiscal_year" else before
    wanted = {
        entry(site, tenant, datetime(2026, 5, 9, tzinfo=UTC), **fields): first,
        entry(site, tenant, datetime(2027, 2, 1, tzinfo=UTC), **fields): second,
        # Both open ones contain it.
        entry(site, tenant, **fields): before,
        # Books that were closed receive entries only where those go by their dates.
        entry(site, tenant, datetime(2025, 9, 1, tzinfo=UTC), **fields): closed,
        # One of its own organization was somebody's choice.
        entry(site, tenant, AUTUMN, financialPeriod=first): first,
    }
    content = site.content()
    round_trip(site, wrong_data="correct", fiscal_years=years)
    assert {identifier: period_of(site, identifier) for identifier in wanted} == wanted
    left = {
        identifier
        for one in site.verify("003")["left_alone"]
        if one["collection"] == "journalEntries"
        for identifier in one["ids"]
    }
    own = (first, second, last_year)
    assert left == {identifier for identifier in wanted if period_of(site, identifier) not in own}
    undo(site, content)


def test_after_the_repair_that_the_plan_names_the_migration_runs(site: Deployment, at: At):
    at(AUTUMN)
    tenant = organization(site)
    first = period(site, tenant, 2026)
    period(site, tenant, 2026)
    booked = entry(site, tenant)
    assert site.plan("003")["repairs"] == {"duplicate_periods": 1}
    site.migrate("R01")
    round_trip(site)
    assert period_of(site, booked) == first


@pytest.mark.parametrize("years", ["default_period", "per_fiscal_year"])
def test_an_organization_as_text_is_told_with_the_repair_that_settles_it(
    site: Deployment, at: At, years: str
):
    at(AUTUMN)
    for name in ("users", *OWNER_FIELDS):
        site.data.create_collection(name)
    tenant = organization(site)
    present = period(site, tenant, 2026)
    period(site, tenant, 2025, status="closed")
    wrong = [entry(site, str(tenant)) for _ in range(3)]
    plan = site.plan("003", fiscal_years=years)
    (problem,) = plan["problems"]
    assert "as text" in problem["what"]
    assert problem["repair"] == "wrong_types"
    assert plan["repairs"] == {"wrong_types": 3}
    assert plan["next"][0] == "ansible-playbook repair.yml -e repair=wrong_types"
    site.migrate("R04")
    round_trip(site, fiscal_years=years)
    assert {period_of(site, identifier) for identifier in wrong} == {present}


def test_one_answer_settles_all_that_the_plan_asks_and_is_named_by_it(site: Deployment, at: At):
    at(AUTUMN)
    tenant, other = organization(site), organization(site)
    drop(site, parts(site, tenant, 1)[6])  # October
    there = period(site, other, 2026)
    invalid = organization(site, {"fiscalYearStart": 13})
    booked, wrong = entry(site, tenant), entry(site, tenant, financialPeriod=there)
    lost = entry(site, ObjectId())
    before = site.content()
    plan = site.plan("003")
    assert {name for one in plan["problems"] for name in one["settings"]} == {
        "invalid_settings",
        "unclear_periods",
        "unresolved_entries",
        "contradicting_entries",
    }
    assert all(one["answers"] == {"wrong_data": ["leave", "correct"]} for one in plan["problems"])
    named = [json.loads(shlex.split(command)[-1]) for command in plan["next"]]
    assert [one["migration_variables"]["003"] for one in named] == [
        {"wrong_data": "leave"},
        {"wrong_data": "correct"},
    ]
    # What else was chosen stays so.
    (further, *_) = site.plan("003", fiscal_years="per_fiscal_year")["next"]
    chosen = json.loads(shlex.split(further)[-1])["migration_variables"]["003"]
    assert chosen == {"fiscal_years": "per_fiscal_year", "wrong_data": "leave"}

    round_trip(site, wrong_data="leave")
    assert period_of(site, booked) is None
    assert (period_of(site, wrong), period_of(site, lost)) == (there, None)
    undo(site, before)
    round_trip(site, wrong_data="correct")
    (made,) = [row for row in periods(site, tenant) if row.get("name") == "October 2026"]
    assert period_of(site, booked) == period_of(site, wrong) == made["_id"]
    assert period_of(site, lost) is None
    assert [row["name"] for row in periods(site, invalid)] == ["FY 2026-2027"]
    left = site.verify("003")["left_alone"]
    assert [(one["count"], one["ids"]) for one in left] == [(1, [lost])]
    undo(site, before)


@pytest.mark.parametrize(("zone", "month"), [("Asia/Almaty", 4), ("America/Asuncion", 7)])
def test_a_timezone_in_which_the_server_is_out_of_date_is_a_problem(
    site: Deployment, at: At, zone: str, month: int
):
    at(AUTUMN)
    organization(site, {"fiscalYearStart": 4, "timezone": "Asia/Kolkata"})
    assert site.plan("003")["problems"] == []
    organization(site, {"fiscalYearStart": month, "timezone": zone})
    start = midnight(2026, month, zone)
    parts = {"$dateFromParts": {"year": 2026, "month": month, "timezone": zone}}
    (row,) = site.data.aggregate([{"$documents": [{}]}, {"$set": {"start": parts}}])
    off = row["start"] != start  # depends on the server: today's tables are right
    problems = site.plan("003")["problems"]
    assert [item["policy"] for item in problems] == (["timezones"] if off else [])
    assert all(zone in item["what"] for item in problems)


def test_a_valid_timezone_that_the_server_does_not_know_is_not_called_invalid(
    site: Deployment, at: At, monkeypatch: pytest.MonkeyPatch
):
    at(AUTUMN)
    # As a server with an older table answers.
    monkeypatch.setattr(
        row_inputs.Inputs,
        "_server_knows",
        lambda self, names: [name for name in names if name != "Asia/Almaty"],
    )
    wrong = organization(site, {"timezone": "Asia/Almaty"})
    (problem,) = site.plan("003", invalid_settings="default")["problems"]
    assert "is a valid timezone" in problem["what"]
    assert problem["samples"] == [wrong]
