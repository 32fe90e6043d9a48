"""What a policy leaves wrong stands in the evidence, document by document, and nothing else does.

The company is as dirty as can be, and judged by a look at the data that knows no engine.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

import pytest
from bson import ObjectId
from mongo_migration.ledger import runs
from pymongo.database import Database

from embedded.company import OWNER_FIELDS
from embedded.seed import Company, seed
from tests.support.migrations import Deployment, failed

SIZE = 60
# More of a kind than a plan has samples of.
MANY = 8

Data = Database[dict[str, Any]]


def add_more_of_a_kind(data: Data, made: Company) -> None:
    """Add bills of another organization than their owner's, and entries in foreign periods.

    Beside each of them lies one that rightly holds the same value.
    """
    one, other = made.organizations[:2]
    period = data["financialperiods"].find_one({"organization": {"$nin": [one, None]}})
    assert period is not None
    for _ in range(MANY):
        for owner in (one, other):
            bill = {"createdBy": made.users[owner][0], "organizationId": other}
            data["bills"].insert_one(bill)
        for tenant in (one, period["organization"]):
            booked = {"organization": tenant, "financialPeriod": period["_id"], "date": made.today}
            data["journalentries"].insert_one(booked)


def entries_without_a_period_of_their_own(data: Data) -> set[Any]:
    organizations = set(data["organizations"].distinct("_id"))
    owners = {row["_id"]: row["organization"] for row in data["financialperiods"].find()}
    return {
        row["_id"]
        for row in data["journalentries"].find()
        if row.get("organization") not in organizations
        or owners.get(row.get("financialPeriod")) != row["organization"]
    }


def documents_without_their_owners_organization(data: Data, model: str) -> set[Any]:
    organizations = set(data["organizations"].distinct("_id"))
    users = {row["_id"]: row.get("organizationId") for row in data["users"].find()}
    found = []
    for row in data[model].find():
        held, mine = row.get("organizationId"), users.get(row.get(OWNER_FIELDS[model]))
        if held not in organizations or (mine in organizations and held != mine):
            found.append(row["_id"])
    return set(found)


def organizations_without_one_period_of_today(
    data: Data, today: datetime
) -> list[dict[str, ObjectId]]:
    """Return those in whose periods today is a gap, and those in which two open ones contain it."""
    now = {"startDate": {"$lte": today}, "endDate": {"$gte": today}}
    rows = list(data["financialperiods"].find(now))
    any_, open_ = (
        Counter(row["organization"] for row in some)
        for some in (rows, [row for row in rows if row["status"] == "open"])
    )
    return [
        {"organization": tenant}
        for tenant in data["organizations"].distinct("_id")
        if not any_[tenant] or open_[tenant] > 1
    ]


@pytest.mark.parametrize(
    ("answer", "years"),
    [("leave", "default_period"), ("correct", "default_period"), ("correct", "per_fiscal_year")],
)
def test_each_violation_that_remains_is_told_and_nothing_else(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, answer: str, years: str
):
    site, data = deployment, deployment.data
    made = seed(data, SIZE, dirty=True)
    monkeypatch.setattr(runs, "server_now", lambda database: made.today)
    add_more_of_a_kind(data, made)
    told: list[dict[str, Any]] = []
    for migration, more in (("003", {"fiscal_years": years}), ("004", {})):
        site.migrate(migration, wrong_data=answer, **more)
    for migration in ("003", "004"):
        verdict = site.verify(migration)
        assert failed(verdict) == []
        told += verdict["left_alone"]

    assert all(one["what"] and one["policy"] for one in told)
    assert [one["count"] for one in told] == [len(one["ids"]) for one in told]
    named = Counter(
        (one["collection"].lower(), repr(identifier)) for one in told for identifier in one["ids"]
    )
    assert max(named.values()) == 1, "each is told once"
    wrong: dict[str, Any] = {
        "journalentries": entries_without_a_period_of_their_own(data),
        "financialperiods": organizations_without_one_period_of_today(data, made.today),
        **{name: documents_without_their_owners_organization(data, name) for name in OWNER_FIELDS},
    }
    assert set(named) == {(name, repr(one)) for name, ids in wrong.items() for one in ids}
