"""Settling the journal's newest entries where they are ahead of the checkpoint.

Without transactions a process can be killed between the journal and the batch, or between the
batch and its checkpoint. What the data say then becomes what the journal says, so that it is as
exact as if the batch had ended there.
"""

from __future__ import annotations

from ..ledger.batches import Writer
from .registry import kind_of


def reconcile(writer: Writer) -> None:
    """Correct each entry that no checkpoint covers, and write the checkpoint."""
    for entry in list(writer.journal.entries(seq={"$gt": writer.run.document["seq"]})):
        counts = kind_of(entry).reconcile(writer, entry)
        position = writer.run.document["position"]
        writer.run.accept(writer.run.checkpoint(position, counts, seq=entry["seq"]))
