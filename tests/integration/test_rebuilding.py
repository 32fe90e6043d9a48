"""A collection rebuilt: whatever was written meanwhile or since, and wherever it was killed."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from mongo_migration.errors import MigrationError, PlanBlockedError

from tests.support import corpus, torture
from tests.support.driver import Job
from tests.support.migrations import Deployment, failed


def document(options: dict[str, Any], *more: dict[str, Any]) -> tuple[str, str]:
    rebuild = {"rebuild_collection": {"name": "customers", "options": options}}
    head = {"id": "906", "name": "rebuilt", "summary": "Rebuilt.", "after": []}
    text = yaml.safe_dump(
        {**head, "downtime": "required", "steps": [rebuild, *more]}, sort_keys=False
    )
    return text, "906-rebuilt.yml"


COLLATED = document({"collation": {"locale": "en", "strength": 2}})


def fill(deployment: Deployment, count: int = 5) -> None:
    deployment.data["customers"].create_index("name", unique=True)
    deployment.data["customers"].insert_many(
        [{"_id": number, "name": f"name {number}"} for number in range(count)]
    )


def aside(deployment: Deployment) -> list[str]:
    names = deployment.data.list_collection_names()
    return [name for name in names if name.startswith("_migrations_aside.")]


def ids(deployment: Deployment) -> list[Any]:
    return [row["_id"] for row in deployment.data["customers"].find(sort=[("_id", 1)])]


def test_what_is_written_while_it_is_copied_is_not_lost(deployment: Deployment):
    deployment.batch_size = 2
    fill(deployment)
    customers, seen = deployment.data["customers"], []

    def write(event: dict[str, Any]) -> None:
        if not seen and event.get("batch"):
            customers.delete_one({"_id": 0})
            customers.update_one({"_id": 1}, {"$set": {"tier": "gold"}})
            customers.insert_one({"_id": 9, "name": "name 0"})  # of the one that is gone
            seen.append(event)

    deployment.progress = write
    deployment.migrate(COLLATED)
    assert seen
    assert failed(deployment.verify(COLLATED)) == []
    assert ids(deployment) == [1, 2, 3, 4, 9]
    assert customers.find_one({"_id": 1}) == {"_id": 1, "name": "name 1", "tier": "gold"}
    assert customers.count_documents({"name": "NAME 2"}) == 1
    deployment.progress = lambda event: None
    assert deployment.roll_back("906")["conflict_count"] == 0
    assert ids(deployment) == [1, 2, 3, 4, 9]
    assert customers.count_documents({"name": "NAME 2"}) == 0


def test_whoever_goes_on_writing_is_told_of_before_anything_is_swapped(deployment: Deployment):
    fill(deployment)
    before = corpus.shape(deployment.data)

    def write(event: dict[str, Any]) -> None:
        if event.get("batch"):
            deployment.data["customers"].update_one({"_id": 1}, {"$inc": {"n": 1}})

    deployment.progress = write
    with pytest.raises(MigrationError, match=r"is being written to.*Stop the writers"):
        deployment.migrate(COLLATED)
    assert corpus.shape(deployment.data) == before
    deployment.progress = lambda event: None
    deployment.migrate(COLLATED)
    assert failed(deployment.verify(COLLATED)) == []


def written_since(deployment: Deployment) -> None:
    fill(deployment)
    deployment.migrate(COLLATED)
    customers = deployment.data["customers"]
    customers.delete_one({"_id": 0})
    customers.update_one({"_id": 1}, {"$set": {"tier": "gold"}})
    customers.insert_one({"_id": 9, "name": "new"})


def test_what_was_written_since_comes_along_by_a_rollback_and_is_told(deployment: Deployment):
    written_since(deployment)
    done = deployment.roll_back("906")
    assert done["plan"]["written_since"] == 3
    assert sorted(item["_id"] for item in done["conflicts"]) == [0, 1, 9]
    assert ids(deployment) == [1, 2, 3, 4, 9]
    assert deployment.data["customers"].find_one({"_id": 1})["tier"] == "gold"
    assert "collation" not in deployment.data["customers"].options()
    assert aside(deployment) == []
    assert failed(deployment.verify(COLLATED, "rolled_back")) == []


def test_or_stays_aside(deployment: Deployment):
    written_since(deployment)
    deployment.roll_back("906", "restore")
    assert ids(deployment) == [0, 1, 2, 3, 4]
    assert "tier" not in deployment.data["customers"].find_one({"_id": 1})
    (kept,) = aside(deployment)
    assert sorted(row["_id"] for row in deployment.data[kept].find()) == [1, 2, 3, 4, 9]


def test_or_stops_the_rollback(deployment: Deployment):
    written_since(deployment)
    with pytest.raises(MigrationError, match="written since"):
        deployment.roll_back("906", "fail")
    assert ids(deployment) == [1, 2, 3, 4, 9]
    assert deployment.data["customers"].count_documents({"name": "NAME 2"}) == 1


def test_what_the_old_one_refuses_stops_the_rollback_while_nothing_is_done(
    deployment: Deployment,
):
    deployment.data.create_collection("customers", collation={"locale": "en", "strength": 2})
    fill(deployment)
    simple = document({"collation": None})
    deployment.migrate(simple)
    customers = deployment.data["customers"]
    customers.insert_one({"_id": 9, "name": "NAME 1"})
    with pytest.raises(MigrationError, match=r"don't fit the unique index 'name_1'.*restore"):
        deployment.roll_back("906")
    assert ids(deployment) == [0, 1, 2, 3, 4, 9]
    deployment.roll_back("906", "restore")
    assert ids(deployment) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"capped": True, "size": 8192}, {"capped": True, "size": 8192}),
        ({"clusteredIndex": {"key": {"_id": 1}, "unique": True}}, {"clusteredIndex"}),
        ({"collation": {"locale": "de"}}, {"collation"}),
    ],
    ids=["capped", "clustered", "collation"],
)
def test_options_of_each_kind_come_and_go(
    deployment: Deployment, options: dict[str, Any], expected: Any
):
    data = deployment.data
    data.create_collection("customers", validator={"name": {"$type": "string"}})
    data["customers"].create_index([("name", "text")], name="words")
    data["customers"].create_index("name", collation={"locale": "fr"}, name="french")
    fill(deployment)
    before = deployment.content(), corpus.shape(data)
    deployment.migrate(document(options))
    assert failed(deployment.verify(document(options))) == []
    assert set(expected) <= set(data["customers"].options())
    assert data["customers"].options()["validator"] == {"name": {"$type": "string"}}
    assert data["customers"].index_information()["french"]["collation"]["locale"] == "fr"
    assert "collation" not in data["customers"].index_information()["words"]
    assert deployment.content()[0] == before[0][0]
    deployment.roll_back("906")
    assert (deployment.content(), corpus.shape(data)) == before


def test_a_capped_one_becomes_an_ordinary_one(deployment: Deployment):
    deployment.data.create_collection("customers", capped=True, size=8192, max=100)
    fill(deployment)
    deployment.migrate(document({"capped": False}))
    assert deployment.data["customers"].options() == {}
    assert ids(deployment) == [0, 1, 2, 3, 4]
    deployment.roll_back("906")
    assert deployment.data["customers"].options()["max"] == 100


def test_documents_that_do_not_fit_a_capped_one_stop_the_plan(deployment: Deployment):
    fill(deployment)
    with pytest.raises(PlanBlockedError, match="don't fit"):
        deployment.migrate(document({"capped": True, "size": 8192, "max": 3}))
    assert aside(deployment) == []


def test_ids_that_become_the_same_stop_the_plan(deployment: Deployment):
    deployment.data["customers"].insert_many([{"_id": "a"}, {"_id": "A"}])
    with pytest.raises(PlanBlockedError, match="unique index '_id_'"):
        deployment.migrate(COLLATED)


def test_one_that_is_so_already_is_left_as_it_is(deployment: Deployment):
    deployment.data.create_collection("customers", collation={"locale": "en", "strength": 2})
    fill(deployment)
    deployment.migrate(COLLATED)
    assert aside(deployment) == []
    assert failed(deployment.verify(COLLATED)) == []


def test_the_server_says_which_options_it_refuses(deployment: Deployment):
    fill(deployment)
    with pytest.raises(PlanBlockedError, match=r"klingon.*steps\[0\]"):
        deployment.migrate(document({"collation": {"locale": "klingon"}}))
    assert "_migrations" not in deployment.data.list_collection_names()
    with pytest.raises(MigrationError, match=r"makes no collection.*steps\[0\]"):
        deployment.migrate(document({"nonsense": 1}))
    assert ids(deployment) == [0, 1, 2, 3, 4]
    deployment.roll_back("906")
    assert ids(deployment) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("on_conflict", ["keep", "restore"])
def test_a_rollback_killed_at_some_command_ends_where_an_undisturbed_one_does(
    deployment: Deployment, on_conflict: str, tmp_path: Path, replica_set: Any
):
    """At some of them."""
    trace = tmp_path / "trace"
    job = {
        # Whoever resumes ends the transaction that the dead one left open, which the server lets
        # it do at once if both are the same user; another's is waited for, over a minute.
        "uri": replica_set.uri("migrator"),
        "database": deployment.data.name,
        "text": COLLATED[0],
        "action": "rollback",
        "on_conflict": on_conflict,
        "settings": {"batch_size": 2, "lease_seconds": 10},
    }
    written_since(deployment)
    with torture.process(Job(**job, trace=str(trace))) as process:
        assert process.end()["result"]["phase"] == "rolled_back"
    expected = deployment.content()
    sent = len(trace.read_text().splitlines())
    assert sent > 10
    dice = random.Random(on_conflict)
    for die_at in dice.sample(range(8, sent - 1), 2):
        for name in deployment.data.list_collection_names():
            deployment.data.drop_collection(name)
        written_since(deployment)
        with torture.process(Job(**job, die_at=die_at)) as process:
            assert process.end() == {}, die_at
        deployment.roll_back("906", on_conflict)
        assert deployment.content() == expected, die_at
        assert bool(aside(deployment)) == (on_conflict == "restore"), die_at
