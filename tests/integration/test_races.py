"""What two processes, or one that slept, do to each other: nothing is lost, nothing is hidden."""

from __future__ import annotations

import datetime
import time
from typing import Any

import pytest
from bson import ObjectId
from mongo_migration.errors import LeaseLostError, MigrationError
from mongo_migration.ledger import adopted, lease, runs
from mongo_migration.ledger.fence import Fence
from mongo_migration.ledger.runs import Run
from mongo_migration.operations.fields.field_groups import FieldGroups
from mongo_migration.procedures import verify
from mongo_migration.support import retry
from pymongo.database import Database

from tests.support import torture
from tests.support.migrations import Deployment, failed
from tests.support.snapshot import snapshot

Db = Database[dict[str, Any]]
ME = {"user": "second", "host": "testhost", "pid": 1}


@pytest.fixture
def db(database: Db) -> Db:
    torture.fill(database)
    return database


def newest(db: Db) -> dict[str, Any]:
    found = db["_migrations"].find_one({"kind": "run"}, sort=[("number", -1)])
    assert found is not None
    return found


# -- verification beside a rollback ----------------------------------------------------------


def test_a_rollback_that_completes_during_a_verification_stays_rolled_back(db: Db) -> None:
    torture.migrate(db)
    read = runs.latest(db, "901")
    assert read is not None
    torture.roll_back(db)  # while the verification that has read this looked at its last check
    with pytest.raises(LeaseLostError, match="changed by another process"):
        verify._record(
            db,
            read,
            0,
            operator=ME,
            patience=retry.Patience(seconds=10),
        )
    assert newest(db)["phase"] == "rolled_back"


@pytest.mark.parametrize("expect", ["applied", "rolled_back"])
def test_a_verification_that_only_looks_is_of_no_worth_where_somebody_worked_meanwhile(
    db: Db, expect: str
) -> None:
    torture.migrate(db)
    if expect == "rolled_back":
        torture.roll_back(db)
    moved: list[Any] = []

    def somebody_works(event: dict[str, Any]) -> None:
        if not moved:
            moved.append(event)
            db["_migrations"].update_one({"_id": newest(db)["_id"]}, {"$inc": {"revision": 1}})

    with pytest.raises(MigrationError, match="was worked on while it was being verified"):
        verify.verify(
            client=db.client,
            database=db.name,
            definition=torture.DEFINITION,
            expect=expect,
            record=False,
            progress=somebody_works,
        )
    assert moved


@pytest.mark.parametrize("phase", runs.TRANSITIONS)
def test_a_phase_follows_from_another_one_only_as_the_table_says(phase: str, db: Db) -> None:
    torture.migrate(db)
    identity = newest(db)["_id"]
    for wanted in runs.TRANSITIONS:
        db["_migrations"].update_one({"_id": identity}, {"$set": {"phase": phase}})
        with lease.hold(db, purpose="a test", holder=ME, seconds=10) as held:
            run = Run.adopt(db, newest(db), held)
            if wanted in runs.TRANSITIONS[phase]:
                run.enter(wanted)
                assert newest(db)["phase"] == wanted
            else:
                with pytest.raises(Exception, match=f"it can't become {wanted}"):
                    run.enter(wanted)
                assert newest(db)["phase"] == phase


# -- a process that slept --------------------------------------------------------------------


def test_the_run_of_a_lease_that_is_over_hides_no_other(db: Db) -> None:
    with lease.hold(db, purpose="sleep", holder=ME, seconds=10) as slept:
        token = slept.token
    torture.migrate(db)
    done = newest(db)
    with pytest.raises(LeaseLostError):
        Run.create(
            db, torture.DEFINITION, token=token, facts={}, insert=db["_migrations"].insert_one
        )
    assert newest(db)["_id"] == done["_id"]
    assert db["_migrations"].count_documents({"kind": "run"}) == 1


def test_two_runs_never_have_one_number(db: Db) -> None:
    torture.migrate(db)
    torture.roll_back(db)
    torture.migrate(db)
    numbers = [run["number"] for run in db["_migrations"].find({"kind": "run"})]
    assert len(set(numbers)) == len(numbers) == 2
    tokens = db["_migrations"].find_one({"_id": "lease"})
    assert tokens is not None
    assert max(numbers) <= tokens["token"]


def test_taking_the_lease_for_another_migration_ends_the_work_at_this_one(db: Db) -> None:
    """The batch of a process that slept is refused, though nobody works at its run."""
    torture.migrate(db)
    db["_migrations"].update_one({"kind": "run"}, {"$set": {"phase": "interrupted"}})
    with lease.hold(db, purpose="migrate 901", holder=ME, seconds=10) as slept:
        run = Run.adopt(db, newest(db), slept)
        db["_migrations"].update_one({"_id": "lease"}, {"$set": {"expires": None}})
        with (
            lease.hold(db, purpose="migrate 902", holder=ME, seconds=10),
            pytest.raises(LeaseLostError),
        ):
            run.checkpoint({"step": 0}, {"modified": 1}, seq=run.document["seq"])
    assert newest(db)["counts"]["modified"] == torture.changed_by()


def sleep_through(slept: lease.Lease) -> None:
    """What SIGSTOP does for longer than the lease: its end passes, and the heart stands still."""
    slept._stop.set()
    slept._thread.join()
    time.sleep(0.6)


@pytest.mark.parametrize("had", [False, True], ids=["about to adopt it", "had adopted it"])
def test_a_finished_run_is_out_of_reach_once_the_lease_is_taken_for_another_one(
    had: bool, db: Db
) -> None:
    """The one who slept was about to roll it back; who works now works at something else."""
    torture.migrate(db)
    with lease.hold(db, purpose="roll back 901", holder=ME, seconds=0.5) as slept:
        run = Run.adopt(db, newest(db), slept) if had else None
        sleep_through(slept)
        with lease.hold(db, purpose="migrate 902", holder=ME, seconds=10):
            left = snapshot(db, own=True)
            with pytest.raises(LeaseLostError):
                (run or Run.adopt(db, newest(db), slept)).enter(runs.ROLLING_BACK)
            assert snapshot(db, own=True) == left


def test_a_lease_that_ran_out_and_that_nobody_took_adopts_all_the_same(db: Db) -> None:
    torture.migrate(db)
    with lease.hold(db, purpose="roll back 901", holder=ME, seconds=0.5) as slept:
        slept.deadline()
        sleep_through(slept)
        Run.adopt(db, newest(db), slept).enter(runs.ROLLING_BACK)
    assert newest(db)["phase"] == "rolling_back"


def test_what_another_tool_applied_is_taken_over_and_forgotten_only_under_the_lease(
    db: Db,
) -> None:
    with lease.hold(db, purpose="adopt", holder=ME, seconds=0.5) as slept:
        facts = {"tool": "mongock", "adopted_at": datetime.datetime.now(datetime.UTC)}
        adopted.add(db, Fence(slept), "mongock:1", **facts)
        sleep_through(slept)
        with lease.hold(db, purpose="migrate 902", holder=ME, seconds=10):
            left = snapshot(db, own=True)
            with pytest.raises(LeaseLostError):
                adopted.add(db, Fence(slept), "mongock:2", **facts)
            with pytest.raises(LeaseLostError):
                adopted.remove(db, Fence(slept), adopted.read(db))
            assert snapshot(db, own=True) == left


# -- a failover that takes something back while the run is at rest ------------------------------


def test_a_batch_that_a_failover_took_back_at_rest_is_done_again(db: Db) -> None:
    before = torture.state(db)
    taken: dict[str, Any] = {}

    def rewind(event: dict[str, Any]) -> None:
        if event.get("phase") != "migrate" or "collection" not in event:
            return
        run = db["_migrations"].find_one({"kind": "run"})
        assert run is not None
        if run["seq"] == 3 and "run" not in taken:
            # As the members that lost touch know it: the run, the journal, and the data.
            taken["run"] = run
            taken["data"] = {
                name: list(db[name].find()) for name in ("entries", "items", "bills", "periods")
            }
        elif run["seq"] == 6 and "done" not in taken:
            taken["done"] = True
            db["_migrations"].replace_one({"_id": run["_id"]}, taken["run"])
            db["_migrations_journal"].delete_many({"seq": {"$gt": 3}})
            for name, documents in taken["data"].items():
                db[name].delete_many({})
                db[name].insert_many(documents)

    torture.migrate(db, progress=rewind)

    assert taken["done"]
    numbers = [entry["seq"] for entry in db["_migrations_journal"].find().sort("seq")]
    assert numbers == list(range(1, len(numbers) + 1)), "no hole"
    torture.assert_journal_exact(db, before[0])
    torture.assert_verified(db)
    torture.roll_back(db)
    torture.assert_same(before, torture.state(db))


def test_marks_of_a_rollback_that_a_failover_took_back_are_made_again(db: Db) -> None:
    before = torture.state(db)
    torture.migrate(db)
    seen: list[dict[str, Any]] = []

    def rewind(event: dict[str, Any]) -> None:
        if event.get("phase") != "rollback" or len(seen) > 4:
            return
        seen.append(event)
        if len(seen) == 4:
            last = db["_migrations_journal"].find_one({"reverted": True}, sort=[("seq", 1)])
            assert last is not None
            db["_migrations_journal"].update_one(
                {"_id": last["_id"]}, {"$unset": {"reverted": "", "kept": "", "conflicts": ""}}
            )

    torture.roll_back(db, progress=rewind)
    assert len(seen) == 5
    assert db["_migrations_journal"].count_documents({"reverted": {"$exists": False}}) == 0
    assert newest(db)["phase"] == "rolled_back"
    torture.assert_same(before, torture.state(db))


# -- errors that no driver raises ------------------------------------------------------------


def test_what_nobody_foresaw_leaves_a_run_that_says_so(
    db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    torture.migrate(db)

    def fail(*_given: Any) -> None:
        raise ValueError("year 0 is out of range")

    with monkeypatch.context() as patch:
        patch.setattr(FieldGroups, "revert", fail)
        with pytest.raises(Exception, match="year 0 is out of range") as raised:
            torture.roll_back(db)
    assert "rollback.yml" in str(raised.value)
    assert newest(db)["phase"] == "rolling_back"
    assert torture.roll_back(db)["phase"] == "rolled_back"


# -- a batch without documents ---------------------------------------------------------------


def test_a_batch_whose_documents_all_changed_before_it_is_undone(
    standalone_deployment: Deployment,
) -> None:
    db = standalone_deployment.data
    torture.fill(db)
    before = torture.state(db)
    torture.migrate(db)
    entry = db["_migrations_journal"].find_one({"kind": "set_field"}, sort=[("seq", 1)])
    assert entry is not None
    groups = [{**group, "ids": []} for group in entry["groups"]]
    for group in entry["groups"]:
        change = (
            {"$set": {entry["field"]: group["before"]}}
            if "before" in group
            else {"$unset": {entry["field"]: ""}}
        )
        db[entry["collection"]].update_many({"_id": {"$in": group["ids"]}}, change)
    db["_migrations_journal"].update_one({"_id": entry["_id"]}, {"$set": {"groups": groups}})
    assert torture.roll_back(db)["phase"] == "rolled_back"
    torture.assert_same(before, torture.state(db))


# -- validators that came later --------------------------------------------------------------


def test_a_validator_that_demands_the_new_field_lets_a_rollback_through(db: Db) -> None:
    before = snapshot(db)
    torture.migrate(db)
    rule = {"$jsonSchema": {"required": ["organizationId"]}}
    db.command("collMod", "items", validator=rule)
    db.command("collMod", "periods", validator={"name": {"$exists": True}})
    assert torture.roll_back(db)["conflict_count"] == 0
    assert {k: v for k, v in snapshot(db).items() if k in before} == before


# -- values ----------------------------------------------------------------------------------


def swap(db: Db) -> None:
    """Exchange the organizations of two documents."""
    one = db["items"].find_one({"organizationId": torture.ORGANIZATIONS[0]})
    other = db["items"].find_one({"organizationId": torture.ORGANIZATIONS[1]})
    assert one is not None
    assert other is not None
    for document, value in ((one, other), (other, one)):
        db["items"].update_one(
            {"_id": document["_id"]}, {"$set": {"organizationId": value["organizationId"]}}
        )


def give_all(db: Db) -> None:
    """Give every document to one organization."""
    db["items"].update_many({}, {"$set": {"organizationId": torture.ORGANIZATIONS[0]}})


def give_an_untouched_one(db: Db) -> None:
    """Give away a document that had its organization before."""
    db["items"].update_one(
        {"name": "items 7"}, {"$set": {"organizationId": torture.ORGANIZATIONS[0]}}
    )


@pytest.mark.parametrize("harm", [swap, give_all, give_an_untouched_one])
def test_with_writers_stopped_a_value_of_another_tenant_never_passes(
    harm: Any, deployment: Deployment
) -> None:
    torture.fill(deployment.data)
    deployment.maintenance("on")
    document = (torture.DOCUMENT, "torture.yml")
    deployment.migrate(document)
    assert failed(deployment.verify(document, record=False)) == []
    harm(deployment.data)
    wrong = failed(deployment.verify(document))
    assert "items: every organizationId is as it was, or as the journal says" in wrong
    assert newest(deployment.data)["phase"] == "applied"


@pytest.mark.parametrize("harm", [swap, give_all])
def test_between_two_maintenance_modes_a_value_of_another_tenant_never_passes(
    harm: Any, deployment: Deployment
) -> None:
    """Digests are of no worth then: each document is compared with the journal instead."""
    torture.fill(deployment.data)
    document = (torture.DOCUMENT, "torture.yml")
    deployment.maintenance("on")
    deployment.migrate(document)
    deployment.maintenance("off")
    harm(deployment.data)
    deployment.maintenance("on")
    assert "items: every organizationId is as the journal says" in failed(
        deployment.verify(document)
    )
    assert newest(deployment.data)["phase"] == "applied"


@pytest.mark.parametrize("harm", [swap, give_all])
def test_beside_writers_a_value_of_another_tenant_never_passes(
    harm: Any, deployment: Deployment
) -> None:
    torture.fill(deployment.data)
    document = (torture.DOCUMENT, "torture.yml")
    deployment.migrate(document)
    harm(deployment.data)
    assert "items: every organizationId is as the journal says" in failed(
        deployment.verify(document)
    )


def test_beside_writers_who_moves_with_its_owner_is_right(deployment: Deployment) -> None:
    data = deployment.data
    torture.fill(data)
    document = (torture.DOCUMENT, "torture.yml")
    deployment.migrate(document)
    moved = data["items"].find_one({"name": "items 0"})
    assert moved is not None
    user = torture.USERS[1]
    change = {"owner": user, "organizationId": torture.home_of(user)}
    data["items"].update_one({"_id": moved["_id"]}, {"$set": change})
    data["items"].delete_one({"name": "items 1"})
    assert failed(deployment.verify(document)) == []


def test_a_journal_that_was_made_to_fit_is_found_by_the_source(deployment: Deployment) -> None:
    """Document and journal agree, and both are wrong."""
    data = deployment.data
    torture.fill(data)
    deployment.maintenance("on")
    document = (torture.DOCUMENT, "torture.yml")
    deployment.migrate(document)
    entry = data["_migrations_journal"].find_one({"kind": "set_field", "collection": "items"})
    assert entry is not None
    wrong = ObjectId("0000000000000000000000a3")
    group = next(g for g in entry["groups"] if g["value"] != wrong)
    data["items"].update_many({"_id": {"$in": group["ids"]}}, {"$set": {"organizationId": wrong}})
    group["value"] = wrong
    data["_migrations_journal"].replace_one({"_id": entry["_id"]}, entry)
    assert "items: organizationId of a sample follows from its source" in failed(
        deployment.verify(document)
    )


def test_beside_writers_an_owner_who_moves_takes_the_documents_to_come_along(db: Db) -> None:
    """What was looked up for the first batches is not believed for the later ones."""
    user, home = torture.USERS[1], torture.ORGANIZATIONS[3]
    seen: list[int] = []

    def move(event: dict[str, Any]) -> None:
        if event.get("collection") == "items" and not seen:
            seen.append(db["items"].count_documents({"owner": user, "organizationId": home}))
            db["users"].update_one({"_id": user}, {"$set": {"organizationId": home}})

    torture.migrate(db, progress=move)

    first = db["_migrations_journal"].find_one({"collection": "items"}, sort=[("seq", 1)])
    assert first is not None
    before = {str(i) for group in first["groups"] for i in group["ids"]}
    right = {"owner": user}
    later = [d for d in db["items"].find(right) if str(d["_id"]) not in before]
    assert later
    # One that had its organization already, number 7 of ten, is not ours to change.
    assert {d["organizationId"] for d in later if int(d["name"][6:]) % 10 != 7} == {home}
