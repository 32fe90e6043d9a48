"""The gate as a user meets it: one list, refused before anything connects, and loud overrides.

No server is there: whoever passes the gate fails to reach it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.inventories import write_inventory
from tests.support.playbooks import BIN, run_playbook
from tests.support.terminal import Terminal
from tests.support.tickets import APPROVED, REQUESTED, TOKEN, ticket_system

PASSED = "Can't reach"
STRICT: dict[str, Any] = {
    "change_gate_ticket_required": True,
    "change_gate_ticket_pattern": "^CHG[0-9]{7}$",
    "change_gate_approver_required": True,
    "change_gate_timezone": "Asia/Kolkata",
    # Open in a year that is over: never.
    "change_gate_windows": [{"name": "once", "from": "2020-01-01", "to": "2020-01-02"}],
    "change_gate_rehearsal_days": 14,
    "change_gate_checklist": [
        {"id": "backup", "text": "Back up the database", "automatic": "backup"},
        {"id": "review", "text": "Somebody has read the document"},
        {"id": "standby", "text": "The contacts are on standby"},
    ],
}
OVERRIDE = "payments fail since 20:10"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """An inventory like production's, whose server doesn't exist; and its evidence."""
    folder = tmp_path_factory.mktemp("strict")
    with ticket_system() as system:
        inventory = write_inventory(
            folder / "inventory",
            uri="mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100",
            database="bizzai",
            variables={
                **STRICT,
                "evidence_root": str(folder / "evidence"),
                "change_gate_ticket_system": system.setting(),
            },
        )
        yield inventory, folder / "evidence"


def extra(**values: Any) -> list[str]:
    return ["-e", json.dumps(values)]


def test_everything_that_is_missing_is_one_list(strict: tuple[Path, Path]):
    inventory, evidence = strict
    before = set(evidence.glob("*"))
    done = run_playbook(["migrate-004.yml", *extra(ticket=REQUESTED)], inventory)
    assert done.returncode == 2
    refusal = done.stdout.partition("The gate of this inventory refuses")[2].partition("Recover")[0]
    named = [line.split(":")[0].strip(" -") for line in refusal.splitlines() if "  - " in line]
    assert named == [
        "ticket",
        "approver",
        "window",
        "rehearsal",
        "checklist 'review'",
        "checklist 'standby'",
    ]
    assert "approval is 'requested', not approved" in refusal
    assert "pass -e checklist=review,standby" in refusal
    assert PASSED not in done.stdout
    assert "Migration 004 did not run" in done.stdout
    (folder,) = (path for path in set(evidence.glob("*")) - before if path.is_dir())
    assert "approval is 'requested'" in (folder / "log.jsonl").read_text()


def test_a_plan_is_for_everybody_and_says_what_a_run_would_lack(strict: tuple[Path, Path]):
    inventory, _evidence = strict
    done = run_playbook(["migrate-004.yml", "--check"], inventory)
    assert "A run would be refused now" in done.stdout
    assert "ticket: there is none" in done.stdout
    assert "Look before anything changes" in done.stdout  # the next phase, which needs a server


def test_an_override_is_loud_and_without_a_terminal_nothing_is_confirmed(strict: tuple[Path, Path]):
    inventory, evidence = strict
    before = set(evidence.glob("*"))
    done = run_playbook(
        [
            "migrate-004.yml",
            *extra(ticket=APPROVED, override=OVERRIDE),
            "-vvv",
        ],
        inventory,
    )
    assert done.returncode == 2
    assert "EMERGENCY OVERRIDE by" in done.stdout
    assert f"OVERRIDE  {OVERRIDE}" in done.stdout.rpartition("Conclude")[2]
    # What a person has to confirm is never overridden, and silence is no yes.
    assert "checklist 'review': Somebody has read the document (not confirmed)" in done.stdout
    assert "preflight" not in done.stdout.partition("Pass the gate")[2].partition("Recover")[0]
    (folder,) = (path for path in set(evidence.glob("*")) - before if path.is_dir())
    gate = json.loads((folder / "gate.json").read_text())
    assert gate["override"] == OVERRIDE
    assert [each.partition(":")[0] for each in gate["overridden"]] == [
        "approver",
        "window",
        "rehearsal",
    ]
    how = [item["how"].partition(":")[0] for item in gate["checklist"]]
    assert how == ["looked up", "not confirmed", "not confirmed"]
    everything = done.stdout + done.stderr
    for path in folder.iterdir():
        everything += path.read_text(errors="replace")
    assert TOKEN not in everything


def test_a_person_confirms_what_only_a_person_can(strict: tuple[Path, Path]):
    inventory, evidence = strict
    before = set(evidence.glob("*"))
    command = [
        *(str(BIN / "ansible-playbook"), "migrate-004.yml", "-i", str(inventory)),
        *extra(ticket=APPROVED, override=OVERRIDE, checklist="standby"),
    ]
    with Terminal(command) as terminal:
        terminal.wait_for("Somebody has read the document. Type 'done'", 180)
        # What is typed before Ansible listens is thrown away: a person types again.
        terminal.type_until("done\r", "Look before anything changes", 180)
        terminal.wait(180)
    (folder,) = (path for path in set(evidence.glob("*")) - before if path.is_dir())
    gate = json.loads((folder / "gate.json").read_text())
    assert [item["how"] for item in gate["checklist"][1:]] == ["typed", "passed"]
