"""Twenty real databases, migrated as one: canaries, lanes, failures, kills, and the way back."""

from __future__ import annotations

import base64
import datetime
import json
import os
import secrets
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, Regex
from mongo_migration.backup.create import Settings as BackupSettings
from mongo_migration.backup.create import utc_now
from mongo_migration.document import definition
from mongo_migration.errors import MigrationError
from mongo_migration.fleet import (
    applying,
    archives,
    checking,
    outcomes,
    planning,
    saving,
    selection,
    standing,
    undoing,
)
from mongo_migration.fleet.fleet import Fleet, Options, assemble
from mongo_migration.fleet.lanes import Lane
from mongo_migration.ledger import lease
from mongo_migration.ledger.batches import Settings
from mongo_migration.procedures.work import Job
from mongo_migration.server import connection
from mongo_migration.support.progress import quiet
from mongo_migration.support.stop import StopSignal
from pymongo import MongoClient

from embedded.mongod import ReplicaSet
from tests.support import hostile
from tests.support.snapshot import snapshot

Client = MongoClient[dict[str, Any]]

COUNT, FEW, DOCUMENTS = 20, 7, 40
DOCUMENT = """
id: "901"
name: add-currency
summary: Every invoice gets the currency of its customer.
downtime: none
steps:
  - set_field:
      collections: [invoices]
      field: currency
      type: string
      value:
        reference: {from: customers, match: {_id: $customer}, take: currency}
  - create_index: {collections: [invoices], keys: {currency: 1}}
"""


@dataclass
class Tenants:
    """The databases of a test, and how its fleets log in."""

    uri: str
    admin: Client
    prefix: str
    count: int = COUNT

    @property
    def names(self) -> list[str]:
        return [f"{self.prefix}{number:02}" for number in range(self.count)]

    def fleet(self, **options: Any) -> Fleet:
        """Return a fleet of these databases, with options of an inventory."""
        chosen = {"databases": f"^{self.prefix}[0-9]+$", **options}
        return assemble(
            self.connect(),
            Options(**chosen),
            home=f"{self.prefix}home",
            connect=self.connect,
            progress=lambda event: None,
            stop=StopSignal(),
            operator=_operator(),
        )

    def connect(self) -> Client:
        return connection.connect({"uri": self.uri, "database": f"{self.prefix}home"})

    def wanted(self, **more: Any) -> applying.Wanted:
        return applying.Wanted(
            definition=definition.load(DOCUMENT, "901-add-currency.yml"),
            until="applied",
            job=job,
            home=f"{self.prefix}home",
            **more,
        )

    def migrated(self) -> list[str]:
        """The databases in which every invoice has its customer's currency, by another client."""
        done = []
        for name in self.names:
            invoices = self.admin[name]["invoices"]
            wrong = invoices.count_documents({"currency": {"$ne": "EUR"}})
            if not wrong and "currency_1" in invoices.index_information():
                done.append(name)
        return done

    def phases(self) -> dict[str, str]:
        found = {}
        for name in self.names:
            run = self.admin[name]["_migrations"].find_one({"kind": "run"}, sort=[("number", -1)])
            found[name] = run["phase"] if run else ""
        return found

    def everything(self) -> dict[str, Any]:
        return {name: snapshot(self.admin[name]) for name in self.names}


def _operator() -> dict[str, Any]:
    return {"user": "anna", "host": "bastion", "pid": os.getpid()}


def job(lane: Lane, name: str) -> Job:
    """What a lane works with on one database."""
    return Job(
        client=lane.client,
        database=name,
        settings=Settings(batch_size=20, lease_seconds=3),
        change={"ticket": "CHG-1"},
        operator=_operator(),
        progress=lane.progress,
        stop=lane.stop,
    )


def listed(folder: Path, tenants: Tenants, **options: Any) -> dict[str, str]:
    """Return the newest archive of each database, as the list of backups shows it."""
    wanted = Options(databases=f"^{tenants.prefix}[0-9]+$", **options)
    found = archives.find(folder, wanted, now=utc_now(), progress=quiet, verify=False)
    return {row["database"]: row["newest"]["archive"] for row in found["by_database"]}


def pages(result: dict[str, Any]) -> dict[str, Any]:
    """Return the page of each database."""
    text = zlib.decompress(base64.b64decode(result["pages"])).decode()
    return dict(json.loads(line) for line in text.splitlines())


@pytest.fixture
def tenants(replica_set: ReplicaSet) -> Iterator[Tenants]:
    """Twenty small databases on the shared server, and one that is none of them."""
    yield from _made(replica_set, COUNT)


@pytest.fixture
def few(replica_set: ReplicaSet) -> Iterator[Tenants]:
    """Fewer, where twenty would show nothing more."""
    yield from _made(replica_set, FEW)


def _made(replica_set: ReplicaSet, count: int) -> Iterator[Tenants]:
    with replica_set.client() as admin:
        made = Tenants(replica_set.uri("admin"), admin, f"t{secrets.token_hex(4)}_", count)
        for name in made.names:
            fill(admin, name)
        yield made
        for name in admin.list_database_names():
            if name.startswith(made.prefix):
                admin.drop_database(name)


def fill(admin: Client, name: str) -> None:
    """Make one tenant."""
    admin[name]["customers"].insert_one({"_id": 1, "currency": "EUR"})
    admin[name]["invoices"].insert_many([{"_id": n, "customer": 1} for n in range(DOCUMENTS)])


def test_all_of_them_are_planned_backed_up_migrated_and_rolled_back(
    tenants: Tenants, tmp_path: Path
) -> None:
    before = tenants.everything()
    planned = planning.describe(tenants.connect(), tenants.fleet(), tenants.wanted().definition)
    assert planned["migration"]["todo"] == "migrate"
    assert planned["fleet"]["counts"] == {"to migrate": COUNT}
    assert planned["fleet"]["numbers"]["to_change"] == COUNT * DOCUMENTS
    assert tenants.everything() == before

    settings = BackupSettings(folder=tmp_path)
    saved = saving.save(tenants.fleet(), settings, migration="901", drilled=False)
    assert sorted(saved["archives"]) == tenants.names
    assert all(Path(each).parent.name == name for name, each in saved["archives"].items())
    assert listed(tmp_path, tenants) == saved["archives"]
    assert list(listed(tmp_path, tenants, only=tenants.names[4:5])) == tenants.names[4:5]
    (tmp_path / "stranger").mkdir()
    (tmp_path / tenants.names[4]).rename(tmp_path / "elsewhere")
    (tmp_path / tenants.names[4]).symlink_to(tmp_path / "elsewhere")  # by nobody of ours
    assert list(listed(tmp_path, tenants)) == [n for n in tenants.names if n != tenants.names[4]]
    (tmp_path / tenants.names[4]).unlink()
    (tmp_path / "elsewhere").rename(tmp_path / tenants.names[4])

    done = applying.apply(tenants.fleet(), tenants.wanted(backups=saved["archives"]))
    assert tenants.migrated() == tenants.names
    assert set(tenants.phases().values()) == {"verified"}
    assert done["modified"] == COUNT * DOCUMENTS
    assert sorted(pages(done)) == tenants.names
    run = tenants.admin[tenants.names[3]]["_migrations"].find_one({"kind": "run"})
    assert run is not None
    assert run["backup"] == saved["archives"][tenants.names[3]]

    again = applying.apply(tenants.fleet(), tenants.wanted())
    assert again["fleet"]["counts"] == {"done before": COUNT}
    assert not again["changed"]
    needless = saving.save(tenants.fleet(), settings, migration="901", drilled=False)
    assert needless["archives"] == {}

    found = checking.check(
        tenants.fleet(), tenants.wanted().definition, expect="applied", record=True
    )
    assert found["passed"]
    one = tenants.fleet(only=[tenants.names[7]])
    undone = undoing.undo(one, "901", tenants.wanted().definition, on_conflict="keep", job=job)
    assert undone["fleet"]["counts"] == {"rolled back": 1}
    assert tenants.migrated() == [name for name in tenants.names if name != tenants.names[7]]
    undoing.undo(tenants.fleet(), "901", tenants.wanted().definition, on_conflict="keep", job=job)
    assert tenants.everything() == before


def test_the_canaries_come_first_and_the_rest_waits(few: Tenants) -> None:
    done = applying.apply(few.fleet(canary=3), few.wanted())
    assert few.migrated() == few.names[:3]
    assert done["fleet"]["later"] == FEW - 3
    planned = planning.describe(few.connect(), few.fleet(canary=3), few.wanted().definition)
    assert planned["migration"]["todo"] == "idle"
    applying.apply(few.fleet(canary="passed", lanes=3), few.wanted())
    assert few.migrated() == few.names


def test_a_canary_that_is_none_of_them_is_refused(few: Tenants) -> None:
    """Left out silently, all of them would be migrated without a canary."""
    mistyped = f"{few.prefix}O1"
    with pytest.raises(selection.SelectionError, match=f"canary names {mistyped}, which"):
        few.fleet(canary=[few.names[0], mistyped])
    # Of a command about some of them, a canary that it isn't about has been one before.
    some = few.fleet(canary=few.names[:1], only=few.names[3:5])
    assert (list(some.canaries), list(some.this_time)) == ([], few.names[3:5])


def test_one_that_disappears_is_named_and_doesnt_come_back_as_a_ghost(
    few: Tenants, tmp_path: Path
) -> None:
    gone, definition_ = few.names[2], few.wanted().definition
    fleet = few.fleet(databases=few.names, failures_allowed=1)
    assert not planning.describe(few.connect(), fleet, definition_)["problems"]
    few.admin.drop_database(gone)
    saved = saving.save(fleet, BackupSettings(folder=tmp_path), migration="901", drilled=False)
    done = applying.apply(fleet, few.wanted(backups=saved["archives"]))

    assert [each["database"] for each in done["fleet"]["attention"]] == [gone]
    assert few.migrated() == [name for name in few.names if name != gone]
    undone = undoing.undo(fleet, "901", definition_, on_conflict="keep", job=job)
    assert undone["fleet"]["counts"] == {"rolled back": FEW - 1, "nothing to undo": 1}
    assert undone["fleet"]["numbers"]["rolled_back"] == FEW - 1
    assert gone not in few.admin.list_database_names()


def test_what_was_rolled_back_before_is_told_apart(few: Tenants) -> None:
    fleet, definition_ = few.fleet(), few.wanted().definition
    applying.apply(few.fleet(only=few.names[:3]), few.wanted())
    one = few.fleet(only=few.names[:1])
    undoing.undo(one, "901", definition_, on_conflict="keep", job=job)
    expected = {"rolled back before": 1, "nothing to undo": FEW - 3}
    planned = undoing.plan(fleet, "901", definition_)
    assert planned["fleet"]["counts"] == {"to roll back": 2, **expected}
    assert planned["todo"] == "rollback"
    undone = undoing.undo(fleet, "901", definition_, on_conflict="keep", job=job)
    assert undone["fleet"]["counts"] == {"rolled back": 2, **expected}
    assert undone["changed"]
    again = undoing.plan(fleet, "901", definition_)
    assert (again["todo"], again["changed"]) == ("nothing", False)


def test_a_canary_that_fails_keeps_the_others_as_they_were(few: Tenants) -> None:
    ill = few.names[4]
    few.admin[ill]["invoices"].insert_one({"_id": "lost", "customer": 99})
    options = {"canary": [ill], "canary_then": "go", "failures_allowed": 5}
    with pytest.raises(MigrationError, match=ill):
        applying.apply(few.fleet(**options), few.wanted())
    assert few.migrated() == []


def test_one_that_is_ill_and_one_that_is_held_are_named_and_no_other_suffers(
    tenants: Tenants,
) -> None:
    ill, held = tenants.names[5], tenants.names[11]
    tenants.admin[ill]["invoices"].insert_one({"_id": "lost", "customer": 99})
    before = tenants.everything()
    with lease.hold(tenants.admin[held], purpose="restore", holder=_operator(), seconds=3):
        planned = planning.describe(tenants.connect(), tenants.fleet(), tenants.wanted().definition)
        assert [each["database"] for each in planned["fleet"]["attention"]] == [ill, held]
        assert any(ill in problem for problem in planned["problems"])

        allowed = tenants.fleet(failures_allowed=2)
        planned = planning.describe(tenants.connect(), allowed, tenants.wanted().definition)
        assert planned["problems"] == []
        done = applying.apply(allowed, tenants.wanted())
    named = {each["database"]: each["state"] for each in done["fleet"]["attention"]}
    assert named == {ill: outcomes.REFUSED, held: outcomes.HELD}
    assert done["outcome"] == applying.PARTLY
    assert tenants.migrated() == [name for name in tenants.names if name not in (ill, held)]
    after = tenants.everything()
    assert (after[ill], after[held]) == (before[ill], before[held])


def test_it_stops_after_the_first_failure(few: Tenants) -> None:
    ill = few.names[2]
    few.admin[ill]["invoices"].insert_one({"_id": "lost", "customer": 99})
    with pytest.raises(MigrationError, match="needs attention") as raised:
        applying.apply(few.fleet(lanes=1), few.wanted())
    assert few.migrated() == few.names[:2]
    assert raised.value.details["fleet"]["counts"][outcomes.NOT_BEGUN] == FEW - 3


def test_one_whose_checks_fail_is_put_back_exactly(few: Tenants) -> None:
    ill = few.names[6]
    strict = DOCUMENT + (
        "postconditions:\n"
        "  - name: no more invoices than there were\n"
        f"    count: {{in: invoices, where: {{currency: EUR}}, equals: {DOCUMENTS}}}\n"
    )
    few.admin[ill]["invoices"].insert_one({"_id": "one more", "customer": 1})
    before = few.everything()
    wanted = applying.Wanted(
        definition=definition.load(strict, "901-add-currency.yml"),
        until="applied",
        job=job,
        home=f"{few.prefix}home",
    )
    done = applying.apply(few.fleet(failures_allowed=1), wanted)
    named = {each["database"]: each["state"] for each in done["fleet"]["attention"]}
    assert named == {ill: outcomes.UNDONE}
    assert few.everything()[ill] == before[ill]
    assert len(few.migrated()) == FEW - 1


def test_killed_in_the_middle_it_goes_on_where_it_was(tenants: Tenants) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.test_fleet", tenants.uri, tenants.prefix],
        start_new_session=True,
    )
    while len(tenants.migrated()) < 4:
        assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = tenants.migrated()
    assert 4 <= len(done) < COUNT
    stamps = {name: tenants.admin[name]["_migrations"].find_one({"kind": "run"}) for name in done}
    applying.apply(tenants.fleet(), tenants.wanted())
    assert tenants.migrated() == tenants.names
    assert set(tenants.phases().values()) == {"verified"}
    settled = [name for name in done if stamps[name] and stamps[name]["phase"] == "verified"]
    assert settled
    for name in settled:  # recognised, and left as it was
        assert tenants.admin[name]["_migrations"].find_one({"kind": "run"}) == stamps[name]


def test_a_lane_that_is_killed_is_one_databases_failure(few: Tenants) -> None:
    victim = few.names[1]

    def deadly(lane: Lane, name: str) -> Job:
        if name == victim:
            os.kill(os.getpid(), signal.SIGKILL)
        return job(lane, name)

    wanted = few.wanted()
    wanted = applying.Wanted(**{**wanted.__dict__, "job": deadly})
    done = applying.apply(few.fleet(failures_allowed=1), wanted)
    assert [each["database"] for each in done["fleet"]["attention"]] == [victim]
    assert done["outcome"] == applying.HELD
    assert len(few.migrated()) == FEW - 1


def test_a_stop_ends_the_verification_in_a_lane_too(few: Tenants) -> None:
    name, stop = few.names[0], StopSignal()

    def hear(event: dict[str, Any]) -> None:
        if event["phase"] == "verify":
            stop.ask("SIGINT received")

    lane = Lane(client=few.connect(), progress=hear, stop=stop)
    ended = applying._one(lane, name, few.wanted())
    assert (ended.state, ended.changed) == (outcomes.INTERRUPTED, True)
    assert "SIGINT received" in ended.reason
    assert few.phases()[name] == "applied"

    lane = Lane(client=lane.client, progress=hear, stop=(stop := StopSignal()))
    definition_ = few.wanted().definition
    back = undoing._one(job(lane, name), "901", definition_, "fail")
    assert back.state == outcomes.INTERRUPTED
    assert few.phases()[name] == "rolled_back"


def test_a_new_tenant_is_drift(few: Tenants) -> None:
    applying.apply(few.fleet(), few.wanted())
    newcomer = f"{few.prefix}77"
    fill(few.admin, newcomer)
    found = checking.check(few.fleet(), few.wanted().definition, expect="applied", record=False)
    assert not found["passed"]
    (named,) = found["fleet"]["attention"]
    assert (named["database"], named["state"]) == (newcomer, outcomes.LACKING)
    assert found["next"] == "ansible-playbook migrate-901.yml"
    seen = standing.describe(few.connect(), few.fleet())
    assert seen["fleet"]["migrations"]["901"] == {"verified": FEW}
    assert any("1 without a run" in line for line in seen["fleet_text"])


def test_names_may_stand_in_a_collection_and_are_never_believed(few: Tenants) -> None:
    control = few.admin[f"{few.prefix}home"]["tenants"]
    control.insert_many([{"_id": n, "database": name} for n, name in enumerate(few.names[:3])])
    query = {"from": f"{few.prefix}home.tenants", "take": "database"}
    assert list(few.fleet(databases=query).names) == few.names[:3]
    homoglyph = few.names[0].replace("_", "_\u0430")
    for odd in (
        *("../etc", "/etc", "a b", "x\x1b[2J", "x\n", "{{ 1 }}", hostile.EVERYTHING, homoglyph),
        *("admin", "config", "local", "", "-e", "x" * 64, few.names[0].upper(), None, 7),
        *({"$gt": ""}, ["a"], Binary(b"a"), Regex("^t")),
    ):
        control.replace_one({"_id": 99}, {"database": odd}, upsert=True)
        with pytest.raises(selection.SelectionError) as refused:
            few.fleet(databases=query)
        assert not hostile.harm(refused.value.message.replace("\n", " "))
        assert len(refused.value.message) < 500


def test_a_tenant_that_means_harm_is_named_and_no_other_suffers(few: Tenants) -> None:
    """What it plants is its own failure, on every screen and page."""
    harm, now = hostile.EVERYTHING, datetime.datetime.now(datetime.UTC)
    run = {"_id": harm, "kind": "run", "migration": "901", "number": 1, "phase": harm}
    other = {"_id": "x", "kind": "run", "migration": f"901 {harm}", "number": 5, "phase": "running"}
    # It is waited for as long as it says that it lives.
    held = {"token": 9, "expires": now + datetime.timedelta(hours=1), "seconds": 2, "since": now}
    held |= {"holder": {"user": harm, "host": harm, "pid": 1}, "purpose": harm}
    plants: list[tuple[str, list[dict[str, Any]]]] = [
        ("_migrations", [run]),
        ("_migrations", [{"_id": "lease", **held}]),
        ("_migrations", [{"_id": "restore", "phase": "replacing", "archive": harm}]),
        ("_migrations_journal", [{"run": harm, "seq": 1, "kind": "command"}]),
    ]
    ill = few.names[: len(plants)]
    for name, (collection, documents) in zip(ill, plants, strict=True):
        few.admin[name][collection].insert_many(documents)
    few.admin[ill[3]]["_migrations_journal"].create_index("at", expireAfterSeconds=1)
    before = few.everything()

    allowed = few.fleet(failures_allowed=len(ill))
    definition_ = few.wanted().definition
    planned = planning.describe(few.connect(), allowed, definition_)
    done = applying.apply(few.fleet(failures_allowed=len(ill)), few.wanted())
    few.admin[few.names[-1]]["_migrations"].insert_one(other)
    seen = standing.describe(few.connect(), few.fleet())
    named = [each["database"] for each in seen["fleet"]["attention"]]
    assert named == [*ill, few.names[-1]]
    for told in (planned, done):
        assert [each["database"] for each in told["fleet"]["attention"]] == ill
        reasons = "".join(each["reason"] for each in told["fleet"]["attention"])
        assert not hostile.harm("".join([*told["fleet_text"], reasons]).replace("\n", " "))
    assert not hostile.harm("".join(seen["fleet_text"]))
    assert not any(hostile.harm(each["command"]) for each in seen["next"])
    assert few.migrated() == few.names[len(ill) :]
    assert {name: few.everything()[name] for name in ill} == {name: before[name] for name in ill}


if __name__ == "__main__":
    place = Tenants(sys.argv[1], MongoClient(sys.argv[1]), sys.argv[2])
    applying.apply(place.fleet(), place.wanted())
