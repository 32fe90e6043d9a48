"""Fill a database with a realistic company: the same one for the same arguments.

    company = seed(database, size=20000)

Clean data migrate under the default policies, and still show the ordinary cases: documents whose
organizationId is null or an empty string, and some that have the right one already. With `dirty`,
the cases of dirty.py are added, and `company.cases` says which document is which case.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timedelta
from itertools import count, islice
from typing import Any

from pymongo import IndexModel
from pymongo.database import Database

from . import company as made
from . import dirty as dirty_cases
from .company import Document
from .seeded import TODAY, Company, Identifiers

BATCH = 1000

# (fiscalYearStart, timezone) in turn; None is a setting that the organization doesn't have.
SETTINGS: tuple[tuple[int | None, str | None], ...] = (
    (4, "Asia/Kolkata"),
    (1, "America/New_York"),
    (None, None),
    (7, "Australia/Sydney"),
    (10, "Europe/Berlin"),
    (4, None),
    (12, "Pacific/Auckland"),
)
# This organization of them was made before there was a createdBy.
WITHOUT_CREATOR = 2


Maker = Callable[["Company", random.Random, "Identifiers", int], Iterator[Document]]


def seed(
    database: Database[dict[str, Any]],
    size: int = 20000,
    seed: int = 1,
    dirty: bool | Collection[str] = False,
    organizations: int = 6,
    *,
    today: datetime = TODAY,
) -> Company:
    """Fill an empty database.

    Args:
        database: with write access.
        size: documents over all collections, before dirty cases.
        seed: of the random numbers.
        dirty: True for all dirty cases, or the names of some.
        organizations: how many tenants.
        today: the last day of the business; it goes back two years from there.

    Returns:
        What was made, with the _ids of the dirty cases by their names.
    """
    dice = random.Random(seed)
    new_id = Identifiers(dice, today - timedelta(days=730))
    company = Company([new_id() for _ in range(organizations)], {}, today=today)
    for name, keys in made.INDEXES.items():
        # As the application does when it starts: collections exist before they have documents.
        database[name].create_indexes([IndexModel(each) for each in keys])
        company.counts[name] = 0
    _make_tenants(database, company, dice, new_id)
    remaining = max(size - sum(company.counts.values()), len(made.SHARES))
    for name, number in shares(remaining).items():
        maker: Maker = _entries if name == "journalentries" else _models(name)
        _insert(database, name, maker(company, dice, new_id, number), company)
    if dirty:
        dirty_cases.add(database, company, dice, new_id, None if dirty is True else set(dirty))
    return company


def shares(total: int) -> dict[str, int]:
    """Divide a number of documents among the collections, at least one for each."""
    whole = sum(made.SHARES.values())
    parts = {name: max(1, total * share // whole) for name, share in made.SHARES.items()}
    # What rounding left over is booked in the largest.
    parts["journalentries"] += total - sum(parts.values())
    return parts


def _make_tenants(
    database: Database[dict[str, Any]],
    company: Company,
    dice: random.Random,
    new_id: Identifiers,
) -> None:
    tenants, people, numbers = [], [], count()
    created = company.today - timedelta(days=730)
    for number, identifier in enumerate(company.organizations):
        staff = [
            made.user(dice, next(numbers), new_id(), identifier) for _ in range(3 + number % 3)
        ]
        company.users[identifier] = [person["_id"] for person in staff]
        people += staff
        month, zone = SETTINGS[number % len(SETTINGS)]
        settings: Document = {"currency": "INR"}
        if month is not None:
            settings["fiscalYearStart"] = month
        if zone is not None:
            settings["timezone"] = zone
        tenant = {**made.organization(dice, number, identifier), "settings": settings}
        if number != WITHOUT_CREATOR:
            tenant["createdBy"] = staff[0]["_id"]
        tenants.append({**tenant, "createdAt": created})
    _insert(database, "organizations", iter(tenants), company)
    _insert(database, "users", iter(people), company)


def _entries(
    company: Company, dice: random.Random, new_id: Identifiers, number: int
) -> Iterator[Document]:
    """Make journal entries of all organizations, over two years."""
    for running in range(number):
        tenant = dice.choice(company.organizations)
        entry = made.journal_entry(dice, running, _moment(dice, company), tenant)
        yield {
            "_id": new_id(),
            **entry,
            "createdBy": dice.choice(company.users[tenant]),
            "createdAt": entry["date"],
        }


def _models(name: str) -> Maker:
    """Return what makes the documents of one core model."""
    maker, owner = made.MAKERS[name], made.OWNER_FIELDS[name]

    def make(
        company: Company, dice: random.Random, new_id: Identifiers, number: int
    ) -> Iterator[Document]:
        for running in range(number):
            tenant, when = dice.choice(company.organizations), _moment(dice, company)
            document = {"_id": new_id(), **maker(dice, running, when)}
            document[owner] = dice.choice(company.users[tenant])
            # As years of an application leave it: most lack the field, some hold nothing in it,
            # and a newer release already wrote it to a few.
            if running % 50 == 10:
                document["organizationId"] = None
            elif running % 200 == 20:
                document["organizationId"] = ""
            elif running % 40 == 30:
                document["organizationId"] = tenant
            document["createdAt"] = document["updatedAt"] = when
            yield document

    return make


def _moment(dice: random.Random, company: Company) -> datetime:
    """Return a moment of the last two years, to the millisecond as MongoDB keeps it."""
    return company.today - timedelta(milliseconds=dice.randrange(730 * 86_400_000))


def _insert(
    database: Database[dict[str, Any]],
    name: str,
    documents: Iterator[Document],
    company: Company,
) -> None:
    number = 0
    while batch := list(islice(documents, BATCH)):
        database[name].insert_many(batch, ordered=False)
        number += len(batch)
    company.counts[name] = company.counts.get(name, 0) + number
