"""Undoing ``set_field``: each document gets its value from before, if it holds what we wrote."""

from __future__ import annotations

from typing import Any

from pymongo import UpdateMany
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from ..ledger.batches import Writer
from ..values import compare
from ..values.compare import ABSENT, hashable
from . import statements
from .base import Undone
from .current_values import held


def revert(writer: Writer, entry: dict[str, Any], on_conflict: str) -> None:
    """Undo one journal entry in one command."""
    collection = writer.database[entry["collection"]]
    field, groups = entry["field"], entry["groups"]
    total = sum(len(group["ids"]) for group in groups)
    undone = Undone(writer, entry, "restored")

    def write(session: ClientSession | None) -> None:
        undone.reset()
        if on_conflict == "fail" and session is None:
            # Nothing would take the write back: look first.
            _differing(undone, collection, entry, on_conflict, session, ours=True)
            undone.refuse_if(True)
        undone.count = collection.bulk_write(
            statements.undo(field, groups), session=session, comment=writer.comment
        ).matched_count
        if undone.count == total:
            return
        changed = _differing(undone, collection, entry, on_conflict, session)
        undone.refuse_if(on_conflict == "fail")
        if changed:
            undone.count += collection.bulk_write(
                changed, session=session, comment=writer.comment
            ).matched_count

    if groups:
        undone.commit(write)
    else:  # a batch whose documents all changed before it could write them
        undone.commit(lambda _session: None)


def _differing(
    undone: Undone,
    collection: Collection[dict[str, Any]],
    entry: dict[str, Any],
    on_conflict: str,
    session: ClientSession | None,
    *,
    ours: bool = False,
) -> list[UpdateMany]:
    """Note documents that don't hold the value from before; return what to force.

    Args:
        undone: where to note them.
        collection: of the documents.
        entry: of the journal.
        on_conflict: ``restore`` forces instead of noting.
        session: of the transaction.
        ours: documents that still hold what we wrote are right, too.
    """
    field, force = entry["field"], []
    now = held(collection, field, entry["groups"], session=session, comment=undone.comment)
    for group in entry["groups"]:
        before = group.get("before", ABSENT)
        changed = []
        for identity in group["ids"]:
            value = now.get(hashable(identity), _GONE)
            if value is _GONE:
                undone.conflict(identity, group["value"], None, "deleted since the migration")
            elif not compare.same(value, before) and not (
                ours and compare.same(value, group["value"])
            ):
                changed.append(identity)
                if on_conflict != "restore":
                    observed = None if value is ABSENT else value
                    undone.conflict(
                        identity, group["value"], observed, "changed since the migration"
                    )
        if changed and on_conflict == "restore":
            force.append(UpdateMany({"_id": {"$in": changed}}, statements.back(field, group)))
    return force


_GONE = object()
