"""The name of a new span of time: in the way those beside it are named, else by its dates.

A name says something. "FY 2026-2027" over a month would be a lie, and "Month 7" is right only among
months that are counted so. So the names that are there are read: which part of them is the month,
the quarter, the year. Where they don't tell for certain, the dates do.
"""

from __future__ import annotations

import calendar
import datetime
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import timezones
from .spans import SLACK, Document, Spans

_PARTS = re.compile(r"[^\W\d_]+|\d+|[\W_]+")
_TICK = datetime.timedelta(milliseconds=1)

# What a part of a name may be, beside a word that is always the same.
_CALENDAR_YEARS = ("year", "year, short", "year of the end", "year of the end, short")
_FISCAL_YEARS = ("fiscal year", "fiscal year, short", "fiscal end", "fiscal end, short")
_YEARS = (*_CALENDAR_YEARS, *_FISCAL_YEARS)
_OF_CALENDAR = (
    "month",
    "month, short",
    "number of the month",
    "number of the month, two digits",
    "calendar quarter",
)
_OF_FISCAL = ("position", "position, two digits")
_WORD = "word"


@dataclass(frozen=True, kw_only=True)
class _Span:
    """A span as people there see it: its first and its last day, and its fiscal year's first."""

    first: datetime.datetime
    last: datetime.datetime
    year_begins: datetime.datetime

    @property
    def months(self) -> int:
        """Return how many whole months it is; 0 where it isn't."""
        after = self.last + _TICK
        whole = (self.first.day, self.first.hour, self.first.minute) == (1, 0, 0)
        whole = whole and (after.day, after.hour, after.minute) == (1, 0, 0)
        return _month(after) - _month(self.first) if whole else 0

    def readings(self) -> dict[str, str]:
        """Return what a part of its name may say, by what it then is."""
        first, last = self.first, self.last
        # The fiscal year that it lies in, which needn't be the one that the new span lies in.
        begun = _month(first) - (_month(first) - _month(self.year_begins)) % 12
        fiscal, ended = begun // 12, (begun + 11) // 12
        told = {
            "month": calendar.month_name[first.month],
            "month, short": calendar.month_abbr[first.month],
            "month of the end": calendar.month_name[last.month],
            "month of the end, short": calendar.month_abbr[last.month],
            "number of the month": str(first.month),
            "number of the month, two digits": f"{first.month:02}",
            "number of the end": str(last.month),
            "number of the end, two digits": f"{last.month:02}",
            "first day": f"{first.day:02}",
            "last day": f"{last.day:02}",
        }
        for names, years in (
            (_CALENDAR_YEARS, (first.year, last.year)),
            (_FISCAL_YEARS, (fiscal, ended)),
        ):
            for place, year in enumerate(years):
                told[names[2 * place]], told[names[2 * place + 1]] = str(year), f"{year % 100:02}"
        if months := self.months:
            position, odd = divmod(_month(first) - begun, months)
            if not odd and 12 % months == 0:
                told |= {
                    "position": str(position + 1),
                    "position, two digits": f"{position + 1:02}",
                }
            if months == 3 and first.month % 3 == 1:
                told["calendar quarter"] = str(first.month // 3 + 1)
        return told


class Names:
    """Names the spans of one group, such as the periods of an organization.

    Args:
        spans: the fields that hold their first and last instants.
        field: the field that holds the name.
    """

    def __init__(self, spans: Spans, field: str) -> None:
        self._spans = spans
        self._field = field

    def of(
        self,
        document: Document,
        others: Iterable[Document],
        *,
        whole: Document,
        timezone: Any,
    ) -> Any:
        """Return the name of *document*.

        Args:
            document: the new one.
            others: what is there.
            whole: the new one before it was made to fit: it begins with a fiscal year.
            timezone: in which the dates are told.
        """
        others = list(others)
        zone = timezones.zone(timezone) if isinstance(timezone, str) else None
        begins = whole[self._spans.first]

        def seen(one: Document) -> _Span:
            local = [
                instant.astimezone(zone or datetime.UTC)
                for instant in (one[self._spans.first], one[self._spans.last], begins)
            ]
            return _Span(first=local[0], last=local[1], year_begins=local[2])

        new = seen(document)
        taken = {other.get(self._field) for other in others if self._named(other)}
        if new.months:
            alike = {
                str(other[self._field]): seen(other)
                for other in others
                if self._named(other) and self._as_long(document, other)
            }
            name = _in_the_way_of(alike, new)
            if name and name not in taken:
                return name
        if self._spans.same(document, whole):
            return document.get(self._field)
        return _by_dates(new)

    def _named(self, other: Document) -> bool:
        return isinstance(other.get(self._field), str)

    def _as_long(self, document: Document, other: Document) -> bool:
        length = self._spans.length(other)
        return bool(length) and abs(length - self._spans.length(document)) <= SLACK


def _in_the_way_of(alike: Mapping[str, _Span], new: _Span) -> str:
    """Return a name for *new* as *alike* have theirs; empty if they don't tell for certain."""
    shapes = Counter(tuple(map(_kind_of, _PARTS.findall(name))) for name in alike)
    if not shapes:
        return ""
    shape, count = shapes.most_common(1)[0]
    if count * 2 <= len(alike):
        return ""
    chosen = [
        (_PARTS.findall(name), span.readings())
        for name, span in alike.items()
        if tuple(map(_kind_of, _PARTS.findall(name))) == shape
    ]
    meanings = [
        set.intersection(*(_meanings(parts[place], readings) for parts, readings in chosen))
        for place in range(len(shape))
    ]
    if count == 1 and any(kind == "number" for kind in shape):
        # One name alone tells a year; any other number in it may be there by chance.
        numbers = [found for found, kind in zip(meanings, shape, strict=True) if kind == "number"]
        if not all(found & set(_YEARS) for found in numbers):
            return ""
    readings = new.readings()
    told = [
        _said(found, chosen[0][0][place], readings) for place, found in enumerate(_agreed(meanings))
    ]
    return "" if None in told else "".join(map(str, told))


def _kind_of(part: str) -> str:
    """Return a part's kind: names are alike whose words and numbers stand in the same places."""
    return "number" if part.isdigit() else "letters" if part.isalpha() else part


def _meanings(part: str, readings: Mapping[str, str]) -> set[str]:
    """Return what *part* of a name may be."""
    found = {what for what, text in readings.items() if text.casefold() == part.casefold()}
    # That the same word comes again is seen where they are put together.
    return found | {f"{_WORD} {part}"}


def _agreed(meanings: Sequence[set[str]]) -> Iterator[set[str]]:
    """Yield what is left of *meanings*: a number that may be a year is none by chance, and which
    year is meant follows from what stands beside it."""
    certain: set[str] = set().union(*(found for found in meanings if len(_plain(found)) == 1))
    by_calendar = any(_plain(found) & set(_OF_CALENDAR) for found in meanings)
    by_position = bool(certain & set(_OF_FISCAL))
    for found in meanings:
        left = _plain(found) or found
        for better, apart in (
            (_CALENDAR_YEARS, by_calendar and not by_position),
            (_FISCAL_YEARS, by_position and not by_calendar),
        ):
            if apart and left & set(better):
                left = left & set(better)
        yield left


def _plain(found: set[str]) -> set[str]:
    """Return *found* without the word that is always the same."""
    return {what for what in found if not what.startswith(_WORD)}


def _said(found: set[str], part: str, readings: Mapping[str, str]) -> str | None:
    """Return the one text that all of *found* come to; None where they differ."""
    texts = {
        what[len(_WORD) + 1 :] if what.startswith(_WORD) else _like(part, readings.get(what))
        for what in found
    }
    return texts.pop() if len(texts) == 1 else None


def _like(part: str, text: str | None) -> str | None:
    """Return *text* in capitals, or in small letters, as *part* is."""
    if text is None or part.isdigit():
        return text
    return text.upper() if part.isupper() else text.lower() if part.islower() else text


def _by_dates(span: _Span) -> str:
    if not span.months:
        return f"{span.first:%Y-%m-%d} to {span.last:%Y-%m-%d}"
    first, last = (
        f"{calendar.month_name[day.month]} {day.year}" for day in (span.first, span.last)
    )
    return first if first == last else f"{first} to {last}"


def _month(day: datetime.datetime) -> int:
    """Return a month as a number that grows by one from month to month, from January of year 0."""
    return day.year * 12 + day.month - 1
