"""Fiscal years, worked out a second time and on their own, so that tests can compare."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo


def year_of(moment: datetime, month: int, zone: str) -> int:
    """Return the fiscal year that a moment lies in, named after the year it starts in."""
    local = moment.astimezone(ZoneInfo(zone))
    return local.year if local.month >= month else local.year - 1


def start(year: int, month: int, zone: str) -> datetime:
    """Return midnight of a fiscal year's first day there, in UTC."""
    return datetime(year, month, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def month(year: int, month: int, zone: str) -> datetime:
    """Return midnight of a month's first day there, in UTC; month 13 is January of next year."""
    return start(year + (month - 1) // 12, (month - 1) % 12 + 1, zone)


def end(year: int, month: int, zone: str) -> datetime:
    """Return the last millisecond of a fiscal year there, in UTC."""
    return start(year + 1, month, zone) - timedelta(milliseconds=1)
