"""The way back is ended on purpose: what is removed, what isn't, and what is said afterwards."""

from __future__ import annotations

import gzip
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from bson import json_util
from mongo_migration.errors import MigrationError
from mongo_migration.ledger import runs
from mongo_migration.procedures import prune, status

from tests.support import backups, torture
from tests.support.driver import Job
from tests.support.migrations import Deployment, failed

HEAD = {"name": "pruned", "summary": "Pruned.", "after": [], "downtime": "none"}
STEPS = [
    {"update": {"collections": ["items"], "set": {"b": {"value": 1}}, "unset": ["a"]}},
    {"drop_collection": {"collections": ["cache"]}},
    {"rebuild_collection": {"name": "users", "options": {"collation": {"locale": "en"}}}},
]
TEXT = yaml.safe_dump({"id": "909", **HEAD, "steps": STEPS}, sort_keys=False)
MADE = (TEXT, "909-pruned.yml")


def fill(deployment: Deployment) -> None:
    deployment.batch_size = 3
    deployment.data["items"].insert_many([{"_id": n, "z": n, "a": n} for n in range(20)])
    deployment.data["cache"].insert_one({"_id": 1})
    deployment.data["users"].insert_one({"_id": 1})


def applied(deployment: Deployment) -> str:
    fill(deployment)
    deployment.migrate(MADE)
    assert failed(deployment.verify(MADE)) == []
    return str(runs.latest(deployment.data, "909")["_id"])


def plan(deployment: Deployment, migration: str | None = "909", days: float = 0) -> dict[str, Any]:
    return prune.plan(deployment.client, deployment.data.name, migration=migration, after_days=days)


def pruned(deployment: Deployment, confirm: str, **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"migration": "909", "after_days": 0, **more}
    return prune.prune(deployment.job(), confirm=confirm, **given)


def ours(deployment: Deployment) -> list[str]:
    names = deployment.data.list_collection_names()
    return sorted(name for name in names if name.startswith("_migrations_aside"))


def test_what_a_run_holds_is_planned_in_bytes_and_removed(deployment: Deployment):
    run = applied(deployment)
    before = deployment.content(), deployment.everything()
    made = plan(deployment)
    (item,) = made["runs"]
    assert (item["run"], made["confirm"], len(item["aside"])) == (run, run, 2)
    entries = deployment.journal()
    assert item["entries"] == len(entries)
    sizes = [len(json_util.dumps(entry)) for entry in entries]
    assert 0 < item["journal_bytes"] < 2 * sum(sizes)
    assert made["bytes"] == item["journal_bytes"] + sum(one["bytes"] for one in item["aside"])
    assert (deployment.content(), deployment.everything()) == before

    assert pruned(deployment, run)["changed"] is True
    assert deployment.content() == before[0]
    assert (deployment.journal(), ours(deployment)) == ([], [])
    document = runs.latest(deployment.data, "909")
    assert document["phase"] == "pruned"
    assert [item["phase"] for item in document["history"]][-2:] == ["pruning", "pruned"]
    assert document["prune"]["operator"]["user"] == "anna"
    assert document["prune"]["change"] == {"ticket": "CHG-1"}
    assert pruned(deployment, "")["changed"] is False


def test_afterwards_a_rollback_says_why_there_is_none_and_which_backup_is_left(
    deployment: Deployment,
):
    run = applied(deployment)
    deployment.data["_migrations"].update_one({"_id": run}, {"$set": {"backup": "/b/full.gz"}})
    pruned(deployment, run)
    before = deployment.content()
    with pytest.raises(MigrationError, match=r"pruned 2.* by anna@bastion.*archive=/b/full\.gz"):
        deployment.roll_back("909")
    assert deployment.content() == before
    # It is applied all the same: nothing is to do, and what builds on it may come.
    assert deployment.migrate(MADE)["changed"] is False
    assert runs.is_applied(deployment.data, "909")
    done = deployment.verify(MADE)
    assert failed(done) == []
    assert any("removed on purpose" in item["detail"] for item in done["checks"])


def test_what_is_not_verified_or_too_young_is_kept(deployment: Deployment):
    fill(deployment)
    deployment.migrate(MADE)
    with pytest.raises(MigrationError, match="it is applied: only what is verified"):
        plan(deployment)
    deployment.verify(MADE)
    with pytest.raises(MigrationError, match=r"is kept for 30 \(prune_after_days\), until 2"):
        plan(deployment, days=30)
    assert plan(deployment, migration=None, days=30)["runs"] == []
    assert len(plan(deployment, migration=None, days=30)["kept"]) == 1
    with pytest.raises(MigrationError, match="There is no run of migration 404"):
        plan(deployment, migration="404")


@pytest.mark.parametrize("said", ["", "yes", "909"])
def test_it_must_be_confirmed_by_name(deployment: Deployment, said: str):
    run = applied(deployment)
    before = deployment.everything()
    with pytest.raises(MigrationError, match=rf"prune_confirm={run}.*Nothing was removed"):
        pruned(deployment, said)
    assert deployment.everything() == before


def test_several_runs_are_confirmed_by_the_name_of_the_database(deployment: Deployment):
    applied(deployment)
    deployment.roll_back("909")
    deployment.migrate(MADE)
    run = runs.latest(deployment.data, "909")["_id"]
    deployment.verify(MADE)
    made = plan(deployment, migration=None)
    assert (len(made["runs"]), made["confirm"]) == (2, deployment.data.name)
    with pytest.raises(MigrationError, match="there are several"):
        pruned(deployment, run, migration=None)
    pruned(deployment, deployment.data.name, migration=None)
    assert (deployment.journal(), ours(deployment)) == ([], [])
    # What was rolled back stays that, and can be verified as far as data tell.
    phases = [item["phase"] for item in runs.changelog(deployment.data)]
    assert phases == ["pruned", "rolled_back"]


def test_the_journal_is_kept_in_a_file_first_if_wanted(deployment: Deployment, tmp_path: Path):
    run = applied(deployment)
    entries = deployment.journal()
    (file,) = pruned(deployment, run, export=str(tmp_path))["exported"]
    assert Path(file).stat().st_mode & 0o777 == 0o600
    lines = gzip.decompress(Path(file).read_bytes()).decode().splitlines()
    kept = [json_util.loads(line, json_options=json_util.CANONICAL_JSON_OPTIONS) for line in lines]
    assert [list(item) for item in kept] == [list(item) for item in entries]
    assert [item["seq"] for item in kept] == [item["seq"] for item in entries]


def test_where_it_can_not_be_kept_nothing_is_removed(deployment: Deployment, tmp_path: Path):
    run = applied(deployment)
    before = deployment.journal()
    with pytest.raises(MigrationError, match="without prune_export"):
        pruned(deployment, run, export=str(tmp_path / "missing"))
    assert deployment.journal() == before
    assert runs.latest(deployment.data, "909")["phase"] == "verified"


def test_the_status_shows_what_is_held_and_what_to_do_with_a_half_pruned_run(
    deployment: Deployment,
):
    run = applied(deployment)
    found = status.describe(
        client=deployment.client, database=deployment.data.name, definition=None
    )
    (entry,) = found["changelog"]
    assert entry["held_bytes"] > 0
    pruned(deployment, run)
    found = status.describe(
        client=deployment.client, database=deployment.data.name, definition=None
    )
    (entry,) = found["changelog"]
    assert (entry["held_bytes"], entry["phase"], found["next"]) == (0, "pruned", [])
    assert entry["pruned_at"] == entry["finished"]


@pytest.mark.parametrize("when", ["sent", "answered"])
def test_killed_it_goes_on_and_nothing_undoes_it_meanwhile(
    deployment: Deployment, when: str, replica_set: Any, tmp_path: Path
):
    run = applied(deployment)
    content = deployment.content()
    job: dict[str, Any] = {
        # As in test_rebuilding: who resumes is the same user, and waits for no transaction.
        "uri": replica_set.uri("migrator"),
        "database": deployment.data.name,
        "text": TEXT,
        "action": "prune",
        "confirm": run,
        "settings": {"lease_seconds": 10},
    }
    dice = random.Random(when)
    with torture.process(Job(**job, die_at=dice.randint(16, 30), when=when)) as process:
        assert process.end() == {}
    if runs.latest(deployment.data, "909")["phase"] == "pruning":
        with pytest.raises(MigrationError, match="was pruned"):
            deployment.roll_back("909")
    pruned(deployment, run)
    assert (deployment.journal(), ours(deployment)) == ([], [])
    assert runs.latest(deployment.data, "909")["phase"] == "pruned"
    assert deployment.content() == content


@pytest.mark.parametrize("command", ["drop _migrations_aside", "delete _migrations_journal"])
def test_one_that_wakes_after_a_restore_removes_nothing_of_what_came_back(
    deployment: Deployment, command: str, replica_set: Any, tmp_path: Path
):
    run, db = applied(deployment), deployment.data
    archive = Path(backups.take(db.client, db.name, tmp_path)["archive"])
    job: dict[str, Any] = {
        "uri": replica_set.uri(),
        "database": db.name,
        "text": TEXT,
        "action": "prune",
        "confirm": run,
        "settings": {"lease_seconds": 1.5},
    }
    with torture.process(Job(**job, trace=str(tmp_path / "trace"))) as process:
        assert process.end()["result"]["changed"]
    commands = (tmp_path / "trace").read_text().splitlines()
    place = 1 + next(n for n, one in enumerate(commands) if one.startswith(command))
    backups.put_back(db.client, db.name, archive)
    with torture.process(Job(**job, sleep_at=place)) as process:
        process.wait_for_sleep()
        time.sleep(1.7)
        backups.put_back(db.client, db.name, archive)
        before = deployment.everything()
        process.send(signal.SIGCONT)
        assert process.end()["error"] == "LeaseLostError"
    assert deployment.everything() == before
    assert runs.latest(db, "909")["phase"] == "verified"
    assert len(ours(deployment)) == 2
