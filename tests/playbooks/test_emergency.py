"""The way out while a migration really runs: stop it, exactly back, writers in again."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from embedded.mongod import ReplicaSet
from tests.playbooks.site import Run, Site, site
from tests.support.snapshot import differences, indexes, snapshot


def test_an_emergency_rollback_stops_the_running_migration_and_undoes_it_exactly(
    replica_set: ReplicaSet, client: MongoClient[dict[str, Any]], tmp_path: Path
):
    variables = {
        "migrations_assumed_applied": ["003"],
        # So that the first one is met in maintenance mode.
        "cutover": "stopped",
        # Slow, so that it is still at work when the second terminal comes.
        "migrate_batch_size": 10,
        "migrate_throttle": {"pause_seconds": 2},
    }
    with site(replica_set, client, tmp_path, variables=variables) as place:
        before, indexes_before = snapshot(place.database), indexes(place.database)
        first: list[Run] = []
        terminal = threading.Thread(target=lambda: first.append(place.run("migrate-004.yml")))
        terminal.start()
        _wait_for_a_batch(place)
        second = place.run("migrate-004.yml")
        rescued = place.run("emergency-rollback.yml", "-e", "migration=004", "-e", "reason=test")
        terminal.join()
        again = place.run("emergency-rollback.yml", "-e", "migration=004", "-e", "reason=test")

        assert rescued.code == 0, rescued.output
        assert differences(before, rescued.data) == []
        assert rescued.indexes == indexes_before
        assert place.phases("004") == ["rolled_back"]
        assert not rescued.writes_blocked
        assert not rescued.application_in_maintenance
        # A second start says that the first one is at work, and how far; it alarms nobody.
        assert second.code == 2
        assert "Migration 004 was not begun: another process is at work" in second.last_words()
        assert " of 408 documents, " in second.last_words()
        assert "Maintenance mode is ON, by " in second.last_words()
        assert "Announce the end" not in second.output
        # What isn't applied is not a reason to stop anybody.
        assert again.code == 0
        assert "There is nothing to roll back: migration 004 is not applied" in again.last_words()
        assert "maintenance mode" not in again.output
        assert again.counters["changed"] == 0
        # The first terminal is told what happened, and doesn't undo or redo anything itself.
        assert first[0].code == 2
        assert "from another terminal" in first[0].last_words()


def _wait_for_a_batch(place: Site) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        run = place.database["_migrations"].find_one({"kind": "run", "phase": "running"})
        if run and run["counts"]["modified"]:
            return
        time.sleep(0.2)
    pytest.fail("the migration did not begin within two minutes")
