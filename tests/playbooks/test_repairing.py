"""repair.yml as a user types it: what is needed, a repair, and exactly back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from embedded.mongod import ReplicaSet
from tests.playbooks.site import Site, site
from tests.support.inventories import write_inventory
from tests.support.playbooks import run_playbook
from tests.support.snapshot import differences, indexes, snapshot

CASES = ("periods_twice", "string_organization", "no_owner", "null_organization")


@pytest.fixture(scope="module")
def place(
    replica_set: ReplicaSet,
    client: MongoClient[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    with site(replica_set, client, tmp_path_factory.mktemp("repairs"), dirty=CASES) as made:
        yield made


def test_without_a_name_it_lists_what_is_needed_and_writes_nothing(place: Site):
    before = snapshot(place.database, own=True)
    run = place.run("repair.yml")
    assert (run.code, run.counters["changed"]) == (0, 0)
    assert differences(before, run.everything) == []
    said = " ".join(run.output.split())
    assert "1 duplicated, 1 to remove" in said
    assert "invoices.organizationId: 1 of" in said
    assert "expenses.organizationId: 1 left alone: createdBy is empty" in said
    for name in ("duplicate_periods", "wrong_types", "null_fields", "not_updated"):
        assert f"-e repair={name} --check" in said


def test_a_repair_and_its_undoing_are_one_command_each(place: Site):
    before = snapshot(place.database), indexes(place.database)
    text = str(place.company.organizations[0])
    (wrong,) = place.company.cases["string_organization"].ids

    run = place.run("repair.yml", "-e", "repair=wrong_types")
    assert run.code == 0, run.output
    repaired = place.database["invoices"].find_one({"_id": wrong})
    assert repaired is not None
    assert str(repaired["organizationId"]) == text != repaired["organizationId"]
    assert "Repair wrong_types is applied and verified." in run.last_words()
    assert place.phases("R04") == ["verified"]

    back = place.run("repair.yml", "-e", "repair=wrong_types", "-e", "state=undone")
    assert back.code == 0, back.output
    assert "Repair wrong_types is rolled back" in back.last_words()
    assert differences(before[0], back.data) == []
    assert back.indexes == before[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["repair=periods"], "There is no repair 'periods'. Known repairs: duplicate_periods,"),
        (["repair=null_fields", "state=undon"], "or -e state=undone, not 'undon'."),
    ],
    ids=["an unknown repair", "an unknown state"],
)
def test_a_mistake_is_one_clear_line(
    tmp_path_factory: pytest.TempPathFactory, arguments: list[str], message: str
):
    folder = tmp_path_factory.mktemp("nowhere") / "inventory"
    nowhere = write_inventory(folder, uri="mongodb://127.0.0.1:1/", database="bizzai")
    extra = [part for argument in arguments for part in ("-e", argument)]
    done = run_playbook(["repair.yml", *extra], nowhere)
    assert done.returncode == 2
    assert message in " ".join((done.stdout + done.stderr).split())
