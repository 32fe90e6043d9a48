"""Whether a command may change something: only with the gate's word to this very command."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest
from evidence import command
from release import passage

NOW = command.identity(os.getpid())
RUN = {"command": NOW, "outcome": "running"}


def issued(**more: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "command": NOW,
        "deployment": "db",
        "missing": [],
        "to_confirm": "",
        "evidence": "/srv/evidence/one",
        "with_evidence": True,
    }
    return passage.issue(**{**known, **more})


def test_who_passed_the_gate_may_change_it():
    assert passage.refusal(issued(), command=NOW, deployment="db") == ""
    assert passage.without_evidence(issued(), RUN, command=NOW) == ""


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        ({}, "didn't pass the gate"),
        (None, "didn't pass the gate"),
        ("yes", "didn't pass the gate"),
        ({"passed": True}, "didn't pass the gate"),
        (issued(command="1@1"), "didn't pass the gate"),
        (issued(deployment="other"), "for other, not for db"),
        (issued(missing=["ticket: there is none"]), "refuses: ticket"),
        ({**issued(), "passed": "yes"}, "refuses"),
        (issued(to_confirm="bizzai"), "-e confirm=bizzai"),
        (issued(evidence=""), "has no evidence"),
    ],
)
def test_anything_else_is_refused(shown: Any, why: str):
    assert why in passage.refusal(shown, command=NOW, deployment="db")


@pytest.mark.parametrize(
    "run", [{}, {"command": "1@1", "outcome": "running"}, {"command": NOW, "outcome": "success"}]
)
def test_what_begins_a_change_needs_its_evidence_open(run: dict[str, Any]):
    assert "isn't open" in passage.without_evidence(issued(), run, command=NOW)
    assert passage.without_evidence(issued(with_evidence=False), run, command=NOW) == ""
    undoing = issued(with_evidence=False, evidence="")
    assert passage.refusal(undoing, command=NOW, deployment="db") == ""


def test_a_process_is_told_from_every_other_one():
    assert command.identity(os.getpid()) == NOW
    child = subprocess.Popen(["sleep", "60"])
    try:
        assert command.identity(child.pid) not in (NOW, f"{child.pid}@")
    finally:
        child.kill()
        child.wait()
