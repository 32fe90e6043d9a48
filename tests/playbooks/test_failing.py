"""What the flow does when a phase fails: always the right way out, and words that help."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.database import Database

from embedded.mongod import ReplicaSet
from tests.playbooks.site import Run, Site, documents, site
from tests.support.playbooks import ROOT
from tests.support.snapshot import Snapshot, differences, indexes, snapshot

MIGRATIONS = ROOT / "playbooks" / "migrations"


@dataclass
class Trouble:
    """One site on which 004 fails in several ways, one after the other."""

    site: Site
    before: Snapshot
    indexes_before: dict[str, Any]
    rolled_back: Run
    stuck: Run
    opened_too_early: Run
    rescued: Run


@pytest.fixture(scope="module")
def trouble(
    replica_set: ReplicaSet,
    client: MongoClient[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Trouble]:
    folder = tmp_path_factory.mktemp("trouble")
    variables = {
        "migrations_dir": str(documents(folder / "migrations", spoil="004", source=MIGRATIONS)),
        "migrations_assumed_applied": ["003"],
    }
    with site(replica_set, client, folder, variables=variables) as place:
        before, indexes_before = snapshot(place.database), indexes(place.database)
        rolled_back = place.run("migrate-004.yml")
        with _somebody_interferes(place.database):
            # Its writers are stopped from the beginning, and stay so.
            stuck = place.run(
                *("migrate-004.yml", "-e", "rollback_on_conflict=fail", "-e", "cutover=stopped")
            )
        opened_too_early = place.run("maintenance.yml", "-e", "state=off")
        rescued = place.run(
            *("emergency-rollback.yml", "-e", "migration=004"),
            *("-e", "on_conflict=restore", "-e", "reason=test"),
        )
        yield Trouble(place, before, indexes_before, rolled_back, stuck, opened_too_early, rescued)


class _somebody_interferes:  # noqa: N801 - reads as a sentence in a with statement
    """Change a document as soon as it is migrated; an administrator's write passes the block."""

    def __init__(self, database: Database[dict[str, Any]]) -> None:
        self._items = database["items"]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> None:
        first = self._items.find_one({"organizationId": None}, sort=[("_id", 1)])
        assert first
        self._target = first["_id"]
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        migrated = {"_id": self._target, "organizationId": {"$type": "objectId"}}
        foreign = {"$set": {"organizationId": ObjectId()}}
        while not self._stop.wait(0.02):
            # Looked for first: before the migration a write, even of nothing, would hold it up.
            if self._items.find_one(migrated) and self._items.update_one(migrated, foreign):
                return


def test_a_failed_postcondition_is_rolled_back_exactly(trouble: Trouble):
    run = trouble.rolled_back
    assert run.code == 2
    assert differences(trouble.before, run.data) == []
    assert run.indexes == trouble.indexes_before
    assert not run.application_in_maintenance
    assert not run.writes_blocked


def test_a_failed_postcondition_is_told_with_the_next_command(trouble: Trouble):
    words = trouble.rolled_back.last_words()
    assert "Migration 004 failed and was rolled back" in words
    assert "there are a million items of organizations" in words
    assert "The data is exactly as before" in words
    assert "Maintenance mode is off" in words
    assert "ansible-playbook migrate-004.yml -i" in words


def test_a_failed_run_leaves_its_evidence(trouble: Trouble):
    run = trouble.rolled_back
    assert run.read("result.json")["phase"] == "applied"
    assert run.read("rollback.json")["phase"] == "rolled_back"
    assert "failed and was rolled back" in run.read("summary.md")
    assert any(line.get("status") == "failed" for line in run.read("log.jsonl"))


def test_a_failed_rollback_keeps_maintenance_mode_on(trouble: Trouble):
    run = trouble.stuck
    assert run.code == 2
    assert run.application_in_maintenance
    assert run.writes_blocked


def test_a_failed_rollback_says_what_to_type_and_whom_to_call(trouble: Trouble):
    words = trouble.stuck.last_words()
    assert "COULD NOT BE ROLLED BACK" in words
    assert "Maintenance mode stays ON" in words
    assert f"ansible-playbook rollback.yml -i {trouble.site.inventory} -e migration=004" in words
    assert "Test On-Call, +91 00 0000 0001" in words
    assert "lead@example.com" in words


def test_maintenance_mode_cannot_be_left_over_a_half_migrated_database(trouble: Trouble):
    run = trouble.opened_too_early
    assert run.code == 2
    assert "nobody may write to half-migrated data" in " ".join(run.output.split())
    assert run.application_in_maintenance
    assert run.writes_blocked


def test_the_emergency_rollback_is_the_way_out(trouble: Trouble):
    run = trouble.rescued
    assert run.code == 0, run.output
    assert differences(trouble.before, run.data) == []
    assert run.indexes == trouble.indexes_before
    assert not run.application_in_maintenance
    assert not run.writes_blocked
    assert run.read("gate.json")["reason"] == "test"


def test_data_that_no_policy_covers_stops_004_before_anything_is_written(
    replica_set: ReplicaSet, client: MongoClient[dict[str, Any]], tmp_path: Path
):
    variables = {"migrations_assumed_applied": ["003"]}
    with site(replica_set, client, tmp_path, variables=variables) as place:
        orphan = place.database["invoices"].insert_one({"number": "X-1"}).inserted_id
        before = snapshot(place.database, own=True)
        run = place.run("migrate-004.yml")
        assert run.code == 2
        assert differences(before, run.everything) == []
        assert not run.application_in_maintenance
        assert "Enter maintenance mode" not in run.output
        assert "Migration 004 did not run" in run.last_words()
        assert "invoices" in run.last_words()
        # Not the command that was just refused, but one that gets further.
        further = (
            """--check -e '{"migration_variables": {"004": {"unresolved_documents": "skip"}}}'"""
        )
        assert further in " ".join(run.last_words().split())
        assert str(orphan) in str(run.read("plan.json"))
