"""``extract``, ``move`` and ``change_id``: what leaves, comes, stays and refers is one thing."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bson import Int64, ObjectId
from mongo_migration.document import definition
from mongo_migration.procedures import migrate, plan, plan_text, rollback, verify
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
    settings = migrate.Settings(**{**SETTINGS, **more})
    return migrate.migrate(definition=load(text), settings=settings, **torture.common(db))


def back(db: Db, text: str = EVERYTHING, **more: Any) -> dict[str, Any]:
    what = load(text)
    settings = migrate.Settings(**SETTINGS)
    return rollback.roll_back(
        migration=what.id, definition=what, settings=settings, **more, **torture.common(db)
    )


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
    for point in random.Random(11).sample(everywhere, 3):
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
    # Owners; people, who refer to each other; posts by authors, and by lines.
    assert found["totals"]["to_change"] == 5 + (8 + 9) + 11 + 11
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
