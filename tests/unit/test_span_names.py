"""A new period is named as those beside it are, or by its dates; never for what it isn't."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from mongo_migration.operations.documents.span_names import Names
from mongo_migration.operations.documents.spans import Spans

SPANS = Spans(first="from", last="to")
ZONE = "Asia/Kolkata"


def month(number: int) -> datetime:
    """The first instant of a month; 1 is January 2026."""
    return datetime(2026 + (number - 1) // 12, (number - 1) % 12 + 1, 1, tzinfo=ZoneInfo(ZONE))


def span(first: int, size: int, name: Any = None) -> dict[str, Any]:
    end = month(first + size) - timedelta(milliseconds=1)
    return {"from": month(first), "to": end, "name": name}


def named(others: list[dict[str, Any]], first: int, size: int, *, begins: int = 4) -> Any:
    new = span(first, size, "FY 2026-2027")
    whole = span(begins, 12, "FY 2026-2027")
    return Names(SPANS, "name").of(new, others, whole=whole, timezone=ZONE)


@pytest.mark.parametrize(
    ("there", "first", "size", "wanted"),
    [
        ({4: "April 2026", 5: "May 2026"}, 10, 1, "October 2026"),
        ({4: "April 2026", 6: "June 2026"}, 13, 1, "January 2027"),
        ({4: "APR 26", 6: "JUN 26"}, 13, 1, "JAN 27"),
        ({4: "2026-04", 6: "2026-06"}, 13, 1, "2027-01"),
        ({4: "FY2026-27 M01", 6: "FY2026-27 M03"}, 13, 1, "FY2026-27 M10"),
        ({4: "Period 1", 5: "Period 2", 9: "Period 6"}, 10, 1, "Period 7"),
        ({4: "Q1 FY 2026-2027", 7: "Q2 FY 2026-2027"}, 13, 3, "Q4 FY 2026-2027"),
        ({4: "Q1 2026", 7: "Q2 2026"}, 13, 3, "Q4 2026"),
        ({4: "Q2 2026", 7: "Q3 2026"}, 13, 3, "Q1 2027"),
        ({4: "April-June 2026", 7: "July-September 2026"}, 10, 3, "October-December 2026"),
        # One alone tells a year.
        ({-8: "FY 2025-26"}, 4, 12, "FY 2026-27"),
        ({-8: "2025/2026"}, 4, 12, "2026/2027"),
    ],
)
def test_names_that_tell_how_they_are_made_are_gone_on_with(
    there: dict[int, str], first: int, size: int, wanted: str
):
    others = [span(at, size, name) for at, name in there.items()]
    assert named(others, first, size) == wanted


@pytest.mark.parametrize(
    ("there", "first", "size", "wanted"),
    [
        ({4: "first", 5: "second"}, 10, 1, "October 2026"),
        ({5: "May 2026"}, 10, 1, "October 2026"),  # long or short?
        ({9: "Period 9"}, 10, 1, "October 2026"),  # of the calendar, or by chance?
        ({4: "Books", 5: "Books"}, 10, 1, "October 2026"),
        ({4: None, 5: 17}, 10, 1, "October 2026"),
        ({4: "a", 7: "b"}, 10, 3, "October 2026 to December 2026"),
        ({4: "FY 2026-2027", 5: "FY 2026-2027"}, 10, 1, "October 2026"),
    ],
)
def test_names_that_do_not_tell_are_left_for_the_dates(
    there: dict[int, Any], first: int, size: int, wanted: str
):
    others = [span(at, size, name) for at, name in there.items()]
    assert named(others, first, size) == wanted


def test_a_part_of_a_month_is_no_month():
    others = [span(4, 1, "April 2026"), span(5, 1, "May 2026")]
    new = span(10, 1)
    new["from"] += timedelta(days=2)
    whole = span(4, 12, "FY 2026-2027")
    name = Names(SPANS, "name").of(new, others, whole=whole, timezone=ZONE)
    assert name == "2026-10-03 to 2026-10-31"


def test_a_whole_year_keeps_its_name_where_the_others_tell_nothing():
    assert named([span(-8, 12, "main")], 4, 12) == "FY 2026-2027"


def test_names_of_another_length_say_nothing():
    quarters = [span(4, 3, "Q1"), span(7, 3, "Q2")]
    assert named(quarters, 10, 1) == "October 2026"


def test_a_name_that_is_taken_is_not_given_twice():
    others = [span(4, 1, "2026-04"), span(5, 1, "2026-05"), span(30, 2, "2026-10")]
    assert named(others, 10, 1) == "October 2026"


def test_dates_are_those_of_the_timezone():
    start, end = datetime(2026, 10, 1, 18, 30), datetime(2026, 10, 20, 18, 29)
    utc = ZoneInfo("UTC")
    new = {"from": start.replace(tzinfo=utc), "to": end.replace(tzinfo=utc)}
    name = Names(SPANS, "name").of(new, [], whole=span(4, 12), timezone=ZONE)
    assert name == "2026-10-02 to 2026-10-20"
