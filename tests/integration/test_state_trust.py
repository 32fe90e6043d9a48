"""What lies in the database is data about documents, never an instruction, whoever wrote it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from mongo_migration.document import definition
from mongo_migration.errors import MigrationError
from mongo_migration.ledger import control, runs
from mongo_migration.ledger.state_format import StateError
from mongo_migration.monitor.circuit_breaker import Trip
from mongo_migration.procedures import journal_summary, prune, rollback, status, verify
from mongo_migration.values import ejson
from pymongo.database import Database

from tests.support import torture
from tests.support.hostile import harm
from tests.support.snapshot import snapshot, without_lease

Db = Database[dict[str, Any]]
Harm = Callable[[dict[str, Any]], None]


@pytest.fixture
def db(database: Db) -> Db:
    torture.fill(database)
    return database


@pytest.fixture
def applied(db: Db) -> Db:
    torture.migrate(db)
    return db


def run_of(db: Db) -> dict[str, Any]:
    found = db["_migrations"].find_one({"kind": "run"})
    assert found is not None
    return found


# -- journal entries -------------------------------------------------------------------------


def planted(db: Db, marker: Path, **more: Any) -> dict[str, Any]:
    """An entry as an application's user could write one."""
    return {
        "_id": "planted",
        "run": run_of(db)["_id"],
        "seq": run_of(db)["seq"] + 1,
        "step": 0,
        "collection": "items",
        "kind": "command",
        "command": {
            "argv": ["/bin/true"],
            "down": ["/usr/bin/touch", str(marker)],
            "timeout_seconds": 10,
            "secrets": [],
        },
        **more,
    }


PLANTED: dict[str, dict[str, Any]] = {
    "a command": {},
    "a command between two entries": {"seq": 0.5},
    "an unknown kind": {"kind": "shell"},
    "a collection that no step touches": {
        "kind": "set_field",
        "step": 1,
        "collection": "users",
        "field": "period",
        "groups": [{"value": None, "before": "x", "ids": [torture.USERS[0]]}],
    },
    "another field": {
        "kind": "set_field",
        "step": 1,
        "collection": "entries",
        "field": "name",
        "groups": [{"value": "entries 0", "before": "x", "ids": [0]}],
    },
    "our own state": {
        "kind": "merge_duplicates",
        "collection": "_migrations",
        "removed": [{"_id": "lease", "token": 0}],
    },
    "an index that the migration doesn't build": {
        "kind": "create_index",
        "step": 3,
        "spec": {"name": "name_1", "key": {"name": 1}},
    },
    "a step that isn't there": {
        "kind": "set_field",
        "step": 17,
        "field": "organizationId",
        "groups": [],
    },
    "groups that are none": {
        "kind": "set_field",
        "step": 2,
        "field": "organizationId",
        "groups": {"ids": 1},
    },
    "a newer format": {"format": 99},
}


@pytest.mark.parametrize("what", PLANTED)
def test_an_entry_that_no_step_could_have_written_is_named_and_nothing_is_done(
    what: str, applied: Db, tmp_path: Path
) -> None:
    applied["items"].create_index("name")
    marker = tmp_path / "marker"
    applied["_migrations_journal"].insert_one(planted(applied, marker, **PLANTED[what]))
    before = without_lease(snapshot(applied, own=True))

    with pytest.raises(MigrationError) as raised:
        torture.roll_back(applied)

    after = without_lease(snapshot(applied, own=True))
    assert after == before, "neither the data nor the run were touched"
    assert "planted" in raised.value.message
    assert not marker.exists()


def test_a_planted_command_stops_the_plan_of_a_rollback_too(applied: Db, tmp_path: Path) -> None:
    applied["_migrations_journal"].insert_one(planted(applied, tmp_path / "marker"))
    with pytest.raises(StateError, match="planted"):
        rollback.plan(applied, "901", torture.DEFINITION)


# -- runs ------------------------------------------------------------------------------------


def test_a_planted_run_is_resumed_by_the_document_on_the_controller(db: Db, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    torture.migrate(db)
    run = run_of(db)
    torture.roll_back(db)
    theirs = torture.DOCUMENT.split("steps:")[0] + (
        "steps:\n  - command: {argv: [/usr/bin/touch, "
        f"{marker}], timeout_seconds: 5, writes: [items]}}\n"
    )
    db["_migrations"].insert_one(
        {
            **run,
            "_id": "901-planted",
            "number": run["number"] + 100,
            "phase": "interrupted",
            "position": {"step": 0},
            "seq": 0,
            "definition": {"source": "901-torture.yml", "text": theirs},
        }
    )
    torture.migrate(db)
    assert not marker.exists()
    assert db["items"].count_documents({"organizationId": {"$type": "objectId"}}) == 40


NOTED = """
id: "902"
name: note
summary: Each bill gets a note.
downtime: none
variables:
  note: {type: string, default: ours, description: What the note says.}
steps:
  - set_field: {collections: [bills], field: note, type: string, value: {value: "{{ note }}"}}
"""


def test_a_run_that_began_with_other_values_than_the_inventorys_does_not_go_on(db: Db) -> None:
    ours = definition.load(NOTED, "902-note.yml")
    torture.migrate(db, definition=ours)
    planted = {"phase": "interrupted", "position": {"step": 0}, "variables": {"note": "theirs"}}
    db["_migrations"].update_one({"kind": "run"}, {"$set": planted})
    db["bills"].update_many({}, {"$unset": {"note": ""}})

    told = status.describe(client=db.client, database=db.name, definition=ours)
    with pytest.raises(MigrationError, match="began with other values") as raised:
        torture.migrate(db, definition=ours)

    assert 'note: "theirs" (inventory: "ours")' in raised.value.message
    assert raised.value.message in told["problems"]
    assert db["bills"].count_documents({"note": {"$exists": True}}) == 0

    theirs = definition.load(NOTED, "902-note.yml", variables={"note": "theirs"})
    torture.migrate(db, definition=theirs)
    assert db["bills"].count_documents({"note": "theirs"}) == db["bills"].count_documents({})


def test_a_run_of_another_migration_that_we_did_not_write_stops_plan_and_migration(db: Db) -> None:
    odd = {"_id": "odd", "kind": "run", "migration": "777", "phase": "verified", "number": 7}
    db["_migrations"].insert_one(odd)
    before = snapshot(db, own=True)
    with pytest.raises(StateError, match="odd"):
        status.describe(client=db.client, database=db.name, definition=torture.DEFINITION)
    with pytest.raises(StateError, match="odd"):
        torture.migrate(db)
    assert snapshot(db, own=True) == before


def test_a_run_of_another_document_is_not_rolled_back_by_this_one(applied: Db) -> None:
    before = snapshot(applied)
    other = definition.load(torture.DOCUMENT.replace("two indexes", "two"), "torture.yml")
    with pytest.raises(MigrationError, match="check out the revision") as raised:
        torture.roll_back_by(applied, other)
    assert torture.DEFINITION.digest[:12] in raised.value.message
    assert snapshot(applied) == before


def test_without_its_document_exact_data_are_undone_once_the_run_is_named(db: Db) -> None:
    before = torture.state(db)
    torture.migrate(db)
    with pytest.raises(MigrationError, match="needs its migration document"):
        torture.roll_back_by(db, None)
    done = torture.roll_back_by(db, None, without_document=str(run_of(db)["_id"]))
    assert done["phase"] == "rolled_back"
    torture.assert_same(before, torture.state(db))


def test_other_collections_than_the_inventorys_are_never_taken_from_the_database(
    applied: Db,
) -> None:
    applied["_migrations"].update_one(
        {"kind": "run"}, {"$set": {"collections": [{"name": "items", "real": "users"}]}}
    )
    before = snapshot(applied)
    with pytest.raises(MigrationError, match="mongo_collections") as raised:
        torture.roll_back(applied)
    assert "items: users" in raised.value.message
    assert snapshot(applied) == before


def test_a_planted_run_says_not_what_values_are_right(db: Db) -> None:
    """By the values of its variables it is known what data have to look like."""
    ours = definition.load(NOTED, "902-note.yml")
    torture.migrate(db, definition=ours)
    db["_migrations"].update_one({"kind": "run"}, {"$set": {"variables": {"note": "theirs"}}})
    db["bills"].update_many({}, {"$set": {"note": "theirs"}})

    found = verify.verify(client=db.client, database=db.name, definition=ours, operator={})

    assert "the run began with the values that the inventory has" in found["failures"]
    (check,) = [one for one in found["checks"] if one["name"] in found["failures"][:1]]
    assert 'note: "theirs" (inventory: "ours")' in check["detail"]
    assert run_of(db)["phase"] == "applied"


def test_a_run_by_values_that_were_given_for_it_is_verified_by_the_same(db: Db) -> None:
    given = definition.load(NOTED, "902-note.yml", variables={"note": "given"})
    torture.migrate(db, definition=given)
    found = verify.verify(client=db.client, database=db.name, definition=given, operator={})
    assert found["failures"] == []
    assert run_of(db)["phase"] == "verified"


def test_what_a_run_says_of_its_plan_and_commands_ends_in_no_traceback(applied: Db) -> None:
    outcome = {"exit_code": 0, "seconds": 1, "timeout_seconds": 1, "output": ""}
    before = {"$cmd": 1, "": 2, "system.users": 3, "a.": 4, "items": 5}
    odd = {"commands": {"0": {"down": outcome}}, "plan.before": before}
    applied["_migrations"].update_one({"kind": "run"}, {"$set": odd})

    counted = journal_summary.describe(client=applied.client, database=applied.name)["counts"]
    again = torture.migrate(applied)

    assert counted["items"] == applied["items"].count_documents({})
    assert [counted[name] for name in ("$cmd", "", "system.users", "a.")] == [0, 0, 0, 0]
    assert (again["phase"], again["commands"]) == ("applied", [])


def test_a_flood_of_values_is_told_by_its_beginning(applied: Db) -> None:
    values = {f"k{number}": number for number in range(5000)}
    applied["_migrations"].update_one({"kind": "run"}, {"$set": {"variables": values}})
    with pytest.raises(MigrationError, match=r"and 4,900 more") as refused:
        torture.roll_back(applied)
    assert len(refused.value.message) < 20_000


def _plan_with(**row: Any) -> dict[str, Any]:
    totals = {"candidates": 1, "to_change": 1, "to_insert": 0}
    steps = [{"step": 0, "collection": "items", "kind": "set_field", **row}]
    return {"plan": {"totals": totals, "steps": steps, "before": {}, "warnings": []}}


CRAFTED: dict[str, dict[str, Any]] = {
    "a newer format with a line of its own": {"format": 99, "engine": "9\n27 of 27 \x1b[2J passed"},
    "documents that are null": _plan_with(documents=None),
    "a change of nobody knows how many": _plan_with(to_change=1),
    "indexes that are null": _plan_with(indexes=None),
    "amounts that are null": _plan_with(amounts=None),
    "a command that is null": _plan_with(command=None),
    "writes that are null": _plan_with(command="x", foreign=None),
    "what isn't fit as text": _plan_with(unfit=["x"]),
    "what isn't fit without a policy": _plan_with(unfit=[{"path": "a"}]),
    "settles that is text": _plan_with(settles="no"),
    "no plan": {"plan": None},
    "a name with a line of its own": {"name": "x\n27 of 27 checks passed"},
    "a plan without totals": {"plan": {"steps": []}},
    "totals that are text": {"plan": {"totals": {"to_change": "x"}, "steps": [], "before": {}}},
    "an unknown phase": {"phase": "done"},
    "a phase that is a list": {"phase": ["running"]},
    "a position that is text": {"position": "first"},
    "a negative step": {"position": {"step": -1}},
    "a sequence that is text": {"seq": "7"},
    "counts that are text": {"counts": {"modified": "many"}},
    "no counts": {"counts": None},
    "a digest that is a number": {"digest": 7},
    "collections that are a map": {"collections": {"items": "users"}},
    "a collection that is a list": {"collections": [{"name": "items", "real": ["users"]}]},
    "variables that are a list": {"variables": []},
    "a start that is text": {"started": "yesterday"},
    "no history": {"history": "none"},
    "a token that is text": {"token": "17"},
    "a newer format": {"format": 99, "engine": "9.0.0"},
    "a format that is text": {"format": "2"},
    "control that is text": {"control": "abort"},
    "a baseline that is text": {"baseline": "whole"},
    "a rollback that is a list": {"rollback": []},
}


@pytest.mark.parametrize("what", CRAFTED)
def test_a_run_that_we_did_not_write_is_one_clear_error(what: str, applied: Db) -> None:
    run = run_of(applied)
    applied["_migrations"].replace_one({"_id": run["_id"]}, {**run, **CRAFTED[what]})
    before = snapshot(applied)
    attempts: list[Callable[[], Any]] = [
        lambda: torture.migrate(applied),
        lambda: torture.roll_back(applied),
        lambda: verify.verify(
            client=applied.client, database=applied.name, definition=torture.DEFINITION
        ),
        lambda: status.describe(
            client=applied.client, database=applied.name, definition=torture.DEFINITION
        ),
    ]
    for attempt in attempts:
        with pytest.raises(StateError) as raised:
            attempt()
        assert str(run["_id"]) in raised.value.message
        assert "\n" not in raised.value.message
        assert not harm(raised.value.message)
    assert snapshot(applied) == before


FOREVER = datetime.datetime(9999, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    "lease",
    [
        {"token": "x", "expires": None},
        {"token": 1, "expires": "never"},
        {"token": 1, "expires": FOREVER, "holder": "me"},
        {"token": 1, "expires": FOREVER, "holder": {"pid": "x"}},
        {"token": 1, "expires": None, "seconds": -5},
    ],
)
def test_a_lease_that_we_did_not_write_is_one_clear_error(lease: dict[str, Any], db: Db) -> None:
    db["_migrations"].insert_one({"_id": "lease", **lease})
    with pytest.raises(StateError, match="lease"):
        torture.migrate(db)
    assert db["_migrations"].count_documents({"kind": "run"}) == 0


def test_a_lease_that_would_last_for_ever_keeps_nobody_out(db: Db) -> None:
    db["_migrations"].insert_one(
        {
            "_id": "lease",
            "token": 1,
            "expires": FOREVER,
            "since": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
            "seconds": 30,
            "holder": {"user": "x", "host": "y", "pid": 1},
            "purpose": "to stay",
        }
    )
    assert torture.migrate(db)["phase"] == "applied"


@pytest.mark.parametrize(
    "planted", ["pause", ["pause"], {"action": "pause"}, {"action": "pause", "by": {"a": 1}}, 7]
)
def test_a_pause_that_we_did_not_write_is_nobodys(planted: Any, applied: Db) -> None:
    run = run_of(applied)["_id"]
    applied["_migrations"].update_one({"_id": run}, {"$set": {"control": planted}})
    with pytest.raises(StateError, match=run):
        control.read(applied, run)
    watching = Trip(applied.client, applied.name, action="pause")
    watching._paused = run
    for _look in range(3):
        watching.see([])
    assert watching.taken == []


# -- a journal of which a part is gone -------------------------------------------------------


@pytest.mark.parametrize("gone", [{}, {"seq": {"$lte": 3}}, {"seq": 5}])
def test_a_journal_with_holes_is_never_called_undone(gone: dict[str, Any], applied: Db) -> None:
    applied["_migrations"].update_one(
        {"kind": "run"}, {"$set": {"backup": "/backups/mongodb/backup 1.tar.gz"}}
    )
    removed = applied["_migrations_journal"].delete_many(gone).deleted_count
    before = snapshot(applied)

    with pytest.raises(MigrationError, match=rf"{removed} of the \d+ journal entries") as raised:
        torture.roll_back(applied)

    assert "restore.yml" in raised.value.message
    assert '"/backups/mongodb/backup 1.tar.gz"' in raised.value.message
    assert snapshot(applied) == before
    assert run_of(applied)["phase"] == "applied"
    checked = verify.verify(
        client=applied.client, database=applied.name, definition=torture.DEFINITION, record=False
    )
    assert "the journal holds every entry that the run wrote" in checked["failures"]


def test_two_entries_of_one_number_are_refused_by_name(applied: Db) -> None:
    applied["_migrations_journal"].drop_index("run_seq")
    entry = applied["_migrations_journal"].find_one({"seq": 1})
    assert entry is not None
    applied["_migrations_journal"].insert_one({**entry, "_id": "again"})
    before = snapshot(applied)
    for attempt in (
        lambda: rollback.plan(applied, "901", torture.DEFINITION),
        lambda: torture.roll_back(applied, retry_seconds=5),
    ):
        with pytest.raises(StateError, match=r"1 journal entries .* the number of another one"):
            attempt()
    assert snapshot(applied) == before


def test_an_entry_with_several_numbers_is_refused_by_name(applied: Db) -> None:
    planted_ = {"_id": "several", "run": run_of(applied)["_id"], "seq": [0.5, 9999]}
    applied["_migrations_journal"].insert_one({**planted_, "kind": "set_field"})
    with pytest.raises(StateError, match="several"):
        rollback.plan(applied, "901", torture.DEFINITION)


def test_a_dropped_journal_is_found_by_the_plan_of_a_rollback(applied: Db) -> None:
    applied.drop_collection("_migrations_journal")
    with pytest.raises(MigrationError, match="journal entries"):
        rollback.plan(applied, "901", torture.DEFINITION)


def test_an_id_in_an_error_is_the_one_that_was_planted(applied: Db, tmp_path: Path) -> None:
    identity = ObjectId()
    applied["_migrations_journal"].insert_one(planted(applied, tmp_path / "m", _id=identity))
    with pytest.raises(StateError, match=str(identity)):
        torture.roll_back(applied)


def test_nobody_elses_text_makes_a_line_of_its_own_in_a_message(db: Db) -> None:
    who = {"user": "x\n27 of 27 checks passed", "host": "\x1b[2Kh", "pid": 1}
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    lease = {"token": 1, "holder": who, "purpose": "p\nNext: rm", "expires": soon, "seconds": 30}
    db["_migrations"].insert_one({"_id": "lease", **lease})
    with pytest.raises(MigrationError) as refused:
        control.give(
            client=db.client, database=db.name, action="pause", limits={}, operator={}, check=True
        )
    said = status.at_work(
        status.describe(client=db.client, database=db.name, definition=torture.DEFINITION)
    )
    for text in (refused.value.message, said):
        assert "\n" not in text
        assert "\x1b" not in text


# -- more than we ever write -----------------------------------------------------------------


def _readers(db: Db) -> list[Callable[[], Any]]:
    place: dict[str, Any] = {"client": db.client, "database": db.name}
    return [
        lambda: status.describe(definition=None, **place),
        lambda: rollback.plan(db, "901", torture.DEFINITION),
        lambda: prune.plan(db.client, db.name, migration=None, after_days=0),
        lambda: torture.migrate(db),
    ]


def test_a_flood_of_runs_is_refused_by_name(applied: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_MOST_RUNS", 200)
    run = {**run_of(applied), "migration": "777", "phase": "verified"}
    applied["_migrations"].insert_many(
        [{**run, "_id": f"777-{n}", "number": 10_000 + n} for n in range(200)]
    )
    for attempt in _readers(applied):
        with pytest.raises(StateError, match="holds more runs than any database needs"):
            attempt()


def test_runs_that_would_fill_the_memory_are_refused_by_name(
    applied: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_MOST_BYTES", 1 << 20)
    run = {**run_of(applied), "migration": "777", "phase": "verified"}
    for number in range(4):
        more = {"_id": f"777-{number}", "number": 10_000 + number, "error": "x" * (1 << 18)}
        applied["_migrations"].insert_one({**run, **more})
    with pytest.raises(StateError, match="or far larger ones"):
        status.describe(client=applied.client, database=applied.name, definition=None)


def test_many_runs_are_no_reason_to_ask_the_server_for_each(applied: Db) -> None:
    run = {**run_of(applied), "migration": "777", "phase": "verified"}
    few = _commands(applied)
    applied["_migrations"].insert_many(
        [{**run, "_id": f"777-{n}", "number": 10_000 + n} for n in range(300)]
    )
    assert _commands(applied) - few < 100


def _commands(db: Db) -> int:
    """Return how many commands the server was sent for a status."""

    def sent() -> int:
        counted = db.client.admin.command("serverStatus")["opcounters"]
        return int(counted["command"] + counted["query"] + counted["getmore"])

    before = sent()
    status.describe(client=db.client, database=db.name, definition=None)
    return sent() - before


def test_a_text_without_end_is_shown_by_its_beginning(applied: Db) -> None:
    long = "x" * 3_000_000
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    who = {"user": long, "host": long, "pid": 1}
    lease = {"token": 1, "holder": who, "purpose": long, "expires": soon, "seconds": 1}
    applied["_migrations"].update_one({"_id": "lease"}, {"$set": lease}, upsert=True)
    applied["_migrations"].insert_one({"_id": "maintenance", "on": True, "reason": long})
    texts = {"error": long, "operator": {"user": long}, "backup": long}
    applied["_migrations"].update_one({"kind": "run"}, {"$set": texts})

    told = status.describe(client=applied.client, database=applied.name, definition=None)
    with pytest.raises(MigrationError, match="holds the lease") as refused:
        torture.roll_back(applied, lease_seconds=1)

    assert len(json.dumps(ejson.to_plain(told))) < 50_000
    assert len(status.at_work(told)) < 2_000
    assert len(refused.value.message) < 2_000
