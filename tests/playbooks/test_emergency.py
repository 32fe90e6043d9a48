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
        rescued = place.run("emergency-rollback.yml", "-e", "migration=004", "-e", "reason=test")
        terminal.join()

        assert rescued.code == 0, rescued.output
        assert differences(before, rescued.data) == []
        assert rescued.indexes == indexes_before
        assert place.phases("004") == ["rolled_back"]
        assert not rescued.writes_blocked
        assert not rescued.application_in_maintenance
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
