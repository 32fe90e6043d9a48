"""The dirty cases: what years of real use leave in a database, each under a name.

A case is one function here; its name is the key in `company.cases`. Cases of organizations,
users and periods come with an organization of their own, so that they don't disturb the others.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from bson.binary import Binary, UuidRepresentation
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from pymongo.database import Database

from . import company as made
from . import fiscal
from .company import Document
from .seeded import Case, Company, Identifiers

# Stands for "the document doesn't have the field at all".
ABSENT = object()

# A month, a zone and a date on which both halves of the year differ in daylight saving.
EDGES = ((4, "Asia/Kolkata"), (7, "Australia/Sydney"), (1, "America/St_Johns"))


@dataclass
class Site:
    """Where the cases are made, with short words for what they are made of."""

    database: Database[dict[str, Any]]
    company: Company
    dice: random.Random
    new_id: Identifiers

    @property
    def tenant(self) -> ObjectId:
        """An ordinary organization."""
        return self.company.organizations[0]

    @property
    def owner(self) -> ObjectId:
        """An ordinary user of it."""
        return self.company.users[self.tenant][0]

    def insert(self, collection: str, document: Document) -> Any:
        """Store a document, without the fields that are ABSENT; return its _id."""
        kept = {name: value for name, value in document.items() if value is not ABSENT}
        kept.setdefault("_id", self.new_id())
        self.database[collection].insert_one(kept)
        self.company.counts[collection] = self.company.counts.get(collection, 0) + 1
        return kept["_id"]

    def model(self, collection: str, **fields: Any) -> Any:
        """Store a document of a core model, its owner in `owner`; return its _id."""
        owner = fields.pop("owner", self.owner)
        body = made.MAKERS[collection](self.dice, 900000, self.company.today)
        # An _id given in fields wins and stands first, as the server wants it.
        return self.insert(
            collection,
            {"_id": self.new_id(), **body, made.OWNER_FIELDS[collection]: owner, **fields},
        )

    def organization(self, settings: Any = ABSENT, **fields: Any) -> ObjectId:
        """Store an organization with one user and one journal entry; return its _id."""
        identifier, person = self.new_id(), self.new_id()
        number = len(self.company.organizations)
        body = {**made.organization(self.dice, number, identifier), "settings": settings}
        self.insert("organizations", {**body, "createdBy": person, **fields})
        self.insert("users", made.user(self.dice, 9000 + number, person, identifier))
        self.company.organizations.append(identifier)
        self.company.users[identifier] = [person]
        self.entry(identifier)
        return identifier

    def entry(self, organization: Any, date: Any = None, **fields: Any) -> Any:
        """Store a journal entry; return its _id."""
        body = made.journal_entry(self.dice, 900000, self.company.today, organization)
        when = self.company.today - timedelta(days=1) if date is None else date
        return self.insert("journalentries", {**body, "date": when, **fields})

    def period(
        self,
        organization: ObjectId,
        *,
        back: int = 0,
        status: str = "open",
        shift: timedelta = timedelta(0),
    ) -> ObjectId:
        """Store the period of the fiscal year `back` years ago (April, Kolkata); return its _id."""
        month, zone = EDGES[0]
        year = fiscal.year_of(self.company.today, month, zone) - back
        identifier: ObjectId = self.insert(
            "financialperiods",
            {
                "organization": organization,
                "name": f"FY {year}-{year + 1}",
                "fiscalYear": year,
                "startDate": fiscal.start(year, month, zone) + shift,
                "endDate": fiscal.end(year, month, zone) + shift,
                "status": status,
                "createdBy": self.company.users[organization][0],
            },
        )
        return identifier

    def parts(self, organization: ObjectId, size: int, *, today: bool = True) -> list[ObjectId]:
        """Store the periods of this fiscal year, `size` months each; return their _ids.

        Args:
            organization: whose they are; its fiscal year begins in April, in Kolkata.
            size: in months; a divisor of 12.
            today: whether the one that contains today is among them.
        """
        month, zone = EDGES[0]
        year = fiscal.year_of(self.company.today, month, zone)
        ids = []
        for number in range(0, 12, size):
            first = fiscal.month(year, month + number, zone)
            last = fiscal.month(year, month + number + size, zone) - timedelta(milliseconds=1)
            present = first <= self.company.today <= last
            if present and not today:
                continue
            ids.append(
                self.insert(
                    "financialperiods",
                    {
                        "organization": organization,
                        "name": f"{first + timedelta(days=1):%b %Y}",
                        "fiscalYear": year,
                        "startDate": first,
                        "endDate": last,
                        "status": "open" if last >= self.company.today else "closed",
                        "createdBy": self.company.users[organization][0],
                    },
                )
            )
        return ids


# --- Core models: what stands in organizationId, or in the owner's field ---------------------


def null_organization(site: Site) -> Case:
    """The field is null: it exists, and says nothing."""
    return Case("items", [site.model("items", organizationId=None) for _ in range(3)])


def empty_organization(site: Site) -> Case:
    """The field is an empty string."""
    return Case("customers", [site.model("customers", organizationId="") for _ in range(3)])


def already_set(site: Site) -> Case:
    """The right value stands there: it is kept, by rollback too."""
    return Case("items", [site.model("items", organizationId=site.tenant) for _ in range(3)])


def set_to_another_organization(site: Site) -> Case:
    """A valid organization that is not the owner's: it was somebody's decision, so it is kept."""
    other = site.company.organizations[1]
    return Case("bills", [site.model("bills", organizationId=other)])


def string_organization(site: Site) -> Case:
    """The right _id as a string where an ObjectId belongs."""
    return Case("invoices", [site.model("invoices", organizationId=str(site.tenant))])


def string_of_another_organization(site: Site) -> Case:
    """The _id of another organization than its owner's, as a string."""
    other = site.company.organizations[1]
    return Case("invoices", [site.model("invoices", organizationId=str(other))])


def word_organization(site: Site) -> Case:
    """A name where an ObjectId belongs."""
    return Case("invoices", [site.model("invoices", organizationId="Sharma Traders")])


def dangling_organization(site: Site) -> Case:
    """An ObjectId of no organization."""
    return Case("purchases", [site.model("purchases", organizationId=site.new_id())])


def no_owner(site: Site) -> Case:
    """Nobody made it."""
    return Case("expenses", [site.model("expenses", owner=ABSENT)])


def null_owner(site: Site) -> Case:
    """Its owner is null."""
    return Case("expenses", [site.model("expenses", owner=None)])


def unknown_owner(site: Site) -> Case:
    """Its owner is not a user any more."""
    return Case("suppliers", [site.model("suppliers", owner=site.new_id())])


def string_owner(site: Site) -> Case:
    """Its owner's _id is a string."""
    return Case("bankaccounts", [site.model("bankaccounts", owner=str(site.owner))])


def owner_without_organization(site: Site) -> Case:
    """Its owner belongs to no organization."""
    person = made.user(site.dice, 9998, site.new_id(), None)
    del person["organizationId"]
    owner = site.insert("users", person)
    return Case("paymentins", [site.model("paymentins", owner=owner)])


def owner_of_unknown_organization(site: Site) -> Case:
    """Its owner belongs to an organization that doesn't exist."""
    owner = site.insert("users", made.user(site.dice, 9999, site.new_id(), site.new_id()))
    return Case("paymentouts", [site.model("paymentouts", owner=owner)])


def odd_ids(site: Site) -> Case:
    """Ids of every kind, on both sides of an ObjectId in the sort order."""
    odd: list[Any] = [
        -1,
        7.5,
        Int64(2**40),
        Decimal128("12.50"),
        "",
        "imported-17",
        {"shop": 1, "no": 2},
        Binary.from_uuid(uuid.UUID(int=42), UuidRepresentation.STANDARD),
        True,
        datetime(2020, 1, 1),
    ]
    return Case("stockledgers", [site.model("stockledgers", _id=identifier) for identifier in odd])


def empty_collection(site: Site) -> Case:
    """A core model that nobody ever used: the collection is there, with nothing in it."""
    site.database["purchasereturns"].delete_many({})
    site.company.counts["purchasereturns"] = 0
    return Case("purchasereturns", [])


# --- Organizations: what stands in their settings --------------------------------------------


def month_13(site: Site) -> Case:
    """The fiscal year starts in month 13."""
    return Case("organizations", [site.organization({"fiscalYearStart": 13})])


def month_0(site: Site) -> Case:
    """The fiscal year starts in month 0, as JavaScript counts."""
    return Case("organizations", [site.organization({"fiscalYearStart": 0})])


def month_word(site: Site) -> Case:
    """The month is a word."""
    return Case("organizations", [site.organization({"fiscalYearStart": "April"})])


def month_fraction(site: Site) -> Case:
    """The month is not a whole number."""
    return Case("organizations", [site.organization({"fiscalYearStart": 4.5})])


def month_digits(site: Site) -> Case:
    """The month is a string that is a number."""
    return Case("organizations", [site.organization({"fiscalYearStart": "7"})])


def month_null(site: Site) -> Case:
    """The month is null."""
    return Case("organizations", [site.organization({"fiscalYearStart": None})])


def unknown_timezone(site: Site) -> Case:
    """The timezone is none."""
    return Case("organizations", [site.organization({"timezone": "Mars/Olympus_Mons"})])


def timezone_number(site: Site) -> Case:
    """The timezone is a number."""
    return Case("organizations", [site.organization({"timezone": 5.5})])


def null_settings(site: Site) -> Case:
    """The settings are null."""
    return Case("organizations", [site.organization(None)])


def no_settings(site: Site) -> Case:
    """There are no settings."""
    return Case("organizations", [site.organization()])


def no_creator(site: Site) -> Case:
    """Nobody made the organization."""
    return Case("organizations", [site.organization({}, createdBy=ABSENT)])


# --- Periods that are there already ----------------------------------------------------------


def period_of_this_year(site: Site) -> Case:
    """An organization with an open period of this fiscal year: it is kept."""
    return Case("financialperiods", [site.period(site.organization({}))])


def period_closed(site: Site) -> Case:
    """An organization whose last fiscal year is closed."""
    return Case("financialperiods", [site.period(site.organization({}), back=1, status="closed")])


def period_closed_this_year(site: Site) -> Case:
    """An organization that closed this fiscal year already."""
    return Case("financialperiods", [site.period(site.organization({}), status="closed")])


def period_locked(site: Site) -> Case:
    """An organization whose period of this fiscal year is locked."""
    return Case("financialperiods", [site.period(site.organization({}), status="locked")])


def periods_twice(site: Site) -> Case:
    """Two periods of one organization and fiscal year, as concurrent runs make them."""
    tenant = site.organization({})
    return Case("financialperiods", [site.period(tenant), site.period(tenant)])


def period_overlapping(site: Site) -> Case:
    """A period named after last year that reaches three months into this one."""
    tenant = site.organization({})
    return Case("financialperiods", [site.period(tenant, back=1, shift=timedelta(days=90))])


def periods_monthly(site: Site) -> Case:
    """Twelve months of this fiscal year: they are right, and none overlaps another."""
    return Case("financialperiods", site.parts(site.organization({}), 1))


def periods_quarterly(site: Site) -> Case:
    """Four quarters of this fiscal year."""
    return Case("financialperiods", site.parts(site.organization({}), 3))


def periods_with_a_gap(site: Site) -> Case:
    """Months of this fiscal year, but for the present one."""
    return Case("financialperiods", site.parts(site.organization({}), 1, today=False))


def period_of_next_year(site: Site) -> Case:
    """An organization whose only period is that of the fiscal year to come."""
    return Case("financialperiods", [site.period(site.organization({}), back=-1)])


# --- Journal entries -------------------------------------------------------------------------


def entry_of_unknown_organization(site: Site) -> Case:
    """Its organization doesn't exist."""
    return Case("journalentries", [site.entry(site.new_id()) for _ in range(2)])


def entry_without_organization(site: Site) -> Case:
    """It has no organization."""
    return Case("journalentries", [site.entry(ABSENT)])


def entry_null_organization(site: Site) -> Case:
    """Its organization is null."""
    return Case("journalentries", [site.entry(None)])


def entry_string_organization(site: Site) -> Case:
    """Its organization's _id is a string."""
    return Case("journalentries", [site.entry(str(site.tenant))])


def entry_null_period(site: Site) -> Case:
    """Its period is null."""
    return Case("journalentries", [site.entry(site.tenant, financialPeriod=None)])


def entry_dangling_period(site: Site) -> Case:
    """Its period doesn't exist."""
    return Case("journalentries", [site.entry(site.tenant, financialPeriod=site.new_id())])


def entry_already_assigned(site: Site) -> Case:
    """It has a period of its own organization: it is kept, by rollback too."""
    tenant = site.organization({})
    period = site.period(tenant)
    return Case("journalentries", [site.entry(tenant, financialPeriod=period)])


def entry_in_foreign_period(site: Site) -> Case:
    """It has a period of another organization."""
    period = site.period(site.organization({}))
    tenant = site.organization({})
    return Case("journalentries", [site.entry(tenant, financialPeriod=period)])


def entry_without_date(site: Site) -> Case:
    """It has no date."""
    return Case("journalentries", [site.entry(site.tenant, date=ABSENT)])


def entry_string_date(site: Site) -> Case:
    """Its date is a string."""
    return Case("journalentries", [site.entry(site.tenant, date="2026-05-01")])


def entry_years_ago(site: Site) -> Case:
    """It lies many fiscal years back, or ahead."""
    today = site.company.today
    dates = [today - timedelta(days=3650), today + timedelta(days=800)]
    return Case("journalentries", [site.entry(site.tenant, date=date) for date in dates])


def entries_at_the_edges(site: Site) -> Case:
    """For each zone of EDGES four entries: before, first, last and after the year's last moment.

    In this order: one millisecond before the fiscal year, its first, its last, one after it.
    """
    ids, tick = [], timedelta(milliseconds=1)
    for month, zone in EDGES:
        tenant = site.organization({"fiscalYearStart": month, "timezone": zone})
        year = fiscal.year_of(site.company.today, month, zone)
        first, last = fiscal.start(year, month, zone), fiscal.end(year, month, zone)
        ids += [site.entry(tenant, date=date) for date in (first - tick, first, last, last + tick)]
    return Case("journalentries", ids)


CASES: dict[str, Callable[[Site], Case]] = {
    case.__name__: case
    for case in (
        null_organization,
        empty_organization,
        already_set,
        set_to_another_organization,
        string_organization,
        string_of_another_organization,
        word_organization,
        dangling_organization,
        no_owner,
        null_owner,
        unknown_owner,
        string_owner,
        owner_without_organization,
        owner_of_unknown_organization,
        odd_ids,
        empty_collection,
        month_13,
        month_0,
        month_word,
        month_fraction,
        month_digits,
        month_null,
        unknown_timezone,
        timezone_number,
        null_settings,
        no_settings,
        no_creator,
        period_of_this_year,
        period_closed,
        period_closed_this_year,
        period_locked,
        periods_twice,
        period_overlapping,
        periods_monthly,
        periods_quarterly,
        periods_with_a_gap,
        period_of_next_year,
        entry_of_unknown_organization,
        entry_without_organization,
        entry_null_organization,
        entry_string_organization,
        entry_null_period,
        entry_dangling_period,
        entry_already_assigned,
        entry_in_foreign_period,
        entry_without_date,
        entry_string_date,
        entry_years_ago,
        entries_at_the_edges,
    )
}


def add(
    database: Database[dict[str, Any]],
    company: Company,
    dice: random.Random,
    new_id: Identifiers,
    names: Set[str] | None = None,
) -> None:
    """Add dirty cases to a seeded database.

    Args:
        database: the seeded one.
        company: what was seeded; its counts and cases are brought up to date.
        dice: the seed's random numbers.
        new_id: the seed's identifiers.
        names: of :data:`CASES`; None for all.
    """
    unknown = set(names or ()) - set(CASES)
    if unknown:
        raise ValueError(f"No such dirty cases: {', '.join(sorted(unknown))}.")
    site = Site(database, company, dice, new_id)
    # In the order of CASES, so that the data don't depend on the order in which they are named.
    for name, make in CASES.items():
        if names is None or name in names:
            company.cases[name] = make(site)
