"""The seeded company with all its dirty cases: planned, reported, handled by policy, and undone."""

from __future__ import annotations

import json
import shlex
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from bson import ObjectId
from mongo_migration.errors import PlanBlockedError
from mongo_migration.ledger import runs

from embedded import dirty
from embedded.company import OWNER_FIELDS
from embedded.seed import Company, seed
from tests.support.migrations import PLAYBOOKS, Deployment, failed

SIZE, SMALL = 400, 20
REPAIRS = {"wrong_types": "R04", "duplicate_periods": "R01"}


@pytest.fixture
def site(deployment: Deployment) -> Deployment:
    return deployment


def set_clock(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    monkeypatch.setattr(runs, "server_now", lambda database: moment)


def company(site: Deployment, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Company:
    made = seed(site.data, SIZE, **options)
    # The seed's own day, so that its periods are of the present fiscal year.
    set_clock(monkeypatch, made.today)
    return made


def test_clean_data_migrate_under_the_default_policies_and_come_back(
    site: Deployment, monkeypatch: pytest.MonkeyPatch
):
    company(site, monkeypatch)
    before = site.content()
    for migration in ("003", "004"):
        assert site.plan(migration)["problems"] == []
        site.migrate(migration)
        assert failed(site.verify(migration)) == []
    users = {user["_id"]: user["organizationId"] for user in site.data["users"].find()}
    for model, owner in OWNER_FIELDS.items():
        for document in site.data[model].find():
            assert document["organizationId"] == users[document[owner]]
    periods = {row["_id"]: row["organization"] for row in site.data["financialperiods"].find()}
    for entry in site.data["journalentries"].find():
        assert periods[entry["financialPeriod"]] == entry["organization"]
    for migration in ("004", "003"):
        site.roll_back(migration)
        assert failed(site.verify(migration, "rolled_back")) == []
    assert site.content() == before


# What 003 has to say of each case: the collection that its problem names, or None.
BOOKS = {
    "month_13": "organizations",
    "month_0": "organizations",
    "month_word": "organizations",
    "month_fraction": "organizations",
    "month_digits": "organizations",
    "month_null": None,
    "unknown_timezone": "organizations",
    "timezone_number": "organizations",
    "null_settings": None,
    "no_settings": None,
    "no_creator": None,
    "period_of_this_year": None,
    "period_closed": None,
    "period_closed_this_year": "journalEntries",
    "period_locked": "journalEntries",
    "periods_twice": "financialPeriods",
    "period_overlapping": "financialPeriods",
    "periods_monthly": None,
    "periods_quarterly": None,
    "periods_with_a_gap": "financialPeriods",
    "period_of_next_year": None,
    "entry_of_unknown_organization": "journalEntries",
    "entry_without_organization": "journalEntries",
    "entry_null_organization": "journalEntries",
    "entry_string_organization": "journalEntries",
    "entry_null_period": None,
    "entry_dangling_period": None,
    "entry_already_assigned": None,
    "entry_in_foreign_period": "journalEntries",
    "entry_without_date": None,
    "entry_string_date": None,
    "entry_years_ago": None,
    "entries_at_the_edges": None,
}
MODELS = {
    "null_organization": None,
    "empty_organization": None,
    "already_set": None,
    "set_to_another_organization": "bills",
    "string_organization": None,
    "string_of_another_organization": "invoices",
    "word_organization": None,
    "dangling_organization": None,
    "no_owner": "expenses",
    "null_owner": "expenses",
    "unknown_owner": "suppliers",
    "string_owner": "bankAccounts",
    "owner_without_organization": "paymentIns",
    "owner_of_unknown_organization": "paymentOuts",
    "odd_ids": None,
    "empty_collection": None,
}


def test_every_dirty_case_is_expected_here():
    assert {*BOOKS, *MODELS} == set(dirty.CASES)


@pytest.mark.parametrize(
    ("migration", "cases"), [("003", BOOKS), ("004", MODELS)], ids=["003", "004"]
)
def test_cases_without_a_problem_migrate_and_come_back_together(
    site: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    migration: str,
    cases: dict[str, str | None],
):
    company(site, monkeypatch, dirty={name for name, problem in cases.items() if not problem})
    before = site.content()
    site.batch_size = 50
    site.migrate(migration)
    assert failed(site.verify(migration)) == []
    site.roll_back(migration)
    assert site.content() == before


@pytest.mark.parametrize(
    ("migration", "cases"), [("003", BOOKS), ("004", MODELS)], ids=["003", "004"]
)
def test_every_other_case_is_a_problem_with_its_collection_count_and_samples(
    site: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    migration: str,
    cases: dict[str, str | None],
):
    bad = {name for name, problem in cases.items() if problem}
    made = company(site, monkeypatch, dirty=bad)
    before = site.everything()
    with pytest.raises(PlanBlockedError) as caught:
        site.migrate(migration)
    assert site.everything() == before
    problems = caught.value.details["problems"]
    for name in bad:
        told = [item for item in problems if item["collection"] == cases[name]]
        assert told, name
    ids = {identifier for name in bad for identifier in made.cases[name].ids}
    for item in problems:
        assert item["count"] >= 1 and item["fix"] and item["policy"]
        if item["collection"] != "journalEntries" and item["policy"] != "postcondition":
            assert item["samples"]
            assert set(item["samples"]) <= ids


def _documents(site: Deployment, made: Company) -> dict[str, list[Any]]:
    """Return the documents of every case as another client reads them."""
    return {
        name: [site.data[case.collection].find_one({"_id": i}) for i in case.ids]
        for name, case in made.cases.items()
    }


def test_with_policies_for_everything_004_leaves_alone_exactly_what_has_no_answer(
    site: Deployment, monkeypatch: pytest.MonkeyPatch
):
    made = company(site, monkeypatch, dirty=set(MODELS))
    before, documents = site.content(), _documents(site, made)
    site.migrate("004", unresolved_documents="skip", contradicting_documents="skip")
    assert failed(site.verify("004")) == []
    left = {name for name, problem in MODELS.items() if problem}
    kept = left | {"already_set", "set_to_another_organization", "empty_collection"}
    after = _documents(site, made)
    assert {name for name in after if after[name] == documents[name]} == kept
    for name in after.keys() - kept:
        for document in after[name]:
            assert document["organizationId"] == made.organizations[0], name
    site.roll_back("004")
    assert site.content() == before


def test_two_settings_that_the_plan_names_are_enough_for_what_is_wrong_with_periods(
    site: Deployment, monkeypatch: pytest.MonkeyPatch
):
    wrong = {name for name, problem in BOOKS.items() if problem == "financialPeriods"}
    fine = {name for name in BOOKS if "period" in name and BOOKS[name] is None}
    company(site, monkeypatch, dirty={*wrong, *fine, "entry_in_foreign_period"})
    before = site.content()
    named: dict[str, Any] = {}
    for problem in site.plan("003")["problems"]:
        for name, choices in problem["settings"].items():
            named.setdefault(name, choices)
    chosen = {"unclear_periods": "leave", "contradicting_entries": "replace"}
    assert all(value in named[name] for name, value in chosen.items())
    assert site.plan("003", **chosen)["problems"] == []
    for migration, settings in (("003", chosen), ("004", {})):
        site.migrate(migration, **settings)
        assert failed(site.verify(migration)) == []
    owners = {row["_id"]: row["organization"] for row in site.data["financialperiods"].find()}
    for entry in site.data["journalentries"].find({"financialPeriod": {"$exists": True}}):
        assert owners[entry["financialPeriod"]] == entry["organization"]
    for migration in ("004", "003"):
        site.roll_back(migration)
        assert failed(site.verify(migration, "rolled_back")) == []
    assert site.content() == before


def test_the_edges_of_fiscal_years_are_met_to_the_millisecond(
    site: Deployment, monkeypatch: pytest.MonkeyPatch
):
    made = company(site, monkeypatch, dirty={"entries_at_the_edges"})
    site.migrate("003", fiscal_years="per_fiscal_year")
    periods = {row["_id"]: row for row in site.data["financialperiods"].find()}
    ids = made.cases["entries_at_the_edges"].ids
    for start in range(0, len(ids), 4):
        years = []
        for identifier in ids[start : start + 4]:
            entry = site.data["journalentries"].find_one({"_id": identifier})
            assert entry is not None
            period = periods[entry["financialPeriod"]]
            assert period["organization"] == entry["organization"]
            assert period["startDate"] <= entry["date"] <= period["endDate"]
            years.append(period["fiscalYear"])
        assert [year - years[1] for year in years] == [-1, 0, 0, 1]
    assert failed(site.verify("003")) == []


def led_by_its_plan(site: Deployment, migration: str, made: list[str]) -> dict[str, Any]:
    """Run *migration* as somebody would who does no more than what the screen suggests.

    Returns:
        The settings that were chosen; the repairs that were run are added to *made*.
    """
    chosen: dict[str, Any] = {}
    for _attempt in range(6):
        plan = site.plan(migration, **chosen)
        if not plan["problems"]:
            site.migrate(migration, **chosen)
            made.append(migration)
            assert failed(site.verify(migration)) == []
            return chosen
        words = shlex.split(plan["next"][0])
        if words[1] == "repair.yml":
            repair = REPAIRS[words[-1].partition("=")[2]]
            site.migrate(repair)
            made.append(repair)
            assert failed(site.verify(repair)) == []
        else:
            assert words[:3] == ["ansible-playbook", f"migrate-{migration}.yml", "--check"]
            chosen = json.loads(words[-1])["migration_variables"][migration]
    raise AssertionError(f"{migration} isn't done after six commands")


def test_all_that_is_dirty_at_once_is_settled_by_what_the_plan_itself_suggests(
    site: Deployment, monkeypatch: pytest.MonkeyPatch
):
    company(site, monkeypatch, dirty=True)
    before, made = site.content(), list[str]()

    led_by_its_plan(site, "003", made)
    led_by_its_plan(site, "004", made)

    assert made == ["R04", "R01", "003", "004"]
    # As the application looks at it, and not as the engine does.
    organizations = {row["_id"] for row in site.data["organizations"].find()}
    users = {row["_id"]: row.get("organizationId") for row in site.data["users"].find()}
    for model, owner in OWNER_FIELDS.items():
        for document in site.data[model].find():
            mine = users.get(document.get(owner))
            if mine in organizations and document.get("organizationId") != mine:
                # The two that hold another's: the plan's most careful choice leaves them.
                assert model in ("bills", "invoices")
    today = runs.server_now(site.data)
    periods = list(site.data["financialperiods"].find())
    for organization in organizations:
        mine = sorted(
            (row["startDate"], row["endDate"], row["status"])
            for row in periods
            if row["organization"] == organization
        )
        assert all(one[1] < other[0] for one, other in pairwise(mine)), "none overlaps another"
        assert sum(s <= today <= e and status == "open" for s, e, status in mine) <= 1

    for migration in reversed(made):
        site.roll_back(migration)
        assert failed(site.verify(migration, "rolled_back")) == []
    assert site.content() == before


# Each with why no plan has to name it.
UNNAMED = {
    "unassigned_entries": "003 itself assigns them, whatever its plan finds",
    "not_updated": "004 itself gives them an organization, whatever its plan finds",
}


def test_each_repair_is_named_by_a_plan_that_it_helps_with_how_many_it_settles(
    site: Deployment, monkeypatch: pytest.MonkeyPatch
):
    wrong = {name for name in BOOKS if name.endswith(("organization", "twice"))}
    made = seed(site.data, SMALL, dirty=wrong)
    set_clock(monkeypatch, made.today)
    tenant = made.organizations[0]
    half = site.data["financialperiods"].find_one({"organization": {"$ne": tenant}})
    assert half is not None
    whose = {
        "organization": str(made.organizations[1]),
        "startDate": made.today,
        "endDate": made.today,
    }
    site.data["financialperiods"].insert_one({**half, **whose, "_id": ObjectId()})
    nobody = {"organization": None, "createdBy": ObjectId(), "date": made.today}
    owned = {"organization": "", "createdBy": made.users[tenant][0], "date": made.today}
    site.data["journalentries"].insert_many([nobody, owned])

    plans = [site.plan(migration) for migration in ("003", "004")]
    named = {name: count for plan in plans for name, count in plan["repairs"].items()}
    names = [path.stem for path in (PLAYBOOKS / "repairs").glob("R*.yml")]
    known = {name.partition("-")[2].replace("-", "_") for name in names}
    assert known
    assert set(named) == known - set(UNNAMED)
    assert set(UNNAMED) <= known
    (empty,) = [
        row
        for row in site.plan("R05")["steps"]
        if (row["collection"], row["field"]) == ("journalEntries", "organization")
    ]
    assert named["null_fields"] == empty["to_change"] > 0
    assert named["adopt_half_done"] == 1
    (problem,) = [one for plan in plans for one in plan["problems"] if "settles" in one]
    assert problem["what"] == "organization is empty"
    assert problem["count"] == empty["candidates"] > problem["settles"]
    assert "repair=null_fields" in problem["fix"]
