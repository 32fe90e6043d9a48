"""When a change is to happen: read from a command, and held against the calendar."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from .calendar import Calendar, parse_moment
from .errors import SettingError

_HAS_NO_TIME = re.compile(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}")


@dataclass(frozen=True, kw_only=True)
class Appointment:
    """When, and what speaks against it.

    Args:
        start: of the change, in UTC.
        end: of the change, in UTC.
        text: both, as the inventory's people read them.
        problems: why it can't be then, one sentence each.
        hours_ahead: how far it is away.
    """

    start: datetime
    end: datetime
    text: str
    problems: tuple[str, ...]
    hours_ahead: float

    def as_dict(self) -> dict[str, Any]:
        """Return what a module returns."""
        return {
            "starts": _iso(self.start),
            "ends": _iso(self.end),
            "text": self.text,
            "problems": list(self.problems),
            "hours_ahead": round(self.hours_ahead, 1),
        }


def make(*, at: Any, until: Any, minutes: float, calendar: Calendar, now: datetime) -> Appointment:
    """Return the appointment that begins at *at* and ends at *until*, or after *minutes*.

    Raises:
        SettingError: one of them is not a moment, or they are in the wrong order.
    """
    start = parse_moment(at, calendar.timezone, "at")
    end = (
        parse_moment(until, calendar.timezone, "until", end=True)
        if until
        else start + timedelta(minutes=minutes)
    )
    if end <= start:
        raise SettingError(f"it would end ({until or f'{minutes:g} minutes'}) before it begins")
    if start < now:
        raise SettingError(f"at={at} is past: it is {calendar.say(now)}")
    if _HAS_NO_TIME.fullmatch(str(at).strip()):
        raise SettingError(
            f"at: '{at}' has no time of day. A value with a space needs quotes of its own inside "
            f"those of the shell: -e \"at='{str(at).strip()} 22:00'\""
        )
    return Appointment(
        start=start,
        end=end,
        text=f"{calendar.say(start)} to {_end(calendar, start, end)}",
        problems=tuple(_problems(calendar, start, end)),
        hours_ahead=(start - now).total_seconds() / 3600,
    )


def _problems(calendar: Calendar, start: datetime, end: datetime) -> list[str]:
    closes = calendar.closes_at(start)
    freeze = calendar.freeze_at(start)
    if freeze:
        name = f"'{freeze.name}' " if freeze.name else ""
        found = f"the freeze {name}holds until {calendar.say(freeze.end)}"
    elif not calendar.window_at(start):
        found = f"no change window is open {calendar.say(start)}"
    elif closes and closes < end:
        found = f"the window closes {calendar.say(closes)}, before it ends"
    else:
        return []
    opening = calendar.next_opening(closes or start)
    then = f"; the next one opens {calendar.say(opening.start)}" if opening else ""
    return [f"{found}{then}"]


def _end(calendar: Calendar, start: datetime, end: datetime) -> str:
    there = [moment.astimezone(calendar.timezone) for moment in (start, end)]
    if there[0].date() == there[1].date():
        return f"{there[1]:%H:%M}"
    return calendar.say(end)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
