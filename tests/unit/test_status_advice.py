"""What status says of who is at work, and what a person has to type now."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from mongo_migration.procedures import status
from mongo_migration.support import commands

SINCE = datetime.datetime(2026, 11, 23, 2, 5, 33, tzinfo=datetime.UTC)
LEASE = {
    "holder": {"user": "anna", "host": "bastion", "pid": 4711},
    "purpose": "migrate 004 add-organization",
    "since": SINCE,
}


def found(*phases: str, **more: Any) -> dict[str, Any]:
    changelog = [
        {
            "migration": "004",
            "name": "add-organization",
            "phase": phase,
            "work": {"done": 12_400, "total": 20_000, "eta_seconds": 2},
            "control": None,
        }
        for phase in phases
    ]
    facts = {"lease": None, "restore": None, "maintenance": None, "copies": []}
    return {**facts, "changelog": changelog, **more}


def asked(facts: dict[str, Any]) -> list[str]:
    return [advice["command"].removeprefix("ansible-playbook ") for advice in status.advise(facts)]


def test_who_is_at_work_and_how_far():
    assert status.at_work(found("running", lease=LEASE)) == (
        "anna@bastion (process 4711): migrate 004 add-organization, since 2026-11-23 02:05:33 UTC, "
        "12,400 of 20,000 documents, 62.0 %, about 2 s left"
    )
    assert status.at_work(found("running")) == ""


def test_a_pause_is_said_with_who_asked_for_it():
    facts = found("running", lease=LEASE)
    facts["changelog"][0]["control"] = {"action": "pause", "by": "ravi@bastion"}
    assert status.at_work(facts).endswith("62.0 %, paused by ravi@bastion")


ON = {"on": True}
COPIES = [{"database": "a", "at_work": None}, {"database": "b", "at_work": "anna@bastion"}]
GO_ON = ["migrate-004.yml", "rollback.yml -e migration=004"]


@pytest.mark.parametrize(
    ("facts", "commands_"),
    [
        (found(), []),
        (found("verified"), []),
        (found("running"), GO_ON),
        (found("interrupted", maintenance=ON), GO_ON),
        (found("failed"), GO_ON),
        (found("applied"), GO_ON),
        (found("rolling_back", maintenance=ON), ["rollback.yml -e migration=004"]),
        (found("verified", maintenance=ON), ["maintenance.yml -e state=off"]),
        (found(maintenance={"on": False, "switching": {"to": "on"}}),
         ["maintenance.yml -e state=status"]),
        (found("running", lease=LEASE, maintenance=ON), []),
        (found("running", lease=LEASE, copies=COPIES), ["rehearse.yml -e state=absent"]),
        (found(copies=COPIES[1:]), []),
        (found("failed", restore={"archive": "/b/x", "next": "ansible-playbook restore.yml"}),
         ["restore.yml"]),
    ],
)  # fmt: skip
def test_what_to_type_now(facts: dict[str, Any], commands_: list[str]):
    assert asked(facts) == commands_


def test_what_a_database_says_is_no_command():
    facts = found("rolling_back")
    facts["changelog"][0]["migration"] = "004; rm -rf /"
    assert asked(facts) == ["rollback.yml -e '{migration: !unsafe \"004; rm -rf /\"}'"]
    assert commands.carry_out("4; rm", "x") == "ansible-playbook status.yml"
    assert commands.carry_out("R01", "duplicate-periods").endswith("-e repair=duplicate_periods")
