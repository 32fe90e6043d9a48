"""A company as years leave it: dirt of every kind at once, thrown by dice, and its own check.

Nothing here is made with the project's code, and nothing is marked: what is wrong with the data is
for :func:`violations` to find, which reads them as the application does, document by document.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from bson import Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import Binary, UuidRepresentation
from bson.dbref import DBRef
from pymongo.database import Database

from embedded.company import OWNER_FIELDS

Document = dict[str, Any]

ZONES = (
    *("Asia/Kolkata", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Chatham"),
    *("Europe/Berlin", "America/New_York", "Pacific/Kiritimati", "Pacific/Apia"),
    *("Asia/Kathmandu", "America/Santiago", "UTC"),
)
MILLISECOND = timedelta(milliseconds=1)
ABSENT = object()
# The day on which clocks change somewhere, and the last instant of a year.
SWITCHES = (
    datetime(2026, 3, 8, 7, 0, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 0, tzinfo=UTC),
    datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
    datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
    datetime(2026, 4, 4, 15, 0, tzinfo=UTC),
)


class Disorder:
    """Makes the company in *database*, which is empty.

    Args:
        database: an empty one.
        seed: of the dice; the same gives the same company.
        now: the day on which it is migrated.
        size: how many organizations; all else follows.
    """

    def __init__(self, database: Database[Document], seed: int, now: datetime, size: int) -> None:
        self.database = database
        self.dice = random.Random(seed)
        self.now = now
        self.organizations: list[Document] = []
        self.users: list[Document] = []
        self.periods: list[Document] = []
        self._make(size)

    def _make(self, size: int) -> None:
        for number in range(size):
            self._organization(number)
        # Deleted since: what names them is left.
        gone = [self.organizations.pop(self.dice.randrange(size - n)) for n in range(size // 12)]
        self.gone = [one["_id"] for one in gone]
        for one in self.organizations:
            self._periods(one)
        self.periods += list(self._stray_periods())
        entries = [self._entry(n) for n in range(size * 12)]
        self._fill("organizations", self.organizations)
        self._fill("users", self.users)
        self._fill("financialperiods", self.periods)
        self._fill("journalentries", entries)
        for name, owner in OWNER_FIELDS.items():
            documents = [self._model(owner) for _ in range(self.dice.choice([0, size, size * 3]))]
            self._fill(name, documents)
        self._indexes()

    def _fill(self, name: str, documents: list[Document]) -> None:
        self.database.create_collection(name)
        self.dice.shuffle(documents)
        kept = [{k: v for k, v in one.items() if v is not ABSENT} for one in documents]
        if kept:
            self.database[name].insert_many(kept)

    def _indexes(self) -> None:
        self.database["users"].create_index("email")
        # Not of both together: a document with a list in each has no place in such an index.
        self.database["journalentries"].create_index("organization")
        self.database["journalentries"].create_index([("date", -1)])
        if self.dice.random() < 0.5:
            self.database["invoices"].create_index("organizationId")
        if self.dice.random() < 0.3:
            self.database["items"].create_index([("organizationId", 1), ("sku", 1)], sparse=True)
        if self.dice.random() < 0.5:
            self.database["financialperiods"].create_index([("organization", 1), ("startDate", 1)])

    # -- ids and odd values ------------------------------------------------------------------

    def oid(self) -> ObjectId:
        return ObjectId(self.dice.randbytes(12))

    def id(self, *, odd: float = 0.2) -> Any:
        """An _id: mostly an ObjectId."""
        if self.dice.random() > odd:
            return self.oid()
        make: list[Callable[[], Any]] = [
            lambda: Binary.from_uuid(
                uuid.UUID(bytes=self.dice.randbytes(16)), UuidRepresentation.STANDARD
            ),
            lambda: f"imported-{self.dice.randrange(10**9)}",
            lambda: self.dice.randrange(10**9),
            lambda: Int64(self.dice.randrange(2**40, 2**50)),
            lambda: {"shop": self.dice.randrange(10**6), "no": self.dice.randrange(10**6)},
            lambda: str(self.oid()),
        ]
        return self.dice.choice(make)()

    def oddities(self) -> Document:
        """Fields that nobody expects."""
        if self.dice.random() > 0.3:
            return {}
        every: Document = {
            "price": Decimal128("12.50"),
            "ratio": float("nan"),
            "zero": -0.0,
            "pattern": Regex("a+", "ix"),
            "code": Code("return 1", {"x": 1}),
            "stamp": Timestamp(7, 1),
            "least": MinKey(),
            "most": MaxKey(),
            "far": DatetimeMS(2**53),
            "$price": 12,
            "a.b": {"$gt": 1, "c.d": [1, {"$where": "x"}]},
            "": "empty",
            "nested": {"organizationId": None, "list": [[], [None, {"_id": 1}]]},
            "ref": DBRef("users", self.oid()),
            "bytes": Binary(b"\0\1", 128),
            "null": None,
            "{{ 7 * 7 }}": "{{ lookup('env', 'HOME') }}",
            "esc": "\x1b[2K",
        }
        names = self.dice.sample(sorted(every), self.dice.randrange(1, 5))
        return {name: every[name] for name in names}

    # -- organizations and users -------------------------------------------------------------

    def _organization(self, number: int) -> None:
        settings: Any = {"fiscalYearStart": 1 + number % 12, "timezone": ZONES[number % len(ZONES)]}
        odd = self.dice.random()
        if odd < 0.12:
            settings = self.dice.choice([None, ABSENT, "none", 7, [], {}])
        elif odd < 0.24:
            settings["fiscalYearStart"] = self.dice.choice([13, 0, "April", 4.5, "7", None, -1])
        elif odd < 0.34:
            settings["timezone"] = self.dice.choice(["Mars/X", 5.5, "", None, "asia/kolkata"])
        creator = self.oid()
        one = {
            "_id": self.id(odd=0.1),
            "name": self.dice.choice(["Sharma Traders", "", None, "Ünïcode 組織", 7]),
            "settings": settings,
            "createdBy": self.dice.choice([creator, creator, ABSENT, None, str(creator)]),
            "deletedAt": self.dice.choice([ABSENT, ABSENT, self.now]),
            **self.oddities(),
        }
        self.organizations.append(one)
        for n in range(self.dice.randrange(1, 4)):
            self.users.append(
                {
                    "_id": creator if n == 0 else self.id(),
                    "email": self.dice.choice(["A@x.in", "a@x.in", f"u{number}@x.in"]),
                    "organizationId": self._link(one["_id"], odd=0.15),
                    **self.oddities(),
                }
            )

    def _link(self, right: Any, *, odd: float) -> Any:
        """What stands where *right* belongs."""
        if right is ABSENT or self.dice.random() > odd:
            return right
        return self.dice.choice(
            [
                *(ABSENT, None, "", str(right), str(right).upper(), self.oid(), "unknown", 7),
                *([right], {"_id": right}, DBRef("organizations", right), True, Regex("."), {}),
                *({"$gt": ""}, MinKey(), float("nan"), Decimal128("NaN"), Code("x")),
            ]
        )

    # -- periods -----------------------------------------------------------------------------

    def _parts(self, zone: str, first: int, size: int) -> list[tuple[datetime, datetime, int]]:
        """The parts of the fiscal year of now and the one before, *size* months each."""
        local = self.now.astimezone(ZoneInfo(zone))
        year = local.year if local.month >= first else local.year - 1
        made = []
        for start in range(-12, 12, size):
            bounds = [
                datetime(
                    year + (first - 1 + month) // 12,
                    (first - 1 + month) % 12 + 1,
                    1,
                    tzinfo=ZoneInfo(zone),
                ).astimezone(UTC)
                for month in (start, start + size)
            ]
            made.append((bounds[0], bounds[1] - MILLISECOND, year if start >= 0 else year - 1))
        return made

    def _periods(self, organization: Document) -> None:
        kind = self.dice.choice(
            [
                *("none", "none", "year", "years", "months", "quarters", "halves", "gap", "twice"),
                *("overlap", "closed", "locked", "future", "past", "midnight", "odd", "half done"),
            ]
        )
        settings = organization["settings"] if isinstance(organization["settings"], dict) else {}
        zone, first = settings.get("timezone"), settings.get("fiscalYearStart")
        zone = zone if zone in ZONES else "Asia/Kolkata"
        first = first if isinstance(first, int) and 1 <= first <= 12 else 4
        size = {"months": 1, "gap": 1, "quarters": 3, "halves": 6}.get(kind, 12)
        parts = self._parts(zone, first, size)
        made = [
            {
                "_id": self.oid(),
                "name": f"{start:%b %Y}",
                "organization": organization["_id"],
                "fiscalYear": year,
                "startDate": start,
                "endDate": end,
                "status": "closed" if end < self.now else "open",
                **self.oddities(),
            }
            for start, end, year in parts
        ]
        getattr(self, f"_{kind.replace(' ', '_')}", self._as_made)(made)

    def _as_made(self, made: list[Document]) -> None:
        self.periods += made

    def _none(self, made: list[Document]) -> None:
        del made

    def _year(self, made: list[Document]) -> None:
        self.periods.append(made[-1])

    def _gap(self, made: list[Document]) -> None:
        self.periods += [one for one in made if not one["startDate"] <= self.now <= one["endDate"]]

    def _twice(self, made: list[Document]) -> None:
        again = {**made[-1], "_id": self.oid(), **self.dice.choice([{}, {"status": "closed"}])}
        self.periods += [made[-1], again]

    def _overlap(self, made: list[Document]) -> None:
        shift = timedelta(days=self.dice.choice([-90, 1, 90]))
        moved = {key: made[-2][key] + shift for key in ("startDate", "endDate")}
        self.periods += [made[-1], {**made[-2], **moved}]

    def _closed(self, made: list[Document]) -> None:
        self.periods += [{**one, "status": "closed"} for one in made]

    def _locked(self, made: list[Document]) -> None:
        self.periods.append({**made[-1], "status": self.dice.choice(["locked", "Open", "draft"])})

    def _future(self, made: list[Document]) -> None:
        year = timedelta(days=365)
        ahead = {key: made[-1][key] + year for key in ("startDate", "endDate")}
        self.periods.append({**made[-1], **ahead, "fiscalYear": made[-1]["fiscalYear"] + 1})

    def _past(self, made: list[Document]) -> None:
        self.periods.append(made[0])

    def _midnight(self, made: list[Document]) -> None:
        # The application's own: the last day belongs to no period.
        day = timedelta(days=1) - MILLISECOND
        self.periods += [{**one, "endDate": one["endDate"] - day} for one in made]

    def _odd(self, made: list[Document]) -> None:
        one = made[-1]
        one |= self.dice.choice(
            [
                {"startDate": None},
                {"endDate": ABSENT},
                {"startDate": str(one["startDate"])},
                {"startDate": one["endDate"], "endDate": one["startDate"]},
                {"fiscalYear": str(one["fiscalYear"])},
                {"fiscalYear": None},
                {"endDate": DatetimeMS(2**50)},
                {"_id": f"period-{self.dice.randrange(10**9)}"},
            ]
        )
        self.periods.append(one)

    def _half_done(self, made: list[Document]) -> None:
        one = made[-1]
        one |= self.dice.choice(
            [
                {"organization": str(one["organization"])},
                {"status": None},
                {"status": ABSENT, "fiscalYear": ABSENT},
            ]
        )
        self.periods.append(one)

    def _stray_periods(self) -> Iterator[Document]:
        for organization in (ABSENT, None, "", self.oid(), 7, *self.gone[:2]):
            start = self.now - timedelta(days=30)
            yield {
                "_id": self.oid(),
                "organization": organization,
                "fiscalYear": 2026,
                "startDate": start,
                "endDate": start + timedelta(days=365),
                "status": "open",
            }

    # -- entries and models ------------------------------------------------------------------

    def _entry(self, number: int) -> Document:
        owner = self.dice.choice(self.organizations)
        own = [one for one in self.periods if one["organization"] == owner["_id"]]
        organization = self._link(owner["_id"], odd=0.08)
        if self.dice.random() < 0.03 and self.gone:
            organization = self.dice.choice(self.gone)
        return {
            "_id": self.id(),
            "entryNumber": number,
            "organization": organization,
            "date": self._date(own),
            "createdBy": self.dice.choice([one["_id"] for one in self.users]),
            "financialPeriod": self._period_of(own),
            **self.oddities(),
        }

    def _date(self, own: list[Document]) -> Any:
        odd = self.dice.random()
        if odd < 0.1:
            return self.dice.choice(
                [
                    *(ABSENT, None, "2026-05-05", 0, Timestamp(1, 1), [self.now], {}),
                    *(DatetimeMS(-(2**53)), DatetimeMS(2**53), datetime(1, 1, 1, tzinfo=UTC)),
                ]
            )
        if odd < 0.3 and own:
            border = self.dice.choice(own).get(self.dice.choice(["startDate", "endDate"]))
            if isinstance(border, datetime):
                return border + self.dice.choice([-1, 0, 1]) * MILLISECOND
        if odd < 0.4:
            return self.dice.choice(SWITCHES)
        return self.now - timedelta(seconds=self.dice.randrange(3 * 365 * 86400)) * (
            1 if self.dice.random() < 0.9 else -1
        )

    def _period_of(self, own: list[Document]) -> Any:
        odd = self.dice.random()
        if odd < 0.7:
            return ABSENT
        some = [one["_id"] for one in own if one["_id"] is not ABSENT] or [None]
        return self.dice.choice(
            [
                *(None, "", self.oid(), "none", {"_id": 1}, []),
                *(self.dice.choice(some), str(self.dice.choice(some))),
                self.dice.choice(self.periods)["_id"],  # mostly another organization's
            ]
        )

    def _model(self, owner: str) -> Document:
        user = self.dice.choice(self.users)
        organization: Any = ABSENT
        if self.dice.random() < 0.3:
            right = user["organizationId"]
            other = self.dice.choice(self.organizations)["_id"]
            organization = self.dice.choice(
                [right, right, self._link(right, odd=0.5), other, str(other)]
            )
        return {
            "_id": self.id(odd=0.3),
            owner: self._link(user["_id"], odd=0.08),
            "name": self.dice.choice(["Tea", "tea", "TEA ", None]),
            "organizationId": organization,
            **self.oddities(),
        }


def entry_violations(database: Database[Document], *, by_date: bool) -> dict[Any, str]:
    """Return what is wrong with the journal entries, by ``_id``.

    Args:
        database: as the application reads it.
        by_date: whether its period must contain its date; otherwise, any of its own organization.
    """
    periods = {key(one["_id"]): one for one in database["financialperiods"].find()}
    wrong = {}
    for entry in database["journalentries"].find():
        period = periods.get(key(entry.get("financialPeriod", ABSENT)))
        if period is None:
            wrong[key(entry["_id"])] = "no period"
        elif key(period.get("organization")) != key(entry.get("organization")):
            wrong[key(entry["_id"])] = "another organization's period"
        elif by_date and not _contains(period, entry.get("date")):
            wrong[key(entry["_id"])] = "its period doesn't contain its date"
    return wrong


def model_violations(database: Database[Document], name: str) -> dict[Any, str]:
    """Return what is wrong with the organizations of *name*'s documents, by ``_id``."""
    organizations = {key(one["_id"]) for one in database["organizations"].find({}, {"_id": 1})}
    users = {key(one["_id"]): one.get("organizationId") for one in database["users"].find()}
    wrong = {}
    for document in database[name].find():
        held = document.get("organizationId")
        owners = users.get(key(document.get(OWNER_FIELDS[name], ABSENT)), ABSENT)
        if key(held) not in organizations:
            wrong[key(document["_id"])] = "no organization"
        elif key(owners) in organizations and key(owners) != key(held):
            wrong[key(document["_id"])] = "another organization than its owner's"
    return wrong


def key(value: Any) -> Any:
    """Return *value* as what can be looked up: 1 and True differ, and so do text and an id."""
    if isinstance(value, dict | list | DBRef):
        return repr(value)
    return (type(value).__name__ if not isinstance(value, int | float) else "number", repr(value))


def _contains(period: Document, date: Any) -> bool:
    start, end = period.get("startDate"), period.get("endDate")
    if not isinstance(date, datetime | DatetimeMS):
        return False
    return all(isinstance(one, datetime | DatetimeMS) for one in (start, end)) and (
        _millis(start) <= _millis(date) <= _millis(end)
    )


def _millis(moment: Any) -> int:
    return int(moment) if isinstance(moment, DatetimeMS) else int(DatetimeMS(moment))
