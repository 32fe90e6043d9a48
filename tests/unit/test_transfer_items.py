"""What the journal keeps of documents that go elsewhere is read back, or refused."""

from __future__ import annotations

import zlib
from typing import Any

import bson
import pytest
from mongo_migration.ledger.state_format import StateError, read_entry
from mongo_migration.operations.registry import ENTRY_KINDS
from mongo_migration.operations.transfer.items import Item, Load, facts_of, pack, unpack
from mongo_migration.operations.update.reader import Row


def raw(**document: Any) -> bytes:
    return bson.encode(document)


ITEMS = [
    Item(source=raw(_id=1), removed=raw(_id=1, n=1), documents=(raw(_id="1", n=1),)),
    Item(source=raw(_id=2), removed=None, documents=()),
    Item(source=raw(_id=3), removed=None, documents=(raw(_id=31), raw(_id=32))),
]
OWNER = Row(identity=1, key=raw(_id=1), before=raw(a=[1]), after=raw(), names=("_id", "a"))


def entry(**changes: Any) -> dict[str, Any]:
    load = Load(items=ITEMS[:1], owners=[OWNER], fields=["a"], pairs=[(raw(_id=1), raw(_id="1"))])
    return {
        "_id": 7,
        "run": "r",
        "seq": 1,
        "step": 0,
        "kind": "move",
        "collection": "a",
        "target": "b",
        "removes": True,
        "created_collection": False,
        **facts_of(load),
        **changes,
    }


def read(found: dict[str, Any]) -> dict[str, Any]:
    return read_entry(found, ENTRY_KINDS, place="db.journal")


def test_items_are_read_as_they_were_written():
    assert unpack(pack(ITEMS)) == ITEMS
    assert unpack(pack([])) == []
    assert read(entry())["target"] == "b"


def packed(*parts: bytes) -> bytes:
    return zlib.compress(b"".join(parts))


@pytest.mark.parametrize(
    "changes",
    [
        {"items": b"garbage"},
        {"items": "text"},
        {"items": packed(raw(_id=1))},
        {"items": packed(raw(_id=1), raw(n=2, r=False), raw(_id=1))},
        {"items": packed(raw(_id=1), raw(n=0, r=True))},
        {"items": packed(raw(_id=1), raw(n=1, r=False), raw(n=1))},
        {"items": packed(raw(_id=1), raw(n=1 << 40, r=False), raw(_id=1))},
        {"items": packed(raw(_id=1), raw(n=-1, r=False))},
        {"items": packed(raw(_id=1), raw(n=0, r=True), raw(_id=2))},
        {"items": packed(raw(_id=1), raw(n=1, r=False), raw(_id={"$gt": ""}))},
        {"items": packed(raw(_id=[1]), raw(n=0, r=False))},
        {"pairs": raw(_id=1) + raw(_id={"$gt": ""})},
        {"items": packed(raw(x=1), raw(n=0, r=False))},
        {"owners": {}},
        {"owners": {**entry()["owners"], "becomes": b""}},
        {"owners": {**entry()["owners"], "count": 2}},
        {"references": [{"collection": "c"}]},
        {"pairs": raw(_id=1)},
        {"pairs": b"x"},
        {"removes": None},
        {"target": 1},
    ],
)
def test_what_we_did_not_write_is_refused(changes: dict[str, Any]):
    with pytest.raises(StateError, match="isn't a journal entry of kind move that we wrote"):
        read(entry(**changes))
