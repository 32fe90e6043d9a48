"""A migration is rehearsed on a copy of the very data, which leaves nothing behind."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from mongo_migration.backup import open_source, scratch, scratch_left
from mongo_migration.errors import MigrationError, PlanBlockedError
from mongo_migration.ledger.batches import Settings
from mongo_migration.procedures import rehearse, status
from mongo_migration.procedures.rehearse import Play
from mongo_migration.procedures.work import Job
from mongo_migration.server import throwaway
from mongo_migration.support.progress import quiet
from mongo_migration.support.stop import StopSignal
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, OperationFailure

from embedded import binary
from embedded.seed import seed
from tests.support import backups
from tests.support.migrations import Deployment


@pytest.fixture
def company(deployment: Deployment) -> Deployment:
    seed(deployment.data, 600)
    return deployment


SMALL = (
    "id: '005'\nname: mark\nsummary: x\ndowntime: required\n"
    "steps:\n  - set_field: {collections: [items], field: kind, value: {value: old}}\n",
    "005-mark.yml",
)


@pytest.fixture
def small(deployment: Deployment) -> Deployment:
    deployment.collections = {}
    deployment.data["items"].insert_many([{"_id": n, "n": n} for n in range(300)])
    deployment.data["items"].create_index("n")
    return deployment


@contextmanager
def play(site: Deployment, folder: Path, migration: Any = "004", **options: Any) -> Iterator[Play]:
    """The rehearsal of *migration* on a fresh backup."""
    archive = Path(backups.take(site.client, site.data.name, folder)["archive"])
    variables = options.pop("variables", {})
    with open_source.open_source(archive) as source:  # type: ignore[union-attr]
        job = Job(
            **{
                "client": site.client,
                "database": f"{site.data.name}_rehearsal",
                "settings": Settings(lease_seconds=10),
                "change": {},
                "operator": backups.OPERATOR,
                "progress": quiet,
                "stop": StopSignal(),
                **options,
            }
        )
        yield Play(job=job, source=source, definition=site.load(migration, **variables))


def under(made: Play, **options: Any) -> Play:
    """The same rehearsal, with another client or database."""
    return replace(made, job=replace(made.job, **options))


def names(site: Deployment) -> list[str]:
    """The scratch databases of the site, as another connection sees them."""
    return [
        name
        for name in site.data.client.list_database_names()
        if name.startswith(f"{site.data.name}_")
    ]


def test_up_verified_down_compared_up_and_gone(company: Deployment, tmp_path: Path) -> None:
    before = company.everything()
    seen = list[str]()

    def watch(event: dict[str, Any]) -> None:
        seen.extend(names(company))

    with play(company, tmp_path, progress=watch) as made:
        result = rehearse.rehearse(made)

    assert result["passed"]
    assert [one["phase"] for one in result["phases"]] == [
        "restore the copy",
        "migrate",
        "verify",
        "roll back",
        "verify the rollback",
        "compare with the backup",
        "migrate again",
        "verify again",
        "drop the copy",
    ]
    assert [turn["direction"] for turn in result["turns"]] == ["up", "down", "up"]
    checks = [check for turn in result["turns"] for check in turn["checks"]]
    # Nobody else knows the copy: every document of it is compared, as in maintenance mode.
    assert {check["status"] for check in checks} == {"passed"}
    assert any("nothing else changed" in check["name"] for check in checks)
    assert result["compared"]["problems"] == []
    assert result["compared"]["documents"] == sum(
        company.data[name].count_documents({}) for name in company.data.list_collection_names()
    )
    assert result["counts"]["modified"] > 0
    assert set(seen) == {f"{company.data.name}_rehearsal"}
    assert names(company) == []
    assert company.everything() == before


def test_what_comes_before_is_applied_to_the_copy_first(
    company: Deployment, tmp_path: Path
) -> None:
    with play(company, tmp_path) as made:
        alone = replace(made.definition, assume_applied=())
        with pytest.raises(PlanBlockedError, match="003 must be applied before 004"):
            rehearse.rehearse(replace(made, definition=alone))
        both = replace(made, definition=alone, earlier=[company.load("003")])
        result = rehearse.rehearse(both)

    phases = [one["phase"] for one in result["phases"]]
    assert {"migrate 003 first", "roll back 003", "migrate 003 again"} < set(phases)
    assert names(company) == []


def test_a_dirty_database_is_rehearsed_with_the_repair_that_its_plan_names(
    company: Deployment, tmp_path: Path
) -> None:
    one = company.data["financialperiods"].find_one() or {}
    tenant = (company.data["organizations"].find_one() or {})["_id"]
    now = datetime.now(UTC)
    year = {"startDate": now - timedelta(days=9), "endDate": now + timedelta(days=9)}
    twin = {**one, **year, "organization": tenant, "fiscalYear": now.year, "status": "open"}
    company.data["financialperiods"].delete_many({})
    company.data["financialperiods"].insert_many([{**twin, "_id": ObjectId()} for _ in range(2)])
    company.data["journalentries"].insert_one({"organization": tenant, "date": now})
    before = company.everything()
    with play(company, tmp_path, "003") as made:
        with pytest.raises(PlanBlockedError) as refused:
            rehearse.rehearse(made)
        assert refused.value.details["next"] == (
            "ansible-playbook rehearse.yml -e migration=003 -e repair=duplicate_periods"
        )
        # One that has nothing to do is no obstacle.
        repairs = [company.load("R01"), company.load("R05")]
        result = rehearse.rehearse(replace(made, repairs=repairs))

    told, idle = result["repairs"]
    assert (told["id"], told["repair"]) == ("R01", "duplicate_periods")
    assert told["digest"] == company.load("R01").digest
    assert told["counts"]["deleted"] == 1
    assert idle["repair"] == "null_fields"
    phases = [each["phase"] for each in result["phases"]]
    wanted = ["repair=duplicate_periods first", "roll back repair=duplicate_periods"]
    assert [phase for phase in phases if phase in wanted] == wanted
    assert "repair=duplicate_periods again" in phases
    assert result["compared"]["problems"] == []
    assert company.everything() == before
    assert names(company) == []


def test_what_a_policy_leaves_alone_is_named_document_by_document(
    company: Deployment, tmp_path: Path
) -> None:
    company.data["items"].insert_many([{"_id": f"lonely {n}"} for n in range(7)])
    with play(company, tmp_path, variables={"unresolved_documents": "skip"}) as made:
        result = rehearse.rehearse(made)

    (left,) = [one for one in result["left_alone"] if one["collection"] == "items"]
    assert left["count"] == 7
    assert left["policy"] == "when_unresolved: skip"
    assert left["what"].startswith("addedBy is empty; and organizations has more than one")
    assert left["ids"] == [f"lonely {n}" for n in range(7)]


def test_a_plan_with_problems_ends_the_rehearsal_with_what_gets_further(
    company: Deployment, tmp_path: Path
) -> None:
    company.data["items"].insert_one({"_id": "lonely"})
    with play(company, tmp_path) as made, pytest.raises(PlanBlockedError) as refused:
        rehearse.rehearse(made)

    assert "The rehearsal of 004 failed (migrate)" in refused.value.message
    assert "Resume" not in refused.value.message
    assert refused.value.details["next"] == refused.value.details["plan"]["next"][0]
    assert refused.value.details["problems"]
    assert names(company) == []


def test_what_was_applied_already_is_nothing_to_rehearse(
    company: Deployment, tmp_path: Path
) -> None:
    company.migrate("004")
    with play(company, tmp_path) as made, pytest.raises(MigrationError, match="is applied already"):
        rehearse.rehearse(made)

    assert names(company) == []


def test_a_command_never_runs_on_a_copy(deployment: Deployment, tmp_path: Path) -> None:
    deployment.data["items"].insert_one({"_id": 1})
    marker = tmp_path / "ran"
    document = (
        "id: '005'\nname: foreign\nsummary: x\ndowntime: required\n"
        f"steps:\n  - command:\n      argv: [touch, {marker}]\n      writes: [items]\n"
        "      timeout_seconds: 10\n",
        "005-foreign.yml",
    )
    with play(deployment, tmp_path / "backups", document) as made:
        for attempt in (rehearse.look, rehearse.rehearse):
            with pytest.raises(MigrationError, match="still write to the one in earnest"):
                attempt(made)

    assert not marker.exists()
    assert names(deployment) == []


def test_a_database_of_somebody_else_is_left_alone(company: Deployment, tmp_path: Path) -> None:
    other = company.data.client[f"{company.data.name}_rehearsal"]
    other["precious"].insert_one({"_id": 1})
    # A mark that came from elsewhere, as with a restore, proves nothing.
    other["_migrations_scratch"].insert_one(
        {"_id": "scratch", "name": "another_rehearsal", "of": company.data.name}
    )
    with play(company, tmp_path) as made:
        for attempt in (rehearse.look, rehearse.rehearse):
            with pytest.raises(MigrationError, match="exists, and nothing in it says"):
                attempt(made)
        with pytest.raises(MigrationError, match="must be in its name"):
            rehearse.rehearse(under(made, database=f"{company.data.name}_precious"))
        with pytest.raises(MigrationError, match="longer than"):
            rehearse.rehearse(under(made, database=f"{company.data.name}_rehearsal{'x' * 60}"))

    assert list(other["precious"].find()) == [{"_id": 1}]


# -- killed ----------------------------------------------------------------------------------

# Rehearses in a process of its own, which kills itself when the phase of that name begins.
_KILLED = (
    f"SMALL = {SMALL!r}"
    + """
import os, signal, sys
from pathlib import Path
from mongo_migration.server import connection
from mongo_migration.argument_specs import CONNECTION_OPTIONS
from mongo_migration.backup import open_source
from mongo_migration.ledger.batches import Settings
from mongo_migration.procedures import rehearse
from mongo_migration.procedures.work import Job
from mongo_migration.support.progress import quiet
from mongo_migration.support import stop
from tests.support.migrations import Deployment

uri, database, archive, wanted, how = sys.argv[1:]
defaults = {name: one.get("default") for name, one in CONNECTION_OPTIONS.items()}
client = connection.connect({**defaults, "uri": uri, "database": database})
original = rehearse._phase

def phase(play, found, name):
    if name == wanted:
        os.kill(os.getpid(), int(how))
    return original(play, found, name)

rehearse._phase = phase
site = Deployment(client, client[database], collections={})
with open_source.open_source(Path(archive)) as source:
    job = Job(
        client=client, database=f"{database}_rehearsal", settings=Settings(lease_seconds=10),
        change={}, operator={"user": "anna", "host": "bastion", "pid": os.getpid()},
        progress=quiet, stop=stop.listen(),
    )
    rehearse.rehearse(rehearse.Play(job=job, source=source, definition=site.load(SMALL)))
"""
)
PHASES = [
    "restore the copy",
    "migrate",
    "verify",
    "roll back",
    "verify the rollback",
    "compare with the backup",
    "migrate again",
    "verify again",
]


def killed_at(
    site: Deployment, uri: str, archive: Path, phase: str, how: signal.Signals
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _KILLED, uri, site.data.name, str(archive), phase, str(int(how))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def standing(site: Deployment) -> dict[str, Any]:
    return status.describe(client=site.client, database=site.data.name, definition=None)


def test_killed_at_each_phase_what_was_left_is_named_and_removed_by_the_next_command(
    small: Deployment, migrator_uri: str, tmp_path: Path
) -> None:
    archive = Path(backups.take(small.client, small.data.name, tmp_path)["archive"])
    before = small.everything()
    copy = f"{small.data.name}_rehearsal"
    for phase in PHASES:
        done = killed_at(small, migrator_uri, archive, phase, signal.SIGKILL)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert names(small) == [copy]
        found = standing(small)
        (left,) = found["copies"]
        assert (left["database"], left["at_work"]) == (copy, None)
        assert left["purpose"] == f"rehearsal of 005 on {archive.name}"
        (advice,) = found["next"]
        assert copy in advice["why"]
        assert advice["command"] == "ansible-playbook rehearse.yml -e state=absent"

        removed = scratch_left.remove(small.client, [small.data.name], operator=backups.OPERATOR)
        assert (removed, names(small)) == ([copy], [])
        assert standing(small)["copies"] == standing(small)["next"] == []

    killed_at(small, migrator_uri, archive, "migrate again", signal.SIGKILL)
    with play(small, tmp_path, SMALL) as made:
        assert rehearse.rehearse(made)["passed"]

    assert names(small) == []
    assert small.everything() == before


def test_what_is_at_work_or_somebody_elses_is_not_called_left(
    small: Deployment, tmp_path: Path
) -> None:
    name, server = small.data.name, small.data.client
    server[f"{name}_rehearsal_2019"]["precious"].insert_one({"_id": 1})
    marked = {"_id": "scratch", "purpose": "rehearsal of 004"}
    # Marks that came from elsewhere: under another name, and of another database.
    server[f"{name}_rehearsal_a"]["_migrations_scratch"].insert_one(
        {**marked, "name": "other_rehearsal", "of": name}
    )
    server[f"{name}_rehearsal_b"]["_migrations_scratch"].insert_one(
        {**marked, "name": f"{name}_rehearsal_b", "of": ["other"]}
    )
    before = names(small)
    try:
        with play(small, tmp_path, SMALL) as made, scratch.own(made.job.client, made.wanted):
            (copy,) = standing(small)["copies"]
            assert copy["at_work"].startswith("operator@here, process ")
            assert standing(small)["next"] == []
            # A drill that was killed before it had marked its database.
            server.get_database(f"{name}_drill").create_collection("_migrations_scratch")
            (advice,) = standing(small)["next"]
            assert f"left {name}_drill:" in advice["why"]
            removed = scratch_left.remove(small.client, [name], operator=backups.OPERATOR)
            assert removed == [f"{name}_drill"]
            assert set(names(small)) == {*before, f"{name}_rehearsal"}
        assert names(small) == before
    finally:
        for each in before:
            server.drop_database(each)


def test_a_copy_that_cant_be_dropped_is_said_to_be_there(small: Deployment, tmp_path: Path) -> None:
    with play(small, tmp_path, SMALL, settings=Settings(lease_seconds=2)) as made:
        copy = made.job.db

        def steal(_event: dict[str, Any]) -> None:
            copy["_migrations_scratch"].update_one({"_id": "lease"}, {"$inc": {"token": 1}})
            made.job.stop.ask("SIGTERM")

        with pytest.raises(MigrationError) as stopped:
            rehearse.rehearse(under(made, progress=steal))

    assert stopped.value.details["left"] == [copy.name]
    assert f"the copy {copy.name} couldn't be dropped" in stopped.value.message
    assert names(small) == [copy.name]
    copy.client.drop_database(copy.name)


def test_stopped_at_each_phase_it_leaves_nothing(
    small: Deployment, migrator_uri: str, tmp_path: Path
) -> None:
    archive = Path(backups.take(small.client, small.data.name, tmp_path)["archive"])
    for phase, how in zip(PHASES, itertools.cycle([signal.SIGTERM, signal.SIGINT]), strict=False):
        done = killed_at(small, migrator_uri, archive, phase, how)
        assert "was stopped" in done.stderr
        assert "the copy is dropped" in done.stderr
        assert names(small) == []


def test_two_rehearsals_dont_meet(small: Deployment, tmp_path: Path) -> None:
    with play(small, tmp_path, SMALL, settings=Settings(lease_seconds=2)) as made:
        with (
            scratch.own(made.job.client, made.wanted),
            pytest.raises(MigrationError, match="holds the lease"),
        ):
            rehearse.rehearse(made)
        assert rehearse.rehearse(made)["passed"]


def test_a_server_of_its_own_is_started_and_gone_afterwards(
    company: Deployment, tmp_path: Path
) -> None:
    before = company.everything()
    folder = tmp_path / "servers"
    with (
        play(company, tmp_path / "backups") as made,
        throwaway.running(binary.find(), folder) as client,
    ):
        (place,) = folder.iterdir()
        assert place.stat().st_mode & 0o077 == 0
        (port,) = client.nodes
        with (
            MongoClient[dict[str, Any]](*port, serverSelectionTimeoutMS=5000) as anybody,
            pytest.raises(OperationFailure, match="requires authentication"),
        ):
            anybody["admin"]["x"].find_one()
        result = rehearse.rehearse(under(made, client=client))

    assert result["passed"]
    assert result["server"]["set_name"] == "rehearsal"
    assert names(company) == []
    assert list(folder.iterdir()) == []
    assert company.everything() == before


def test_a_server_that_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from mongo_migration.server import throwaway\n"
        "with throwaway.running(Path(sys.argv[1]), Path(sys.argv[2])) as client:\n"
        "    print(list(client.nodes)[0][1], flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    somebodys = tmp_path / "rehearsal-server-precious"
    somebodys.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program, str(binary.find()), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    port = int(done.stdout)
    assert len(list(tmp_path.iterdir())) == 2

    assert [one.name for one in throwaway.leftovers(tmp_path)] == [
        one.name for one in tmp_path.iterdir() if one != somebodys
    ]
    removed = throwaway.remove_leftovers(tmp_path)

    assert len(removed) == 1
    assert list(tmp_path.iterdir()) == [somebodys]
    # The kernel ended the server with the process that started it.
    with (
        MongoClient[dict[str, Any]]("127.0.0.1", port, serverSelectionTimeoutMS=500) as client,
        pytest.raises(ConnectionFailure),
    ):
        client.admin.command("ping")


def test_a_server_of_another_series_is_refused(tmp_path: Path) -> None:
    throwaway.require_series(binary.find(), throwaway.version(binary.find()))
    with pytest.raises(MigrationError, match="another series proves little"):
        throwaway.require_series(binary.find(), "4.4.0")
    with pytest.raises(MigrationError, match="There is no 'no-such-mongod'"):
        throwaway.find("no-such-mongod")
