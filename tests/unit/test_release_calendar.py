"""When a change is allowed: windows, freezes, timezones, and the days when the clock changes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from release import appointment
from release.calendar import Calendar
from release.errors import SettingError

KOLKATA = "Asia/Kolkata"
NIGHT = {"name": "Saturday night", "days": ["sat"], "from": "22:00", "to": "04:00"}
YEAR_END = {"name": "year end", "from": "12-20", "to": "01-04"}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def calendar(*windows: Any, freezes: Any = (), timezone: str = KOLKATA) -> Calendar:
    return Calendar(windows=windows, freezes=freezes, timezone=timezone)


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-11-28 16:29", False),  # Saturday 21:59 in Kolkata
        ("2026-11-28 16:30", True),
        ("2026-11-28 22:29", True),  # Sunday 03:59: the night that began on Saturday
        ("2026-11-28 22:30", False),
        ("2026-11-29 16:30", False),
    ],
)
def test_a_window_is_open_on_the_clock_of_its_timezone(moment: str, is_open: bool):
    assert (calendar(NIGHT).window_at(at(moment)) is not None) is is_open


def test_without_windows_it_is_always_open():
    assert calendar().window_at(at("2026-11-23 12:00")) is not None
    assert calendar().closes_at(at("2026-11-23 12:00")) is None


def test_the_next_window_is_told_in_the_inventorys_timezone():
    known = calendar(NIGHT)
    opening = known.next_opening(at("2026-11-23 12:00"))
    assert opening
    assert known.say(opening.start) == "Sat 2026-11-28 22:00 Asia/Kolkata"
    assert known.say(opening.end) == "Sun 2026-11-29 04:00 Asia/Kolkata"
    assert opening.name == "Saturday night"


def test_a_freeze_closes_an_open_window_and_the_next_one_is_after_it():
    known = calendar(NIGHT, freezes=[YEAR_END])
    moment = at("2026-12-26 17:00")
    freeze = known.freeze_at(moment)
    assert freeze and known.say(freeze.end) == "Tue 2027-01-05 00:00 Asia/Kolkata"
    opening = known.next_opening(moment)
    assert opening and known.say(opening.start) == "Sat 2027-01-09 22:00 Asia/Kolkata"


def test_a_freeze_that_begins_within_a_window_ends_it():
    known = calendar(NIGHT, freezes=[{"from": "2026-11-29 01:00", "to": "2026-11-30"}])
    closes = known.closes_at(at("2026-11-28 17:00"))
    assert closes and known.say(closes) == "Sun 2026-11-29 01:00 Asia/Kolkata"


def test_a_yearly_freeze_holds_in_every_year():
    known = calendar(freezes=[YEAR_END])
    for moment in ("2026-12-31 12:00", "2027-01-04 18:00", "2030-12-20 00:00"):
        assert known.freeze_at(at(moment)), moment
    for moment in ("2026-12-19 18:00", "2027-01-04 19:00"):
        assert not known.freeze_at(at(moment)), moment


def test_windows_that_touch_count_as_one():
    known = calendar(
        {"from": "22:00", "to": "24:00"}, {"from": "00:00", "to": "02:00"}, timezone="UTC"
    )
    assert known.closes_at(at("2026-11-23 23:00")) == at("2026-11-24 02:00")


def test_a_window_over_the_change_of_the_clock_keeps_the_walls_time():
    # On 2027-03-28 the clock in Berlin goes from 2:00 to 3:00, on 2026-10-25 from 3:00 to 2:00.
    known = calendar({"days": ["sat"], "from": "22:00", "to": "04:00"}, timezone="Europe/Berlin")
    assert known.closes_at(at("2027-03-27 22:00")) == at("2027-03-28 02:00")
    assert known.closes_at(at("2026-10-24 21:00")) == at("2026-10-25 03:00")


def test_a_time_that_yaml_made_a_number_of_is_a_time():
    # YAML reads 22:00 without quotes as 22 * 60.
    known = calendar({"from": 1320, "to": "23:00"}, timezone="UTC")
    assert known.window_at(at("2026-11-23 22:30"))
    assert not known.window_at(at("2026-11-23 21:59"))


def test_a_single_window_can_be_given_with_an_offset():
    known = calendar({"from": "2026-12-01T22:00+01:00", "to": "2026-12-02T00:00+01:00"})
    assert known.window_at(at("2026-12-01 21:30"))
    assert known.next_opening(at("2026-12-02 00:00")) is None


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ({"form": "22:00", "to": "04:00"}, r"change_gate_windows\[0\]: unknown key 'form'"),
        ({"from": "22:00"}, "'to' is missing"),
        ({"days": ["someday"], "from": "22:00", "to": "23:00"}, "unknown day"),
        ({"from": "22:00", "to": "25:00"}, "not a time of day"),
        ({"from": "tomorrow", "to": "later"}, r"from: 'tomorrow' is not a moment"),
        ({"from": "2026-12-02 10:00", "to": "2026-12-01 10:00"}, "before it begins"),
        ({"days": ["sat"], "from": "2026-12-02", "to": "2026-12-03"}, "goes with times of day"),
        ({"from": "22:00", "to": "23:00", "timezone": "Mars/Base"}, "no timezone 'Mars/Base'"),
    ],
)
def test_a_mistake_in_a_window_is_named(window: dict[str, Any], message: str):
    with pytest.raises(SettingError, match=message):
        calendar(window)


def test_a_mistake_in_a_freeze_is_named():
    with pytest.raises(SettingError, match=r"change_gate_freezes\[0\].*'13-45' is not a day"):
        calendar(freezes=[{"from": "13-45", "to": "01-01"}])


@pytest.mark.parametrize("at", ["2026-11-28", " 2026-11-28 ", "20261128"])
def test_a_date_without_a_time_is_no_appointment(at: str):
    with pytest.raises(SettingError, match="has no time of day"):
        appointment.make(
            at=at,
            until=None,
            minutes=30,
            calendar=calendar(),
            now=datetime(2026, 11, 1, tzinfo=UTC),
        )


def test_an_appointment_is_held_against_the_calendar():
    made = appointment.make(
        at="2026-11-28 22:00",
        until=None,
        minutes=30,
        calendar=calendar(NIGHT),
        now=at("2026-11-27 10:30"),
    )
    assert made.problems == ()
    assert made.text == "Sat 2026-11-28 22:00 Asia/Kolkata to 22:30"
    assert made.as_dict()["starts"] == "2026-11-28T16:30:00Z"
    assert made.hours_ahead == 30


@pytest.mark.parametrize(
    ("when", "minutes", "problem"),
    [
        ("2026-11-28 10:00", 30, "no change window is open"),
        ("2026-11-29 03:45", 30, "the window closes Sun 2026-11-29 04:00"),
        ("2026-12-26 22:00", 30, "the freeze 'year end' holds"),
    ],
)
def test_an_appointment_at_a_closed_time_says_so(when: str, minutes: float, problem: str):
    made = appointment.make(
        at=when,
        until=None,
        minutes=minutes,
        calendar=calendar(NIGHT, freezes=[YEAR_END]),
        now=at("2026-11-23 12:00"),
    )
    assert problem in made.problems[0]


def test_an_appointment_in_the_past_is_refused():
    with pytest.raises(SettingError, match="is past"):
        appointment.make(
            at="2026-11-22", until=None, minutes=30, calendar=calendar(), now=at("2026-11-23 12:00")
        )
