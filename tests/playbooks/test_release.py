"""Several migrations in one change: one backup, one maintenance, and the first failure ends it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from evidence import proof, seal
from pymongo import MongoClient

from embedded.mongod import ReplicaSet
from tests.playbooks.site import Run, Site, documents, site
from tests.playbooks.webhooks import Channel, channel
from tests.support.playbooks import ROOT
from tests.support.snapshot import Snapshot, snapshot

MIGRATIONS = ROOT / "playbooks" / "migrations"


@dataclass
class Release:
    """One site on which 004 fails within a release, and then doesn't."""

    site: Site
    team: Channel
    before: Snapshot
    failed: Run
    done: Run

    def maintenances(self, run: Run) -> int:
        """Count how often the writers were stopped."""
        log = next(path for path in run.evidence if path.name.endswith("-release-test-db"))
        return (log / "log.jsonl").read_text().count(": Stop writes at the database")


@pytest.fixture(scope="module")
def release(
    replica_set: ReplicaSet,
    client: MongoClient[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Release]:
    folder = tmp_path_factory.mktemp("release")
    spoiled = documents(folder / "migrations", spoil="004", source=MIGRATIONS)
    with channel("hook-secret") as team:
        variables = {"announce_webhooks": [{"name": "team", "url": team.url}]}
        with site(replica_set, client, folder, variables=variables) as place:
            before = snapshot(place.database)
            # Given in the wrong order, with and without zeros.
            failed = place.run(
                "release.yml", "-e", "migrations=4,003", "-e", f"migrations_dir={spoiled}"
            )
            done = place.run("release.yml", "-e", "migrations=003,004")
            yield Release(place, team, before, failed, done)


def folders(run: Run) -> dict[str, Any]:
    """Return the folders of evidence by what they are of."""
    return {path.name[16:].removesuffix("-test-db"): path for path in run.evidence if path.is_dir()}


def test_a_failure_ends_the_release_and_keeps_what_was_verified(release: Release):
    run = release.failed
    assert run.code == 2
    # 003 stays; 004 is exactly undone.
    assert release.site.phases("003") == ["verified"]
    assert release.site.phases("004")[0] == "rolled_back"
    assert run.data["items"] == release.before["items"]
    assert run.data["journalentries"] != release.before["journalentries"]
    assert not run.application_in_maintenance
    assert not run.writes_blocked


def test_a_failure_says_what_remains(release: Release):
    output = release.failed.output
    remains = output.partition("What remains of the release")[2]
    assert "003  applied and verified by this release" in remains
    assert "004  stopped here: rolled back" in remains
    again = f"ansible-playbook release.yml -i {release.site.inventory} -e migrations=003,004"
    assert again in remains
    assert "Migration 004 of the release failed and was rolled back" in release.failed.last_words()
    kept = folders(release.failed)["release"]
    assert '"remaining": [\n    "004"\n  ]' in (kept / "release.json").read_text()


def test_the_writers_are_stopped_and_the_backup_is_made_once(release: Release):
    assert release.maintenances(release.failed) == 1
    archives = [path.name for path in release.site.backups.glob("backup-*.tar.gz")]
    # For each of the two commands one from before the stop, and what was written until then.
    assert len(archives) == 4
    assert sum(name.endswith(".changes.tar.gz") for name in archives) == 2


def test_going_on_skips_what_is_applied(release: Release):
    run = release.done
    assert run.code == 0, run.output
    assert (
        "003  create-default-financial-period: already applied and verified, skipped" in run.output
    )
    assert release.site.phases("003") == ["verified"]
    assert release.site.phases("004") == ["rolled_back", "verified"]
    assert not run.application_in_maintenance
    assert not run.writes_blocked


def test_each_migration_has_sealed_evidence_that_counts_as_a_turn(release: Release):
    assert set(folders(release.done)) == {"release", "migrate-004"}
    assert set(folders(release.failed)) == {"release", "migrate-003", "migrate-004"}
    for run in (release.failed, release.done):
        for folder in folders(run).values():
            assert seal.verify(folder) == [], folder
    folder = folders(release.done)["migrate-004"]
    modules = ("mongo_migrate", "mongo_verify")
    assert proof.problems(folder, modules, now=datetime.now(UTC)) == []
    turn = (folder / "run.json").read_text()
    assert '"variables": {' in turn
    assert '"outcome": "success"' in turn
    assert '"verified": true' in turn


def test_the_team_hears_of_the_release_once_at_its_start_and_once_at_its_end(release: Release):
    told = [message["event"] for message in release.team.messages]
    assert told == ["start", "failure", "start", "success"]
    assert "004  add-organization-to-all-models" in release.team.messages[0]["text"]
