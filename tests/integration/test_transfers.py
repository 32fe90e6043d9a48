"""``extract``, ``move`` and ``change_id``: what leaves, comes, stays and refers is one thing."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import bson
import pytest
from bson import Int64, ObjectId
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from mongo_migration.document import definition
from mongo_migration.errors import (
    DefinitionError,
    InterruptedRunError,
    MigrationError,
    PlanBlockedError,
)
from mongo_migration.operations import entries
from mongo_migration.operations.transfer import batch, undo, walk
from mongo_migration.procedures import migrate, plan, plan_text, rollback, verify, work
from mongo_migration.support.stop import StopSignal
from pymongo import MongoClient
from pymongo.database import Database

from embedded.mongod import Deployment as Servers
from tests.support import databases, torture
from tests.support.driver import Commands, Job
from tests.support.snapshot import differences, indexes, snapshot

Db = Database[dict[str, Any]]
SETTINGS = {"batch_size": 3, "lease_seconds": 20}

EVERYTHING = """
id: "960"
name: transfers
summary: Addresses get a collection, events of all tenants one, and people new ids.
after: []
downtime: none
steps:
  - extract:
      from: users
      field: profile.addresses
      into: addresses
      document: {$mergeObjects: [{user: $_id, place: $$place}, $$this]}
      leave: addressIds
      when_unfit: keep
  - move:
      from: {matching: "^events_(?P<tenant>.+)$"}
      into: events
      id: {expression: {$concat: [$$matched.tenant, ":", {$toString: $_id}]}}
      set: {tenant: {expression: $$matched.tenant}}
      unset: [old]
  - change_id:
      in: people
      where: {_id: {$type: number}}
      id: {generate: objectId}
      referenced_by: {people: boss, posts: [authors, lines.by]}
"""


def one(step: str, *, name: str = "transfer") -> str:
    """Return a document of one step."""
    return f'id: "961"\nname: {name}\nsummary: One step.\nafter: []\ndowntime: none\nsteps:\n{step}'


def fill(db: Db) -> None:
    db.users.insert_many(
        [
            {"_id": n, "profile": {"a": n, "addresses": addresses, "z": Int64(n)}, "tail": 1.0}
            for n, addresses in enumerate(
                [
                    [{"city": "Pune", "zip": "1"}, {"city": "Goa"}],
                    [],
                    None,
                    {"city": "Rome"},
                    "nowhere",
                    [{"city": f"c{n}"} for n in range(5)],
                ]
            )
        ]
        + [{"_id": 6, "profile": None}, {"_id": 7}]
    )
    for tenant in ("a", "b"):
        db[f"events_{tenant}"].insert_many(
            [{"_id": n, "n": n, "old": True, "tail": {"b": 1, "a": 2.0}} for n in range(5)]
        )
        db[f"events_{tenant}"].create_index("n", unique=True)
    db.people.insert_many(
        [{"boss": (n + 3) % 8, "_id": n, "name": f"p{n}", "tail": Int64(n)} for n in range(8)]
        + [{"_id": "x", "name": "old", "boss": 4.0}]
    )
    db.people.create_index("name", unique=True)
    db.posts.insert_many(
        [
            {
                "_id": n,
                "authors": [n % 8, 1, "x", {"by": 1}],
                "lines": [{"by": Int64(n % 8), "q": 1}, {"by": None}, 3],
                "tail": n,
            }
            for n in range(10)
        ]
        + [{"_id": 10, "authors": 2.0}, {"_id": 11, "lines": {"by": 3}}, {"_id": 12}]
    )


def meaning(db: Db) -> dict[str, Any]:
    """Return what the data say, with names in the place of ids."""
    people = {row["_id"]: row["name"] for row in db.people.find()}
    cities = {row["_id"]: row for row in db.addresses.find()}

    def name(value: Any) -> Any:
        return people.get(value, value) if not isinstance(value, dict) else value

    def cities_of(row: dict[str, Any]) -> Any:
        ids = row.get("addressIds")
        if isinstance(ids, ObjectId):
            return cities[ids]["city"]
        return [cities[one]["city"] for one in ids] if ids is not None else None

    return {
        "boss": {row["name"]: name(row["boss"]) for row in db.people.find()},
        "authors": [
            [name(one) for one in row["authors"]]
            if isinstance(row.get("authors"), list)
            else name(row.get("authors"))
            for row in db.posts.find()
        ],
        "lines": [
            [name(line.get("by")) for line in row["lines"] if isinstance(line, dict)]
            for row in db.posts.find({"lines": {"$type": "array"}})
        ],
        "types": sorted(type(row["_id"]).__name__ for row in db.people.find()),
        "cities": {row["_id"]: cities_of(row) for row in db.users.find()},
        "places": sorted((row["user"], row["place"], row["city"]) for row in cities.values()),
        "profiles": {row["_id"]: row.get("profile") for row in db.users.find()},
        "events": {row["_id"]: row for row in db.events.find()},
        "left": db.events_a.count_documents({}) + db.events_b.count_documents({}),
    }


def wanted() -> dict[str, Any]:
    names = {n: f"p{n}" for n in range(8)} | {"x": "old"}
    cities = {0: ["Pune", "Goa"], 1: [], 3: "Rome", 5: [f"c{n}" for n in range(5)]}
    return {
        "boss": {f"p{n}": f"p{(n + 3) % 8}" for n in range(8)} | {"old": "p4"},
        "authors": [[names[n % 8], "p1", "old", {"by": 1}] for n in range(10)] + ["p2", None, None],
        "lines": [[names[n % 8], None] for n in range(10)],
        "types": ["ObjectId"] * 8 + ["str"],
        "cities": {n: cities.get(n) for n in range(8)},
        "places": [(0, 0, "Pune"), (0, 1, "Goa"), (3, 0, "Rome")]
        + [(5, n, f"c{n}") for n in range(5)],
        "profiles": {n: {"a": n, "z": n} for n in range(6)}
        | {4: {"a": 4, "addresses": "nowhere", "z": 4}, 6: None, 7: None},
        "events": {
            f"{tenant}:{n}": {
                "_id": f"{tenant}:{n}",
                "n": n,
                "tail": {"b": 1, "a": 2.0},
                "tenant": tenant,
            }
            for tenant in "ab"
            for n in range(5)
        },
        "left": 0,
    }


@pytest.fixture(params=["replica_set", "standalone"])
def servers(request: pytest.FixtureRequest) -> Servers:
    found: Servers = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def make(servers: Servers) -> Iterator[Callable[[], Any]]:
    with servers.client() as admin:
        yield lambda: databases.fresh(admin, roles=False)


@pytest.fixture
def db(make: Callable[[], Any]) -> Iterator[Db]:
    with make() as found:
        yield found


def load(text: str) -> definition.Definition:
    return definition.load(text, "transfer.yml")


def run(db: Db, text: str = EVERYTHING, **more: Any) -> dict[str, Any]:
    return torture.migrate(db, definition=load(text), **{**SETTINGS, **more})


def back(db: Db, text: str = EVERYTHING, on_conflict: str = "keep") -> dict[str, Any]:
    what = load(text)
    job = work.Job(settings=migrate.Settings(**SETTINGS), **torture.common(db))
    return rollback.roll_back(job, what.id, what, on_conflict=on_conflict)


def failed(db: Db, text: str = EVERYTHING, expect: str = "applied") -> list[str]:
    done = verify.verify(
        client=db.client, database=db.name, definition=load(text), expect=expect, operator={}
    )
    assert done["checks"]
    return list(done["failures"])


def state(db: Db) -> Any:
    return snapshot(db), indexes(db)


def assert_back(before: Any, db: Db) -> None:
    assert differences(before[0], snapshot(db)) == []
    assert before[1] == indexes(db)


@pytest.fixture(params=[None, 1], ids=["whole", "divided"])
def undone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo each entry as a whole, and in parts, as where the server takes no more at once."""
    if request.param:
        divide(monkeypatch, request.param)


def divide(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    whole = entries.revert_in_parts

    def divided(writer: Any, *given: Any) -> None:
        writer.capacity.refused(2 * most)
        whole(writer, *given)

    monkeypatch.setattr(undo, "revert_in_parts", divided)


# -- killed ------------------------------------------------------------------------------------


def points(servers: Servers, make: Any, action: str) -> list[tuple[int, str]]:
    """Return every point at which a process can die."""
    with make() as db:
        fill(db)
        commands = Commands(Job(uri="", database="", text=""))
        client: MongoClient[dict[str, Any]] = MongoClient(
            servers.uri(), tz_aware=True, event_listeners=[commands]
        )
        with client:
            client.admin.command("ping")
            if action == "rollback":
                run(client[db.name])
            commands.counting = True
            (run if action == "migrate" else back)(client[db.name])
    # The last one ends the session of a client that is closed, as no process does.
    return [(n, when) for n in range(1, len(commands.names)) for when in ("sent", "answered")]


def kill(servers: Servers, db: Db, action: str, point: tuple[int, str]) -> None:
    job = Job(
        uri=servers.uri(),
        database=db.name,
        text=EVERYTHING,
        action=action,
        settings=SETTINGS,
        die_at=point[0],
        when=point[1],
    )
    with torture.process(job) as process:
        assert process.end() == {}, point


def killed_migration(servers: Servers, make: Any, point: tuple[int, str]) -> None:
    with make() as db:
        fill(db)
        before = state(db)
        kill(servers, db, "migrate", point)
        known = {row["name"]: row["_id"] for row in db.people.find({"_id": {"$type": "objectId"}})}
        known |= {row["city"]: row["_id"] for row in db.addresses.find()}
        run(db)
        assert meaning(db) == wanted(), point
        assert failed(db) == [], point
        now = {row["name"]: row["_id"] for row in db.people.find()}
        now |= {row["city"]: row["_id"] for row in db.addresses.find()}
        # What was there once, and may have been seen, is still what it was.
        assert {key: now[key] for key in known} == known, point
        assert back(db)["conflict_count"] == 0, point
        assert_back(before, db)


def killed_rollback(servers: Servers, make: Any, point: tuple[int, str]) -> None:
    with make() as db:
        fill(db)
        before = state(db)
        run(db)
        kill(servers, db, "rollback", point)
        assert back(db)["conflict_count"] == 0, point
        assert failed(db, expect="rolled_back") == [], point
        assert_back(before, db)


KILLED = {"migrate": killed_migration, "rollback": killed_rollback}


@pytest.mark.parametrize("action", KILLED)
def test_killed_it_goes_on_to_the_same_end(servers: Servers, make: Any, action: str):
    everywhere = points(servers, make, action)
    for point in random.Random(11).sample(everywhere, 1 + (action == "migrate")):
        KILLED[action](servers, make, point)


@pytest.mark.torture
@pytest.mark.parametrize("action", KILLED)
def test_killed_at_each_command_it_goes_on_to_the_same_end(
    servers: Servers, make: Any, action: str
):
    for point in points(servers, make, action):
        KILLED[action](servers, make, point)


# -- whole -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stopped", [True, False])
def test_all_of_it_is_planned_done_verified_and_undone(db: Db, stopped: bool):
    fill(db)
    before = state(db)
    found = plan.make(db.client, db.name, load(EVERYTHING))
    assert found["problems"] == []
    assert (found["totals"]["to_insert"], found["totals"]["to_remove"]) == (8 + 10, 10)
    # Owners; people with a new _id, and one who only refers to them; posts by authors, by lines.
    assert found["totals"]["to_change"] == 5 + (8 + 1) + 11 + 11
    shown = plan_text.diff(found)
    assert '"city": "Pune"' in shown["before"] and "addressIds" in shown["after"]
    assert "events " in shown["after"] and '"tenant": "a"' in shown["after"]
    assert "transfers" in plan_text.table(found)
    assert state(db) == before

    run(db, writers_stopped=stopped)
    assert meaning(db) == wanted()
    assert failed(db) == []
    assert run(db)["changed"] is False
    assert back(db)["conflict_count"] == 0
    assert failed(db, expect="rolled_back") == []
    assert_back(before, db)
    assert "addresses" not in db.list_collection_names()


MOVE = one("  - move: {from: [old], into: new, set: {moved: {value: true}}}\n")
NEW_ID = one(
    "  - change_id:\n      in: teams\n      where: {_id: {$type: string}}\n"
    "      id: {expression: {$toObjectId: $_id}}\n      referenced_by: {users: team}\n"
)
HEX = "64b00000000000000000000{}"


def teams(db: Db) -> list[ObjectId]:
    db.teams.insert_many([{"_id": HEX.format(n), "name": n} for n in range(4)])
    db.users.insert_many([{"_id": n, "team": HEX.format(n % 4), "n": n} for n in range(8)])
    return [ObjectId(HEX.format(n)) for n in range(4)]


def reasons(done: dict[str, Any]) -> set[tuple[Any, str]]:
    return {(item["_id"], item["reason"]) for item in done["conflicts"]}


# -- what was done since -----------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 2])
def test_undone_in_parts_it_comes_back_the_same(db: Db, most: int, monkeypatch: pytest.MonkeyPatch):
    """Interrupted between two parts of one entry, too; and again after each of the next ones."""
    fill(db)
    before = state(db)
    run(db, batch_size=7)
    divide(monkeypatch, most)
    commit, parts = entries.Revert.commit, []

    def stopped(self: Any, *given: Any, **more: Any) -> None:
        commit(self, *given, **more)
        parts.append(more.get("undone"))
        if len(parts) in (2, 3, 7):
            raise InterruptedRunError("here")

    monkeypatch.setattr(entries.Revert, "commit", stopped)
    for _ in range(3):
        with pytest.raises(InterruptedRunError):
            back(db)
    done = back(db)
    assert done["conflict_count"] == 0, done["conflicts"]
    assert len(parts) > 2 * sum(undone is None for undone in parts) if most == 1 else any(parts)
    assert failed(db, expect="rolled_back") == []
    assert_back(before, db)


@pytest.mark.usefixtures("undone")
def test_what_was_moved_and_changed_since_stays_where_it_is(db: Db):
    db.old.insert_many([{"_id": n, "n": n} for n in range(5)])
    run(db, MOVE)
    db.new.update_one({"_id": 1}, {"$set": {"n": 100}})
    db.new.delete_one({"_id": 2})
    db.old.insert_one({"_id": 3, "other": 1})
    done = back(db, MOVE)
    assert reasons(done) == {
        (1, "changed since the migration"),
        (2, "deleted since the migration"),
        (3, "another one was made in its place since"),
    }
    assert list(db.old.find().sort("_id")) == [
        {"_id": 0, "n": 0},
        {"_id": 3, "other": 1},
        {"_id": 4, "n": 4},
    ]
    assert list(db.new.find().sort("_id")) == [
        {"_id": 1, "n": 100, "moved": True},
        {"_id": 3, "n": 3, "moved": True},
    ]
    assert failed(db, MOVE, "rolled_back") == []


def test_a_conflict_is_overwritten_or_stops_it_if_that_is_wanted(db: Db):
    db.old.insert_many([{"_id": n, "n": n} for n in range(5)])
    before = state(db)
    run(db, MOVE)
    db.new.update_one({"_id": 1}, {"$set": {"n": 100}})
    db.new.delete_one({"_id": 2})
    with pytest.raises(MigrationError, match="Nothing of this batch was undone"):
        back(db, MOVE, on_conflict="fail")
    assert [row["_id"] for row in db.new.find()] == [0, 1]  # a later batch was undone
    back(db, MOVE, on_conflict="restore")
    assert_back(before, db)


@pytest.mark.usefixtures("undone")
def test_a_document_that_keeps_its_new_id_keeps_its_references(db: Db):
    new = teams(db)
    run(db, NEW_ID)
    db.teams.update_one({"_id": new[1]}, {"$set": {"name": "one"}})
    db.users.update_one({"_id": 2}, {"$set": {"n": 200}})  # another field: no conflict
    db.users.update_one({"_id": 3}, {"$set": {"team": None}})
    db.users.insert_one({"_id": 100, "team": new[0]})  # written since, and follows
    done = back(db, NEW_ID)
    assert reasons(done) == {
        (HEX.format(1), "changed since the migration"),
        (3, "changed since the migration"),
    }
    assert {row["_id"] for row in db.teams.find()} == {
        *(HEX.format(n) for n in (0, 2, 3)),
        new[1],
    }
    assert {row["_id"]: row["team"] for row in db.users.find()} == {
        n: new[1] if n % 4 == 1 else HEX.format(n % 4) for n in range(8)
    } | {3: None, 100: HEX.format(0)}


def test_an_owner_whose_extracted_document_was_changed_stays_as_it_is(db: Db):
    text = one(
        "  - extract: {from: users, field: tags, into: tags, document: {of: $_id, tag: $$this}}\n"
    )
    db.users.insert_many([{"_id": n, "tags": ["a", n], "z": 1} for n in range(3)])
    run(db, text)
    assert [(row["of"], row["tag"]) for row in db.tags.find().sort("of")][2:4] == [
        (1, "a"),
        (1, 1),
    ]
    db.tags.update_one({"of": 1, "tag": "a"}, {"$set": {"tag": "b"}})
    done = back(db, text)
    assert reasons(done) == {(1, "changed since the migration")}
    assert list(db.users.find().sort("_id")) == [
        {"_id": 0, "tags": ["a", 0], "z": 1},
        {"_id": 1, "z": 1},
        {"_id": 2, "tags": ["a", 2], "z": 1},
    ]
    assert db.tags.count_documents({"of": 1}) == db.tags.count_documents({}) == 2


# -- what can't be done is refused -------------------------------------------------------------


def refused(db: Db, text: str) -> dict[str, Any]:
    """Return the one problem of the plan, after the run refused, too, and wrote nothing."""
    before = state(db)
    found = plan.make(db.client, db.name, load(text))
    (wrong,) = found["problems"]
    with pytest.raises(PlanBlockedError):
        run(db, text)
    assert_back(before, db)
    return dict(wrong)


SAME_ID = """
  - change_id: {in: items, id: {expression: {$toLower: $_id}}, referenced_by: {}}
"""
INTO_NEW = "  - move: {from: [old], into: new}\n"


@pytest.mark.parametrize(
    ("step", "data", "samples", "words"),
    [
        (SAME_ID, {"items": [{"_id": "A"}, {"_id": "B"}, {"_id": "a"}]}, ["A"], "or would get it"),
        (
            "  - change_id: {in: items, id: {expression: {$mod: [$_id, 2]}}, where: {_id: {$gt: 1}}"
            ", referenced_by: {}}\n",
            {"items": [{"_id": 2}, {"_id": 4}]},
            [4],
            "would get it",
        ),
        (
            SAME_ID.replace("toLower", "toObjectId"),
            {"items": [{"_id": HEX.format(1)}, {"_id": "x"}]},
            ["x"],
            "no right value",
        ),
        (
            INTO_NEW,
            {"old": [{"_id": 1}, {"_id": 2.0}], "new": [{"_id": 2}]},
            [2],
            "or would get it",
        ),
        (
            "  - move: {from: [old, older], into: new}\n",
            {"old": [{"_id": 1}], "older": [{"_id": 1}]},
            [1],
            "would get it",
        ),
        (INTO_NEW, {"old": [{"_id": 1, "at": Timestamp(0, 0)}]}, [1], "timestamp"),
        (
            "  - extract: {from: users, field: a, into: b, "
            "document: {$mergeObjects: [{of: $_id}, $$this]}}\n",
            {"users": [{"_id": 1, "a": [{"x": 1}]}, {"_id": 2, "a": ["x"]}]},
            [2],
            "mergeObjects",
        ),
        (
            "  - extract: {from: users, field: a, into: b, document: {of: $_id}}\n",
            {"users": [{"_id": 1, "a": "x"}, {"_id": 2, "a": [1]}]},
            [1],
            "neither an array nor a document",
        ),
        (
            "  - extract: {from: users, field: a, into: b, document: {$mergeObjects: [$$this]}}\n",
            {"users": [{"_id": 1, "a": [{"_id": 7}]}, {"_id": 2, "a": [{"_id": 7}]}]},
            [2],
            "or would get it",
        ),
    ],
)
def test_what_can_t_be_carried_is_named_by_the_plan(
    deployment: Any, step: str, data: dict[str, Any], samples: list[Any], words: str
):
    for name, rows in data.items():
        for row in rows:  # in bulk, the driver would fill an empty timestamp in
            deployment.data[name].insert_one(RawBSONDocument(bson.encode(row)))
    if "timestamp" in words:
        deployment.data["old"].update_one({"_id": 1}, [{"$set": {"at": Timestamp(0, 0)}}])
    wrong = refused(deployment.data, one(step))
    assert wrong["samples"] == samples
    assert words in wrong["what"]


def test_a_validator_and_a_unique_index_of_the_target_are_foreseen(deployment: Any):
    db = deployment.data
    db.old.insert_many([{"_id": 1, "n": 1}, {"_id": 2, "n": 2}])
    db.new.insert_one({"_id": 3, "n": 2})
    db.new.create_index("n", unique=True)
    assert "unique index 'n_1'" in refused(db, one(INTO_NEW))["what"]
    db.new.drop_index("n_1")
    db.command("collMod", "new", validator={"n": {"$ne": 1}})
    assert refused(db, one(INTO_NEW))["samples"] == [{"_id": 1}]


def test_what_a_policy_leaves_stays_and_is_counted(db: Db):
    db.old.insert_many([{"_id": n, "n": n} for n in range(4)])
    db.new.insert_one({"_id": 1})
    text = one("  - move: {from: [old], into: new, when_exists: skip, copy: true}\n")
    (row, _into) = plan.make(db.client, db.name, load(text))["steps"]
    assert (row["to_move"], row["left"], row["to_remove"]) == (3, 1, 0)
    run(db, text)
    assert failed(db, text) == []
    assert sorted(row["_id"] for row in db.new.find()) == [0, 1, 2, 3]
    assert db.old.count_documents({}) == 4
    assert db.new.find_one({"_id": 1}) == {"_id": 1}
    back(db, text)
    assert list(db.new.find()) == [{"_id": 1}]


def test_a_step_that_moves_a_collection_into_itself_is_refused(deployment: Any):
    deployment.data["old"].insert_one({"_id": 1})
    with pytest.raises(DefinitionError, match="use change_id"):
        run(deployment.data, one("  - move: {from: [old], into: old}\n"))


# -- exactly, once -----------------------------------------------------------------------------


def test_types_that_no_driver_writes_come_through_untouched(db: Db):
    # {_id: 1, u: undefined, s: symbol "x", n: 1, n: 2}
    body = b"\x10_id\0\1\0\0\0" + b"\x06u\0" + b"\x0es\0\2\0\0\0x\0" + b"\x10m\0\1\0\0\0"
    odd = (len(body) + 5).to_bytes(4, "little") + body + b"\0"
    db.old.insert_one(RawBSONDocument(odd))
    before = state(db)
    run(db, one(INTO_NEW), writers_stopped=True)
    assert snapshot(db)["new"] == before[0]["old"]
    assert failed(db, one(INTO_NEW)) == []
    back(db, one(INTO_NEW))
    assert_back(before, db)


def test_what_follows_one_document_may_be_more_than_a_batch(
    db: Db, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(walk, "_MOST_FOLLOWERS", 2)
    fill(db)
    before = state(db)
    for stop_at in (3, 5, 8, 13):
        stop, left = StopSignal(), iter(range(stop_at))

        def progress(event: dict[str, Any], stop: Any = stop, left: Any = left) -> None:
            if "batch" in event and next(left, None) is None:
                stop.ask("a test")

        with pytest.raises(InterruptedRunError):
            run(db, stop=stop, progress=progress)
    run(db)
    assert meaning(db) == wanted()
    assert failed(db) == []
    assert back(db)["conflict_count"] == 0
    assert_back(before, db)


@pytest.mark.parametrize("place", ["_id", "n"])
def test_a_place_that_was_taken_after_the_plan_ends_the_run_and_costs_nothing(
    db: Db, monkeypatch: pytest.MonkeyPatch, place: str
):
    db.old.insert_many([{"_id": n, "n": n} for n in range(6)])
    db.new.create_index("n", unique=True)
    before = state(db)
    whole = batch.Batch.commit

    def first(self: Any, *args: Any, **more: Any) -> Any:
        monkeypatch.setattr(batch.Batch, "commit", whole)
        db.new.insert_one({"_id": 1 if place == "_id" else 100, "n": 100 if place == "_id" else 1})
        return whole(self, *args, **more)

    monkeypatch.setattr(batch.Batch, "commit", first)
    with pytest.raises(MigrationError, match=r"unique index|already"):
        run(db, one(INTO_NEW))
    there = [row["n"] for name in ("old", "new") for row in db[name].find()]
    assert sorted(n for n in there if n != 100) == sorted([*range(6), *([1] * (place == "n"))])
    assert back(db, one(INTO_NEW))["conflict_count"] == 0
    db.new.delete_one({"_id": {"$in": [1, 100]}})
    assert_back(before, db)


# -- beside writers ----------------------------------------------------------------------------


def test_what_writers_bring_in_is_carried_and_nothing_is_lost(deployment: Any):
    db = deployment.data
    db.old.insert_many([{"_id": n, "n": 0} for n in range(200)])
    ended, written = threading.Event(), [*range(200)]

    def write() -> None:
        number = 1000
        while not ended.is_set():
            db.old.insert_one({"_id": number, "n": 0})
            written.append(number)
            for name in ("old", "new"):
                db[name].update_one({"_id": number % 200}, {"$inc": {"n": 1}})
            number += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        run_live(deployment, one(INTO_NEW), ended)
    finally:
        ended.set()
        thread.join()
    assert failed(db, one(INTO_NEW)) == []
    assert db.old.count_documents({}) == 0
    assert sorted(row["_id"] for row in db.new.find()) == sorted(written)


def run_live(deployment: Any, text: str, ended: threading.Event) -> None:
    """Run while others write, until what was there at the beginning is done."""

    def progress(event: dict[str, Any]) -> None:
        if deployment.data.new.count_documents({}) >= 200:
            ended.set()

    run(deployment.data, text, batch_size=20, progress=progress)


def test_what_was_changed_since_or_refers_to_an_old_id_is_told_beside_writers(db: Db):
    new = teams(db)
    run(db, NEW_ID)
    db.teams.update_one({"_id": new[2]}, {"$set": {"name": "two"}})
    db.users.insert_one({"_id": 50, "team": HEX.format(1)})
    done = verify.verify(
        client=db.client, database=db.name, definition=load(NEW_ID), expect="applied", operator={}
    )
    assert done["failures"] == []
    told = {check["name"]: check for check in done["checks"] if check["status"] == "warning"}
    assert told["teams: every document that came is as the journal says"]["samples"] == [new[2]]
    assert told["teams: nothing refers to an _id from before"]["samples"] == [50]


def test_a_server_without_transactions_is_told_of_by_the_plan(
    standalone_deployment: Any, deployment: Any
):
    said = []
    for server in (standalone_deployment, deployment):
        server.data.old.insert_one({"_id": 1})
        said.append(plan.make(server.data.client, server.data.name, load(MOVE))["warnings"])
    assert "has no transactions" in str(said[0])
    assert said[1] == []


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("{python: {file: ids.py, function: slug, inputs: [$name]}}", {"asha-k", "ben"}),
        ("{map: {cases: [{from: [1], to: one}, {from: [2], to: two}]}}", {"one", "two"}),
        ("{reference: {from: codes, match: {team: $_id}, take: code}}", {"A", "B"}),
        ("{expression: {team: $_id, name: $name}}", {"Asha K", "Ben"}),
    ],
)
def test_a_new_id_comes_from_any_source(db: Db, source: str, wanted: set[Any]):
    db.teams.insert_many([{"_id": 1, "name": "Asha K"}, {"_id": 2, "name": "Ben"}])
    db.codes.insert_many(
        [{"_id": "a", "team": 1, "code": "A"}, {"_id": "b", "team": 2, "code": "B"}]
    )
    before = state(db)
    text = one(
        f"  - change_id: {{in: teams, id: {source}, where: {{_id: {{$type: number}}}},"
        " referenced_by: {codes: team}}\n"
    )
    files = {"ids.py": "def slug(name):\n    return name.lower().replace(' ', '-')\n"}
    what = definition.load(text, "transfer.yml", **({"files": files} if "python" in text else {}))
    assert plan.make(db.client, db.name, what)["problems"] == []
    torture.migrate(db, definition=what, **SETTINGS)
    ids = [row["_id"] for row in db.teams.find()]
    assert {one["name"] if isinstance(one, dict) else one for one in ids} == wanted
    assert [row["team"] for row in db.codes.find().sort("_id")] == ids
    job = work.Job(settings=migrate.Settings(**SETTINGS), **torture.common(db))
    rollback.roll_back(job, what.id, what)
    assert_back(before, db)
