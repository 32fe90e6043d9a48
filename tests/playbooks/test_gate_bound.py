"""No command changes anything without its gate; no way out waits for a side duty."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from evidence import proof, record
from pymongo import MongoClient
from release import rehearsal

from embedded.mongod import ReplicaSet
from tests.playbooks.site import HOST, Run, Site, site
from tests.support.playbooks import BIN, ROOT, environment
from tests.support.snapshot import differences

TICKET = ("-e", "ticket=CHG0000001")
# Nobody makes a folder there, not even root.
NOWHERE = ("-e", "evidence_root=/proc/evidence")


@pytest.fixture(scope="module")
def place(
    replica_set: ReplicaSet,
    client: MongoClient[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("bound")
    variables = {
        "change_gate_ticket_required": True,
        "change_gate_ticket_pattern": "^CHG[0-9]{7}$",
        "change_gate_confirmation_required": True,
    }
    with site(replica_set, client, folder, variables=variables) as made:
        yield made


def elsewhere(run: Run, temporary: Path) -> Path:
    """Return the folder of evidence that a way out made among the temporary files."""
    (found,) = temporary.glob("migration-evidence-*/*/run.json")
    assert str(found.parent) in run.last_words()
    return found.parent


def test_a_command_that_leaves_out_its_gate_changes_nothing(place: Site):
    before = place.run("status.yml").everything
    forged = {"passed": True, "deployment": HOST, "command": "1@1", "evidence": ""}
    started_late = place.run(
        *("migrate-003.yml", "--start-at-task", "Look before anything changes", *TICKET),
        *("-e", f"confirm={place.database.name}"),
        *("-e", json.dumps({"change_gate_passage": forged})),
    )
    assert started_late.code not in (0, None)
    assert differences(before, started_late.everything) == []
    assert not started_late.application_in_maintenance


@pytest.mark.parametrize(
    ("module", "arguments"),
    [("mongo_maintenance", {"state": "on"}), ("mongo_backup", {"dest": "/tmp/never-made"})],
)
def test_a_module_called_alone_asks_for_the_gate_of_the_inventory(
    place: Site, module: str, arguments: dict[str, Any]
):
    uri = place.servers.uri("migrator")
    given = json.dumps({**arguments, "uri": uri, "database": place.database.name})
    done = subprocess.run(
        [str(BIN / "ansible"), "mongodb", "-i", str(place.inventory), "-m", module, "-a", given],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2
    assert "didn't pass the gate" in done.stdout
    assert not place.maintenance()["on"]
    assert not Path("/tmp/never-made").exists()


def test_a_backup_asks_for_a_ticket_and_its_refusal_is_evidence(place: Site):
    refused = place.run("backup.yml")
    assert refused.code == 2
    assert "ticket: there is none" in refused.output
    assert not list(place.backups.glob("backup-*"))
    gate = refused.read("gate.json")
    assert gate["passed"] is False
    assert gate["missing"][0].startswith("ticket")
    assert gate["login"]
    assert gate["settings"]["ticket_required"] is True

    # Whoever turns it off is named, and so is what a controller says of itself.
    taken = place.run(
        *("backup.yml", "-e", '{"change_gate_ticket_required": false}', "-e", "awx_user_name=eve")
    )
    assert taken.code == 0, taken.output
    assert "came by -e: change_gate_ticket_required" in " ".join(taken.output.split())
    gate = taken.read("gate.json")
    assert gate["passed"] is True
    assert gate["from_command_line"]["change_gate_ticket_required"] is False
    assert gate["controller"] == {"awx_user_name": "eve"}
    assert gate["operator"] == gate["login"] != "eve", "anybody can say so"
    assert taken.read("run.json")["outcome"] == "success"


def test_a_standing_change_covers_backups_and_nothing_else(place: Site):
    standing = json.dumps({"backup_standing_change": {"ticket": "CHG0000100", "reason": "nightly"}})
    taken = place.run("backup.yml", "-e", standing)
    other = place.run("migrate-003.yml", "--check", "-e", standing)
    assert taken.code == 0, taken.output
    gate = taken.read("gate.json")
    assert (gate["ticket"], gate["reason"]) == ("CHG0000100", "nightly")
    assert "ticket: there is none" in other.output


def test_writers_are_stopped_with_a_ticket_and_let_in_without_anything(place: Site, tmp_path: Path):
    confirmed = ("-e", f"confirm={place.database.name}")
    refused = place.run("maintenance.yml", "-e", "state=on", *confirmed)
    assert refused.code == 2
    assert "ticket: there is none" in refused.output
    nowhere = place.run("maintenance.yml", "-e", "state=on", *TICKET, *confirmed, *NOWHERE)
    assert nowhere.code == 2
    assert "Without a place for the evidence nothing is begun" in " ".join(nowhere.output.split())
    assert not nowhere.writes_blocked

    on = place.run("maintenance.yml", "-e", "state=on", *TICKET, *confirmed)
    assert on.code == 0, on.output
    assert on.application_in_maintenance
    assert on.read("gate.json")["confirmed"] == place.database.name
    off = place.run("maintenance.yml", "-e", "state=off", *NOWHERE, env={"TMPDIR": str(tmp_path)})
    assert off.code == 0, off.output
    assert not off.application_in_maintenance
    assert not off.writes_blocked
    folder = elsewhere(off, tmp_path)
    assert record.read_json(folder / "gate.json")["waived"][0].startswith("ticket")


def test_a_rollback_never_waits_for_a_place_for_its_evidence(place: Site, tmp_path: Path):
    confirmed = ("-e", f"confirm={place.database.name}")
    before = place.run("status.yml").data
    applied = place.run("migrate-003.yml", *TICKET, *confirmed)
    assert applied.code == 0, applied.output
    assert applied.read("run.json")["variables"]["fiscal_years"] == "default_period"
    undone = place.run(
        *("rollback.yml", "-e", "migration=003", *TICKET, *confirmed, *NOWHERE),
        *("-e", "smoke_on_failure=whatever"),
        env={"TMPDIR": str(tmp_path)},
    )
    assert undone.code == 0, undone.output
    assert differences(before, undone.data) == []
    assert "can't be written in /proc/evidence" in " ".join(undone.output.split())
    folder = elsewhere(undone, tmp_path)
    assert record.read(folder)["verified"] is True

    # What real commands leave proves that they did it.
    up = rehearsal.find(
        root=applied.evidence[0].parent,
        digest=applied.read("run.json")["digest"],
        days=1,
        now=datetime.now(UTC),
        verify=lambda folder, modules: proof.problems(folder, modules, now=datetime.now(UTC)),
        databases=[place.database.name],
        variables=applied.read("run.json")["variables"],
    )
    assert "there is only up" in up.problems[0], up.problems
    down = ("mongo_rollback", "mongo_verify")
    assert proof.problems(folder, down, now=datetime.now(UTC)) == []
