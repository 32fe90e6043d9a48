"""Every case of the corpus that has a document: planned, exact, verified, exactly undone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from evidence import report
from mongo_migration.errors import PlanBlockedError
from mongo_migration.procedures import journal_summary, migrate, plan, rollback, verify, work
from mongo_migration.support.stop import StopSignal
from mongo_migration.values import ejson
from pymongo import MongoClient

from embedded.mongod import Deployment
from tests.support import corpus, databases, torture
from tests.support.corpus import Case
from tests.support.driver import Commands, Job
from tests.support.maintenance import without_block
from tests.support.snapshot import Snapshot, differences, snapshot

CASES = corpus.cases()
EACH = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
SETTINGS = {"batch_size": 2, "lease_seconds": 20}


@pytest.fixture(params=["replica_set", "standalone"])
def servers(request: pytest.FixtureRequest) -> Deployment:
    found: Deployment = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def pair(servers: Deployment) -> Iterator[tuple[corpus.Db, corpus.Db]]:
    """A database to migrate, and one to hold what is wanted."""
    with ExitStack() as stack:
        admin = stack.enter_context(servers.client())
        yield (
            stack.enter_context(databases.fresh(admin, roles=False)),
            stack.enter_context(databases.fresh(admin, roles=False)),
        )


def run(db: corpus.Db, case: Case, **settings: Any) -> dict[str, Any]:
    return migrate.migrate(job(db, **settings), case.load())


def roll_back(db: corpus.Db, case: Case) -> dict[str, Any]:
    definition = case.load()
    return rollback.roll_back(job(db), definition.id, definition)


def job(db: corpus.Db, **settings: Any) -> work.Job:
    return work.Job(
        client=db.client,
        database=db.name,
        settings=migrate.Settings(**{**SETTINGS, **settings}),
        change={},
        operator={"user": "anna", "host": "bastion", "pid": 17},
        progress=lambda event: None,
        stop=StopSignal(),
    )


def verified(db: corpus.Db, case: Case, expect: str = "applied") -> list[str]:
    """Return the checks that failed."""
    done = verify.verify(
        client=db.client, database=db.name, definition=case.load(), expect=expect, operator={}
    )
    assert done["checks"]
    return list(done["failures"])


@EACH
def test_up_is_exact_and_down_gives_back_every_byte(case: Case, pair: Any):
    there_and_back(case, *pair)


def there_and_back(case: Case, db: corpus.Db, wanted: corpus.Db, *, each_once: bool = True) -> None:
    """Migrate, verify, roll back and verify, behind maintenance mode; then migrate without it.

    Args:
        case: what is done.
        db: an empty database.
        wanted: another one, to hold what is wanted.
        each_once: each document is written by one step, so that the evidence counts documents.
    """
    corpus.fill(db, case, "before")
    corpus.fill(wanted, case, "after")
    before = snapshot(db), corpus.shape(db)

    found = plan.make(db.client, db.name, case.load())
    assert found["problems"] == []
    assert {key: found["totals"][key] for key in case.counts} == case.counts
    assert (snapshot(db), corpus.shape(db)) == before

    # In maintenance mode, whole collections are compared by digests.
    without_block(db, "on")
    run(db, case, writers_stopped=True)
    assert verified(db, case) == []
    if each_once:
        journal = evidence_says_what_was_written(db, case, found, before[0])
        assert not any(row["reverted"] for row in journal)
    assert roll_back(db, case)["conflict_count"] == 0
    assert verified(db, case, "rolled_back") == []
    journal = journal_summary.describe(
        client=db.client, database=db.name, migration=case.load().id
    )["batches"]
    assert journal and all(row["reverted"] for row in journal)
    assert differences(before[0], snapshot(db)) == []
    assert corpus.shape(db) == before[1]

    without_block(db, "off")
    run(db, case)
    assert verified(db, case) == []
    corpus.assert_after(db, wanted, case)


def evidence_says_what_was_written(
    db: corpus.Db, case: Case, planned: dict[str, Any], before: Snapshot
) -> list[dict[str, Any]]:
    """Compare the evidence's table with the documents themselves; return the journal's rows."""
    journal = journal_summary.describe(client=db.client, database=db.name, migration=case.load().id)
    rows = report.of_collections(ejson.to_plain(planned), ejson.to_plain(journal))
    after = snapshot(db)
    assert {*before, *after} >= {row["name"] for row in rows}
    for row in rows:
        old, new = before.get(row["name"], {}), after.get(row["name"])
        if new is None:
            continue  # dropped or renamed: no document was written
        # One that got another _id is gone, and has come.
        moved = max(len(old.keys() - new.keys()), len(new.keys() - old.keys()))
        changed = moved + sum(old[key] != new[key] for key in old.keys() & new.keys())
        assert row["written"] == row["planned"], row
        assert changed == row["written"] or not case.each_once, row
        assert row["after"] == len(new), row
    # What is the same under another name was renamed.
    changed_ones = {
        name
        for name, documents in after.items()
        if documents != before.get(name, {}) and documents not in before.values()
    }
    assert changed_ones == {row["name"] for row in rows if row["written"]} & after.keys()
    return list(journal["batches"])


@EACH
def test_killed_at_a_random_command_it_resumes(case: Case, servers: Deployment, pair: Any):
    db, wanted = pair
    corpus.fill(db, case, "before")
    corpus.fill(wanted, case, "after")
    before = snapshot(db), corpus.shape(db)
    planned = plan.make(db.client, db.name, case.load())
    dice = random.Random(f"{case.name} {type(servers).__name__}")
    with databases.fresh(db.client, roles=False) as other:
        corpus.fill(other, case, "before")
        sent = commands_of(servers, other, case)
    job = Job(
        uri=servers.uri(),
        database=db.name,
        text=case.document,
        files=case.files,
        settings=SETTINGS,
        # The last one ends the session of a client that is closed, as no process does.
        die_at=dice.randint(1, sent - 1),
        when=dice.choice(["sent", "answered"]),
    )
    with torture.process(job) as process:
        assert process.end() == {}, job
    fixed = corpus.unforeseen(db, case)

    run(db, case)
    assert verified(db, case) == [], job.die_at
    assert {path: corpus.unforeseen(db, case)[path] for path in fixed} == fixed
    evidence_says_what_was_written(db, case, planned, before[0])
    assert roll_back(db, case)["conflict_count"] == 0
    assert differences(before[0], snapshot(db)) == []
    assert corpus.shape(db) == before[1]
    run(db, case)
    corpus.assert_after(db, wanted, case)


def commands_of(servers: Deployment, db: corpus.Db, case: Case) -> int:
    """Return how many commands an undisturbed run sends."""
    commands = Commands(Job(uri="", database="", text=""))
    client: MongoClient[dict[str, Any]] = MongoClient(
        servers.uri(), tz_aware=True, event_listeners=[commands]
    )
    with client:
        client.admin.command("ping")
        commands.counting = True
        run(client[db.name], case)
    return len(commands.names)


STOPPING = [
    pytest.param(case, name, document, id=f"{case.name} {name}")
    for case in CASES
    for name, documents in case.stops_on.items()
    for document in documents
]


@pytest.mark.parametrize(("case", "name", "document"), STOPPING)
def test_what_must_stop_it_is_named_by_the_plan(
    case: Case, name: str, document: dict[str, Any], pair: Any
):
    db, _wanted = pair
    corpus.fill(db, case, "before", more={name: [document]})
    before = snapshot(db), corpus.shape(db)
    problems = plan.make(db.client, db.name, case.load())["problems"]
    assert str(document["_id"]) in str([item["samples"] for item in problems])
    with pytest.raises(PlanBlockedError):
        run(db, case)
    assert (snapshot(db), corpus.shape(db)) == before


def test_every_case_stands_here():
    names = [path.stem for path in corpus.FOLDER.glob("*.yml")]
    assert len(names) == len(set(names)) >= 33
