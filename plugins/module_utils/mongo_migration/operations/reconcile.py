"""Settling the journal's newest entry where it is ahead of the checkpoint.

Without transactions a process can be killed between the journal and the batch, or between the
batch and its checkpoint. What the data say then becomes what the journal says, so that it is as
exact as if the batch had ended there.
"""

from __future__ import annotations

from typing import Any

from ..ledger.batches import Writer
from ..values import compare
from .current_values import holding


def reconcile(writer: Writer) -> None:
    """Correct each entry that no checkpoint covers, and write the checkpoint."""
    for entry in list(writer.journal.entries(seq={"$gt": writer.run.document["seq"]})):
        seq: int = entry["seq"]
        counts: dict[str, int] = {}
        if "groups" in entry:
            groups = holding(
                writer.database[entry["collection"]],
                entry["field"],
                entry["groups"],
                comment=writer.comment,
            )
            groups = [group for group in groups if group["ids"]]
            writer.journal.amend(seq, groups=groups)
            counts["modified"] = sum(len(group["ids"]) for group in groups)
        elif "documents" in entry:
            there = _there(writer, entry)
            writer.journal.amend(seq, documents=there)
            counts["inserted"] = len(there)
        elif "removed" in entry:
            gone = _gone(writer, entry)
            writer.journal.amend(seq, removed=gone)
            counts["deleted"] = len(gone)
        else:
            # An index is built, and a command started, only after the checkpoint of its entry:
            # this one wasn't begun.
            writer.journal.discard(seq)
        position = writer.run.document["position"]
        writer.run.accept(writer.run.checkpoint(position, counts, seq=seq))


def _gone(writer: Writer, entry: dict[str, Any]) -> list[dict[str, Any]]:
    collection = writer.database[entry["collection"]]
    ids = [document["_id"] for document in entry["removed"]]
    rows = collection.find({"_id": {"$in": ids}}, {"_id": 1}, comment=writer.comment)
    left = {compare.hashable(row["_id"]) for row in rows}
    return [d for d in entry["removed"] if compare.hashable(d["_id"]) not in left]


def _there(writer: Writer, entry: dict[str, Any]) -> list[dict[str, Any]]:
    collection = writer.database[entry["collection"]]
    ids = [document["_id"] for document in entry["documents"]]
    rows = collection.find({"_id": {"$in": ids}}, {"_id": 1}, comment=writer.comment)
    found = {compare.hashable(row["_id"]) for row in rows}
    return [d for d in entry["documents"] if compare.hashable(d["_id"]) in found]
