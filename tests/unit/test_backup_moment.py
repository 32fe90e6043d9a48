"""When the backup of a migration is taken, from what the preflight has found."""

from __future__ import annotations

from typing import Any

import pytest
from mongo_migration.backup import moment

LATELY = "/backups/backup-20261123-020533.tar.gz"
CAN = {"seconds": 90.0, "ahead": {"why_not": None, "lately": None}}
CANNOT = {
    "seconds": 90.0,
    "ahead": {"why_not": "a standalone server doesn't tell what was written since", "lately": None},
}
LEFT = {"seconds": 90.0, "ahead": {"why_not": None, "lately": LATELY}}


def choose(plan: dict[str, Any], **circumstances: Any) -> moment.Moment:
    usual = {
        "wanted": "auto",
        "live_first": False,
        "maintenance": True,
        "found": "off",
        "kept": "",
        "external": False,
    }
    return moment.choose(plan, **{**usual, **circumstances})


def test_most_of_it_is_taken_before_writers_are_stopped() -> None:
    chosen = choose(CAN)

    assert chosen.kind == moment.AHEAD
    assert chosen.base == ""
    assert chosen.stopped_seconds == moment.ADDING_SECONDS
    assert "while users write" in chosen.text


@pytest.mark.parametrize(
    ("plan", "circumstances", "why"),
    [
        (CANNOT, {}, "a standalone server doesn't tell"),
        (CAN, {"wanted": "never"}, "backup_while_writing: never"),
        (CAN, {"found": "foreign"}, "somebody else has stopped the writers"),
        (LEFT, {"found": "foreign"}, "somebody else has stopped the writers"),
        (CAN, {"found": "ours"}, "an earlier run has stopped the writers"),
        (LEFT, {"found": "ours", "wanted": "never"}, "backup_while_writing: never"),
        ({"archive_bytes": 5}, {}, "many databases"),
    ],
)
def test_otherwise_all_of_it_is_taken_with_stopped_writers(
    plan: dict[str, Any], circumstances: dict[str, Any], why: str
) -> None:
    chosen = choose(plan, **circumstances)

    assert chosen.kind == moment.STOPPED
    assert chosen.base == ""
    assert why in chosen.text
    assert chosen.stopped_seconds == plan.get("seconds")


def test_what_an_interrupted_command_has_left_is_added_to() -> None:
    chosen = choose(LEFT, found="ours")

    assert chosen.kind == moment.STOPPED
    assert chosen.base == LATELY
    assert LATELY in chosen.text
    assert chosen.stopped_seconds == moment.ADDING_SECONDS


@pytest.mark.parametrize("plan", [CAN, CANNOT, {}])
def test_a_run_keeps_the_one_from_before_its_first_write(plan: dict[str, Any]) -> None:
    assert choose(plan, kept=LATELY).kind == moment.KEPT
    assert choose(plan, kept=LATELY, live_first=True, found="ours").kind == moment.KEPT


def test_a_release_takes_one_for_all_of_its_migrations() -> None:
    chosen = choose({}, found="ours", taken=LATELY)

    assert chosen.kind == moment.KEPT
    assert LATELY in chosen.text


def test_before_work_that_is_done_while_users_write_there_is_nothing_to_add() -> None:
    assert choose(CAN, live_first=True).kind == moment.BEFORE_THE_WORK
    assert choose(CAN, maintenance=False).kind == moment.BEFORE_THE_WORK
    assert choose({}, live_first=True, external=True).kind == moment.BEFORE_THE_WORK
    assert choose({}, maintenance=False, external=True).kind == moment.BEFORE_THE_WORK


def test_another_tool_can_only_be_called_once_writers_are_stopped() -> None:
    chosen = choose({}, external=True)

    assert chosen.kind == moment.STOPPED
    assert chosen.stopped_seconds is None
    assert "own command" in chosen.text
