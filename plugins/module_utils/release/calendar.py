"""When a change is allowed: the windows and freezes of an inventory, each in its timezone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from .errors import SettingError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# The next opening is looked for this far ahead: yearly freezes and one-off windows included.
HORIZON = timedelta(days=400)

_WINDOW_KEYS = ("name", "days", "from", "to", "timezone")
_FREEZE_KEYS = ("name", "from", "to", "timezone")
_CLOCK = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)")
_YEARLY = re.compile(r"(\d\d)-(\d\d)")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True, kw_only=True)
class Span:
    """A stretch of time; the end is no longer part of it."""

    start: datetime
    end: datetime
    name: str = ""

    def holds(self, moment: datetime) -> bool:
        """Return whether *moment* is within."""
        return self.start <= moment < self.end


def zone(name: str) -> ZoneInfo:
    """Return the timezone called *name*.

    Raises:
        SettingError: there is none, or this machine has no timezone data.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise SettingError(
            f"there is no timezone '{name}': write it like Asia/Kolkata or UTC (and see that this "
            "machine has the package tzdata)"
        ) from error


def parse_moment(value: Any, timezone: ZoneInfo, where: str, *, end: bool = False) -> datetime:
    """Return the moment that *value* names, in UTC.

    Args:
        value: ``2026-11-28 22:00``, with or without seconds and offset, or a date.
        timezone: where it is meant, unless it has an offset.
        where: the setting, for messages.
        end: whether a date alone means the end of that day.

    Raises:
        SettingError: it is none.
    """
    try:
        moment = datetime.fromisoformat(str(value).strip())
    except ValueError as error:
        raise SettingError(
            f"{where}: '{value}' is not a moment; write it like \"2026-11-28 22:00\""
        ) from error
    if end and _DATE.fullmatch(str(value).strip()):
        moment += timedelta(days=1)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone)
    return moment.astimezone(UTC)


class Calendar:
    """The windows and freezes of one inventory.

    Args:
        windows: when a change is allowed; none means always.
        freezes: when it isn't, whatever the windows say.
        timezone: of all times that don't name one.

    Raises:
        SettingError: one of them can't be understood; the message names it.
    """

    def __init__(
        self,
        *,
        windows: Sequence[Mapping[str, Any]] = (),
        freezes: Sequence[Mapping[str, Any]] = (),
        timezone: str = "UTC",
    ) -> None:
        self.timezone = zone(timezone)
        self._windows = [
            _Rule(each, f"change_gate_windows[{number}]", _WINDOW_KEYS, self.timezone)
            for number, each in enumerate(windows)
        ]
        self._freezes = [
            _Rule(each, f"change_gate_freezes[{number}]", _FREEZE_KEYS, self.timezone)
            for number, each in enumerate(freezes)
        ]

    @property
    def has_windows(self) -> bool:
        """Whether a change is bound to windows."""
        return bool(self._windows)

    @property
    def has_freezes(self) -> bool:
        """Whether there are freezes."""
        return bool(self._freezes)

    def window_at(self, moment: datetime) -> Span | None:
        """Return the window that is open at *moment*; windows that touch count as one."""
        return _find(self._open(moment, moment + HORIZON), moment)

    def freeze_at(self, moment: datetime) -> Span | None:
        """Return the freeze that holds at *moment*."""
        return _find(_merged(self._spans(self._freezes, moment, moment + HORIZON)), moment)

    def closes_at(self, moment: datetime) -> datetime | None:
        """Return when the time to work ends that holds *moment*: its window, or a freeze before."""
        for span in self._free(moment):
            if span.holds(moment):
                return span.end if span.end < moment + HORIZON else None
        return None

    def next_opening(self, moment: datetime) -> Span | None:
        """Return the first stretch from *moment* on in which a change is allowed."""
        for span in self._free(moment):
            if span.end > moment:
                return replace(span, start=max(span.start, moment))
        return None

    def say(self, moment: datetime) -> str:
        """Return *moment* as the inventory's people read it."""
        there = moment.astimezone(self.timezone)
        day = DAYS[there.weekday()].capitalize()
        return f"{day} {there:%Y-%m-%d %H:%M} {self.timezone.key}"

    def _open(self, start: datetime, end: datetime) -> list[Span]:
        if not self._windows:
            return [Span(start=start, end=end)]
        return _merged(self._spans(self._windows, start, end))

    def _free(self, moment: datetime) -> Iterator[Span]:
        """Give the open stretches, without what is frozen of them."""
        freezes = _merged(self._spans(self._freezes, moment, moment + HORIZON))
        for span in self._open(moment, moment + HORIZON):
            start = span.start
            for freeze in freezes:
                if freeze.end <= start or freeze.start >= span.end:
                    continue
                if freeze.start > start:
                    yield replace(span, start=start, end=freeze.start)
                start = max(start, freeze.end)
            if start < span.end:
                yield replace(span, start=start)

    @staticmethod
    def _spans(rules: Sequence[_Rule], start: datetime, end: datetime) -> list[Span]:
        return [span for rule in rules for span in rule.spans(start, end)]


class _Rule:
    """One window or freeze: weekly, yearly or once."""

    def __init__(
        self, raw: Mapping[str, Any], where: str, known: Sequence[str], timezone: ZoneInfo
    ) -> None:
        self._where = where
        unknown = sorted(set(raw) - set(known))
        if unknown:
            raise SettingError(f"{where}: unknown key '{unknown[0]}', known: {', '.join(known)}")
        for key in ("from", "to"):
            if raw.get(key) is None:
                raise SettingError(f"{where}: '{key}' is missing")
        self._zone = zone(str(raw["timezone"])) if raw.get("timezone") else timezone
        self._name = str(raw.get("name") or "")
        self._from, self._to = (_text(raw[key]) for key in ("from", "to"))
        self._weekly = "days" in known and bool(_CLOCK.fullmatch(self._from))
        self._yearly = bool(_YEARLY.fullmatch(self._from))
        self._days = self._read_days(raw.get("days"))
        # Once, so that a mistake is found before the moment that it matters.
        now = datetime.now(UTC)
        self.spans(now, now + timedelta(days=7))

    def spans(self, start: datetime, end: datetime) -> list[Span]:
        """Return the stretches of this rule that touch the time from *start* to *end*."""
        if self._weekly:
            found = self._weekly_spans(start, end)
        elif self._yearly:
            found = self._yearly_spans(start, end)
        else:
            found = [self._once()]
        return [span for span in found if span.end > start and span.start < end]

    def _weekly_spans(self, start: datetime, end: datetime) -> list[Span]:
        begin, until = self._clock(self._from), self._clock(self._to)
        if until <= begin:
            until += timedelta(days=1)  # past midnight, into the next day
        found = []
        day = start.astimezone(self._zone).date() - timedelta(days=2)
        last = end.astimezone(self._zone).date()
        while day <= last:
            if day.weekday() in self._days:
                found.append(self._span(self._wall(day, begin), self._wall(day, until)))
            day += timedelta(days=1)
        return found

    def _yearly_spans(self, start: datetime, end: datetime) -> list[Span]:
        found = []
        for year in range(start.year - 1, end.year + 1):
            first, last = self._day(year, self._from), self._day(year, self._to)
            if last < first:
                last = self._day(year + 1, self._to)  # over the turn of the year
            midnight = timedelta()
            found.append(
                self._span(
                    self._wall(first, midnight), self._wall(last + timedelta(days=1), midnight)
                )
            )
        return found

    def _once(self) -> Span:
        start = parse_moment(self._from, self._zone, f"{self._where}.from")
        end = parse_moment(self._to, self._zone, f"{self._where}.to", end=True)
        return self._span(start, end)

    def _span(self, start: datetime, end: datetime) -> Span:
        if end <= start:
            raise SettingError(f"{self._where}: it ends ({self._to}) before it begins")
        return Span(start=start, end=end, name=self._name)

    def _wall(self, day: date, clock: timedelta) -> datetime:
        """Return what the clock on the wall shows as a moment; days may have 23 or 25 hours."""
        there = datetime.combine(day + timedelta(days=clock.days), time(), self._zone)
        hours, minutes = divmod(clock.seconds // 60, 60)
        return there.replace(hour=hours, minute=minutes).astimezone(UTC)

    def _clock(self, text: str) -> timedelta:
        match = _CLOCK.fullmatch(text)
        if not match or timedelta(hours=int(match[1]), minutes=int(match[2])) > timedelta(days=1):
            raise SettingError(
                f"{self._where}: '{text}' is not a time of day; write it like \"22:00\""
            )
        return timedelta(hours=int(match[1]), minutes=int(match[2]))

    def _day(self, year: int, text: str) -> date:
        month, _dash, day = text.partition("-")
        try:
            in_year = (int(month), int(day))
            # In other years 29 February is the last day of the month, too.
            return date(year, 2, 28) if in_year == (2, 29) and year % 4 else date(year, *in_year)
        except ValueError as error:
            raise SettingError(
                f"{self._where}: '{text}' is not a day of the year; write it like \"12-20\""
            ) from error

    def _read_days(self, raw: Any) -> frozenset[int]:
        if raw is None:
            return frozenset(range(7))
        if not self._weekly:
            raise SettingError(f"{self._where}: 'days' goes with times of day, such as \"22:00\"")
        names = raw if isinstance(raw, list | tuple) else [raw]
        days = {str(name).strip().lower()[:3] for name in names}
        wrong = sorted(days - set(DAYS))
        if wrong or not days:
            raise SettingError(f"{self._where}: unknown day in {names}, known: {', '.join(DAYS)}")
        return frozenset(DAYS.index(day) for day in days)


def _text(value: Any) -> str:
    # YAML reads 22:00 without quotes as a number to the base of 60.
    if isinstance(value, int) and 0 <= value <= 24 * 60:
        return f"{value // 60:02}:{value % 60:02}"
    return str(value).strip()


def _merged(spans: Sequence[Span]) -> list[Span]:
    found: list[Span] = []
    for span in sorted(spans, key=lambda each: each.start):
        if found and span.start <= found[-1].end:
            found[-1] = replace(found[-1], end=max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


def _find(spans: Sequence[Span], moment: datetime) -> Span | None:
    return next((span for span in spans if span.holds(moment)), None)
