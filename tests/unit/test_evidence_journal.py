"""A journal of very many batches becomes few rows that say the same."""

from __future__ import annotations

from typing import Any

from mongo_migration.procedures.journal_summary import merge


def entry(seq: int, collection: str = "items", **more: Any) -> dict[str, Any]:
    about = {"seq": seq, "step": 0, "kind": "set_field", "collection": collection, "at": seq}
    written = {collection: 10, "bills_archive": seq}
    return {
        **about,
        "written": written,
        "documents": 10,
        "first": seq,
        "last": seq + 9,
        "reverted": False,
        **more,
    }


def test_a_few_batches_stay_as_they_are():
    rows = merge([entry(1), entry(2)], 1)
    assert [(row["seq"], row["batches"]) for row in rows] == [(1, 1), (2, 1)]


def test_neighbours_share_a_row_and_nothing_is_lost():
    rows = merge([entry(n) for n in range(1, 8)], 3)
    assert [(row["seq"], row["batches"], row["documents"]) for row in rows] == [
        (1, 3, 30),
        (4, 3, 30),
        (7, 1, 10),
    ]
    assert rows[0]["written"] == {"items": 30, "bills_archive": 1 + 2 + 3}
    assert (rows[0]["first"], rows[0]["last"], rows[0]["at"]) == (1, 12, 3)


def test_a_row_is_about_one_collection_and_either_undone_or_not():
    rows = merge([entry(1), entry(2, "bills"), entry(3, "bills", reverted=True)], 10)
    assert [(row["collection"], row["reverted"]) for row in rows] == [
        ("items", False),
        ("bills", False),
        ("bills", True),
    ]
