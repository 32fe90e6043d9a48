"""The whole flow as a user runs it: plan, 003, 004, again, status, roll back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from embedded.company import OWNER_FIELDS
from embedded.mongod import ReplicaSet
from tests.playbooks.site import Run, Site, site
from tests.playbooks.webhooks import Channel, channel
from tests.support.snapshot import differences, indexes, snapshot

SECRET = "T000-B000-hook-secret"


class Journey:
    """One site, and every command that was run on it, in order."""

    def __init__(self, site: Site, team: Channel) -> None:
        self.site = site
        self.team = team
        self.before = snapshot(site.database)
        self.indexes_before = indexes(site.database)
        self.runs: dict[str, Run] = {}
        self.facts: dict[str, Any] = {}


@pytest.fixture(scope="module")
def journey(
    replica_set: ReplicaSet,
    client: MongoClient[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Journey]:
    folder = tmp_path_factory.mktemp("journey")
    with channel(SECRET) as team:
        webhooks = [
            {"name": "the team", "url": team.url, "template": "slack"},
            # Nobody listens on this port: it must be reported, and stop nothing.
            {"name": "a dead channel", "url": f"http://127.0.0.1:1/{SECRET}"},
        ]
        with site(replica_set, client, folder, variables={"announce_webhooks": webhooks}) as place:
            place.secrets.append(SECRET)
            made = Journey(place, team)
            run = place.run
            made.runs["plan"] = run("migrate-003.yml", "--check", "--diff")
            made.runs["003"] = run("migrate-003.yml")
            made.runs["004"] = run("migrate-004.yml", "-e", "ticket=CHG1042", "-vvv")
            made.facts["applied"] = _look(place)
            made.runs["again"] = run("migrate-004.yml")
            made.runs["status"] = run("status.yml")
            made.runs["rollback"] = run("rollback.yml", "-e", "migration=4")
            yield made


def _look(place: Site) -> dict[str, Any]:
    """Ask the database itself, with other queries than the engine's."""
    database = place.database
    users = {user["_id"]: user["organizationId"] for user in database["users"].find()}
    wrong = [
        (name, document["_id"])
        for name, owner in OWNER_FIELDS.items()
        for document in database[name].find()
        if document.get("organizationId") != users[document[owner]]
    ]
    periods = {period["_id"]: period for period in database["financialperiods"].find()}
    foreign = [
        entry["_id"]
        for entry in database["journalentries"].find()
        if entry.get("financialPeriod") not in periods
        or periods[entry["financialPeriod"]]["organization"] != entry["organization"]
    ]
    return {
        "wrong": wrong,
        "foreign": foreign,
        "periods": len(periods),
        "organizations": database["organizations"].count_documents({}),
        "indexes": indexes(database),
    }


def test_every_command_succeeds(journey: Journey):
    assert {name: run.code for name, run in journey.runs.items()} == dict.fromkeys(journey.runs, 0)


def test_check_mode_writes_nothing_to_the_database(journey: Journey):
    plan = journey.runs["plan"]
    assert differences(journey.before, plan.everything) == []
    assert plan.indexes == journey.indexes_before
    # It says what the run would change, as check mode does everywhere.
    assert plan.counters["changed"] >= 1
    assert not plan.application_in_maintenance


def test_check_mode_shows_the_plan_as_a_table(journey: Journey):
    output = journey.runs["plan"].output
    assert "to change" in output
    assert "financialPeriod" in output
    assert "This was a check: nothing was written." in output
    assert "ansible-playbook migrate-003.yml -i" in output


def test_003_gives_every_entry_a_period_of_its_own_organization(journey: Journey):
    facts = journey.facts["applied"]
    assert facts["foreign"] == []
    assert facts["periods"] == facts["organizations"]


def test_003_runs_without_maintenance_mode(journey: Journey):
    assert "Enter maintenance mode" not in journey.runs["003"].output
    assert not (journey.runs["003"].evidence[0] / "maintenance.json").exists()


def test_004_gives_every_document_its_owners_organization_and_an_index(journey: Journey):
    facts = journey.facts["applied"]
    assert facts["wrong"] == []
    for name in OWNER_FIELDS:
        assert [("organizationId", 1)] in [each["key"] for each in facts["indexes"][name].values()]


def test_004_proves_that_writes_are_refused_and_opens_the_application_again(journey: Journey):
    run = journey.runs["004"]
    log = run.read("log.jsonl")
    entered = [line for line in log if line.get("task", "").endswith("Stop writes at the database")]
    assert entered[0]["result"]["proof"]["code"] == 371
    assert not run.application_in_maintenance
    assert not run.writes_blocked
    assert journey.site.maintenance()["on"] is False


def test_004_works_live_first_and_stops_writers_only_for_what_is_left(journey: Journey):
    log = [line.get("task", "") for line in journey.runs["004"].read("log.jsonl")]
    steps = ("Back up the database", ": Migrate", "Stop writes at the database", ": Migrate")
    at = -1
    for name in steps:
        at = next(n for n, task in enumerate(log) if n > at and task.endswith(name))
    result = journey.runs["004"].read("result.json")
    assert result["cutover"]["kind"] == "live_first"
    assert result["cutover"]["half"] == "final"
    # Nobody wrote meanwhile, so nothing was left.
    assert result["cutover"]["live"] == result["modified"] > 0


def test_004_is_backed_up_before_its_first_write(journey: Journey):
    archive = journey.runs["004"].read("backup.json")["archive"]
    assert Path(archive).is_file()
    run = journey.site.database["_migrations"].find_one({"kind": "run", "migration": "004"})
    assert run and run["backup"] == archive


def test_a_second_run_changes_nothing(journey: Journey):
    again = journey.runs["again"]
    assert again.counters["changed"] == 0
    assert differences(journey.runs["004"].everything, again.everything) == []
    assert "nothing to do" in again.output
    assert "Back up" not in again.output


def test_status_shows_both_runs(journey: Journey):
    output = journey.runs["status"].output
    assert output.count("verified") >= 2
    assert "maintenance  off" in output
    assert "backup-" in output


def test_rollback_restores_exactly_the_state_before_004(journey: Journey):
    rollback = journey.runs["rollback"]
    assert differences(journey.runs["003"].data, rollback.data) == []
    assert rollback.indexes == journey.runs["003"].indexes
    assert not rollback.application_in_maintenance
    assert not rollback.writes_blocked
    assert journey.site.phases("004") == ["rolled_back"]


def test_each_run_leaves_its_evidence(journey: Journey):
    plan, migration = journey.runs["plan"], journey.runs["004"]
    assert plan.read("plan.json")["migration"] == "003"
    assert not (plan.evidence[0] / "result.json").exists()
    assert migration.read("gate.json")["ticket"] == "CHG1042"
    assert migration.read("result.json")["phase"] == "applied"
    assert migration.read("verification.json")["passed"] is True
    assert migration.read("versions.json")["mongodb"]
    assert "Migration 004 is applied and verified" in migration.read("summary.md")
    assert journey.runs["rollback"].read("rollback.json")["phase"] == "rolled_back"


def test_evidence_is_for_the_team_alone(journey: Journey):
    for folder in journey.site.evidence():
        assert folder.stat().st_mode & 0o007 == 0
        for path in folder.iterdir():
            assert path.stat().st_mode & 0o007 == 0, path


def test_no_secret_is_in_any_output_or_evidence(journey: Journey):
    texts = {name: run.output for name, run in journey.runs.items()}
    texts |= {
        str(path): path.read_text()
        for folder in journey.site.evidence()
        for path in folder.iterdir()
    }
    found = [
        (name, secret)
        for name, text in texts.items()
        for secret in journey.site.secrets
        if secret in text
    ]
    assert found == []


def test_the_team_is_told_and_a_dead_channel_is_reported(journey: Journey):
    told = [message["text"] for message in journey.team.messages]
    assert [("begins" in text, "succeeded" in text) for text in told] == [
        (True, False),
        (False, True),
    ] * 3
    assert "Not announced: a dead channel" in journey.runs["003"].output
    assert "Not announced: the team" not in json.dumps([r.output for r in journey.runs.values()])
