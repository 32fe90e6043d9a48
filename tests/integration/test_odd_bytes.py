"""Documents that the server stores and that no driver writes again as they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bson.raw_bson import RawBSONDocument
from mongo_migration.document import definition
from mongo_migration.errors import PlanBlockedError

from tests.support import torture
from tests.support.maintenance import without_block
from tests.support.snapshot import snapshot

OWNER = b"\x07owner\0" + torture.USERS[0].binary
ID = b"\x07_id\0" + bytes(11) + b"\x77"
# A collection that ends in a dot, and one with two: the server takes them.
ODD_NAMES = ("trail.", "a..b")


def embedded(body: bytes) -> bytes:
    return (len(body) + 5).to_bytes(4, "little") + body + b"\0"


TWICE = embedded(b"\x10q\0\2\0\0\0\x10q\0\1\0\0\0")
ODD: dict[str, bytes] = {
    "an array with other keys": ID
    + OWNER
    + b"\x04organizationId\0"
    + embedded(b"\x105\0\1\0\0\0\x100\0\2\0\0\0"),
    "flags out of order": ID + OWNER + b"\x0borganizationId\0a\0mi\0",
    "unknown flags": ID + OWNER + b"\x0borganizationId\0a\0zi\0",
    "a reference out of order": ID
    + OWNER
    + b"\x03organizationId\0"
    + embedded(b"\x07$id\0" + bytes(12) + b"\x02$ref\0\2\0\0\0x\0"),
    "a field twice": ID + OWNER + b"\x03organizationId\0" + TWICE,
    "an old pointer as id": b"\x0c_id\0\x02\0\0\0a\0" + bytes(12) + OWNER,
    "an id with a field twice": b"\x03_id\0" + TWICE + OWNER,
    "an id with flags out of order": b"\x03_id\0" + embedded(b"\x0br\0a\0mi\0") + OWNER,
}


@pytest.fixture(params=["replica_set", "standalone"])
def db(request: pytest.FixtureRequest) -> torture.Db:
    name = "database" if request.param == "replica_set" else "standalone_database"
    found: torture.Db = request.getfixturevalue(name)
    torture.fill(found, 10)
    return found


@pytest.mark.parametrize("body", ODD.values(), ids=ODD.keys())
def test_what_could_not_be_put_back_is_a_problem_of_the_plan(body: bytes, db: torture.Db) -> None:
    """Beside it, there are such values that a driver does write again: they are no problem."""
    plain: list[Any] = [{"a": [1, {"b": 2}]}, [1, [2]], {"$ref": "x", "$id": 1}]
    for number, value in enumerate(plain):
        document = {"_id": {"n": number}, "owner": torture.USERS[1], "organizationId": value}
        db["items"].insert_one(document)
    db["items"].insert_one(RawBSONDocument(embedded(body)))
    before = snapshot(db, own=True)
    with pytest.raises(PlanBlockedError, match="stored as no driver writes it") as caught:
        torture.migrate(db)
    (problem,) = caught.value.details["problems"]
    assert (problem["collection"], problem["count"]) == ("items", 1)
    assert snapshot(db, own=True) == before


def test_collections_of_odd_names_are_proved_unchanged(db: torture.Db) -> None:
    for name in ODD_NAMES:
        db.command({"insert": name, "documents": [{"_id": 1}]})
    without_block(db, "on")
    torture.migrate(db, writers_stopped=True)
    torture.assert_verified(db)
    run = db["_migrations"].find_one({"kind": "run"})
    assert run is not None
    assert all(name in str(run["baseline"]) for name in ODD_NAMES)
    assert torture.roll_back(db)["phase"] == "rolled_back"


def whole(*elements: bytes) -> RawBSONDocument:
    return RawBSONDocument(embedded(b"\x10_id\0\1\0\0\0" + b"".join(elements)))


ONE, OTHER = b"\x02f\0\2\0\0\0a\0", b"\x10f\0\5\0\0\0"
HELD_TWICE = {
    "at the top": whole(ONE, b"\x10n\0\1\0\0\0", OTHER),
    "within": whole(b"\x03d\0" + TWICE),
    "within an array": whole(b"\x04d\0" + embedded(b"\x030\0" + TWICE)),
}
CHANGES: dict[str, dict[str, Any]] = {
    "set": {"set": {"f": {"value": 1}, "d": {"value": 2}}},
    "set within": {"set": {"d.q": {"value": 5}}},
    "unset": {"unset": ["f", "d"]},
    "document": {"document": {"expression": {"$mergeObjects": ["$$ROOT", {"f": 1, "d": 2}]}}},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("held", HELD_TWICE.values(), ids=HELD_TWICE.keys())
def test_a_field_twice_is_changed_by_no_expression(
    held: RawBSONDocument, change: dict[str, Any], db: torture.Db
) -> None:
    """The server would end itself: an invariant of its own fails."""
    db["odd"].insert_many([{"_id": 2, "f": "a", "d": {"q": 1}}, held])
    step = {"update": {"collections": ["odd"], **change}}
    text = {"id": "900", "name": "odd", "summary": "A change.", "downtime": "none"}
    what = definition.load(json.dumps({**text, "steps": [step]}), "900.yml")
    before = snapshot(db, own=True)
    with pytest.raises(PlanBlockedError, match="MongoDB ends itself") as caught:
        torture.migrate(db, definition=what)
    (problem,) = (p for p in caught.value.details["problems"] if "ends itself" in p["what"])
    assert (problem["count"], problem["samples"]) == (1, [1])
    assert "each field once" in problem["fix"]
    assert snapshot(db, own=True) == before
