"""Merging one group: what names the others names the one that stays, then the others go.

The references are pointed at it in journalled batches as those of a ``set_field``, then it gets the
fields that it takes over, then the others are removed, each with its whole before-image in the
journal. Which one stays is computed anew by a resumed run and comes out the same: pointing
references at the most referenced one makes it that the more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import bson
from bson.codec_options import CodecOptions
from pymongo import DeleteOne
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from ...errors import MigrationError
from ...ledger.batches import StaleBatchError, Writer
from ...ledger.fence import Statement
from ...support import commands
from ...values import ejson
from ...values.compare import ABSENT, hashable
from ...values.raw import raw_documents
from .groups import Group
from .references import References, set_groups

KIND = "merge_duplicates"
FIELDS_KIND = "merge_duplicates_fields"
# Of one journal entry, which is one document of at most 16 MiB.
_MOST_BYTES = 4 << 20
# Writers may go on making references to one, or changing it; this often is enough.
_MOST_ATTEMPTS = 20


class Merging:
    """Merges the groups of one step.

    Args:
        writer: of the run.
        step: its index.
        name: of the collection, in the document.
        collection: where the duplicates are.
        references: what refers to them.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        step: int,
        name: str,
        collection: Collection[dict[str, Any]],
        references: References,
    ) -> None:
        self._writer = writer
        self._step = step
        self._here = {"step": step}
        self._name = name
        self._collection = collection
        self._references = references

    def merge(self, group: Group) -> None:
        """Merge one group.

        Raises:
            MigrationError: its documents change faster than they can be merged.
        """
        for _attempt in range(_MOST_ATTEMPTS):
            for identity in group.remove:
                for count in self._references.repoint(
                    self._writer, identity, group.keep, step=self._step
                ):
                    self._advance(count)
            try:
                self._give(group)
                self._remove(group.remove)
            except StaleBatchError:
                continue  # changed, or referred to anew, in the meantime
            return
        raise MigrationError(
            f"{self._name}: {ejson.short(group.remove[0])} is changed or referred to faster than "
            f"it can be merged. Stop the writers ({commands.STOP_WRITERS}), then run the same "
            "command again."
        )

    def _give(self, group: Group) -> None:
        """Give the one that stays the fields that it takes over, unless it has them by now."""
        for field, (before, value) in group.gets.items():
            if not self._collection.find_one({"_id": group.keep, **_other(field, value)}):
                continue
            told = {} if before is ABSENT else {"before": before}
            entry = {
                "kind": FIELDS_KIND,
                "step": self._step,
                "collection": self._collection.name,
                "field": field,
                "groups": [{"value": value, **told, "ids": [group.keep]}],
            }
            self._writer.commit(
                entry, set_groups(self._writer, self._collection, entry), position=self._here
            )
            self._advance(1)

    def _remove(self, ids: list[Any]) -> None:
        documents, size = list[dict[str, Any]](), 0
        for document, exact in read(self._collection, ids, self._writer.comment):
            if not exact:
                raise MigrationError(
                    f"{self._name} {ejson.short(document['_id'])} came or changed after the plan: "
                    "it holds a value that could not be put back. Correct it, then run the same "
                    "command again."
                )
            length = len(bson.encode(document))
            if documents and size + length > _MOST_BYTES:
                self._writer.capacity.in_parts(documents, self._remove_some)
                documents, size = [], 0
            documents.append(document)
            size += length
        self._writer.capacity.in_parts(documents, self._remove_some)

    def _remove_some(self, documents: Sequence[dict[str, Any]]) -> None:
        writer, ids = self._writer, [document["_id"] for document in documents]
        entry = {
            "kind": KIND,
            "step": self._step,
            "collection": self._collection.name,
            "removed": list(documents),
        }
        statements: list[Statement] = [
            # As it was journalled, or not at all.
            DeleteOne(
                {"_id": document["_id"], "$expr": {"$eq": ["$$ROOT", {"$literal": document}]}}
            )
            for document in documents
        ]

        def write(session: ClientSession | None) -> dict[str, int]:
            if self._references.any_left(ids, session):
                if session is None:
                    writer.journal.discard(writer.seq + 1)
                raise StaleBatchError
            count = writer.write(self._collection, statements, session)
            if count != len(documents):
                if session is not None:
                    raise StaleBatchError
                left = {
                    hashable(row["_id"])
                    for row in self._collection.find({"_id": {"$in": ids}}, {"_id": 1})
                }
                gone = [d for d in documents if hashable(d["_id"]) not in left]
                writer.journal.amend(writer.seq + 1, removed=gone)
            return {"deleted": count}

        writer.commit(entry, write, position=self._here, documents=len(documents))
        self._advance(len(documents))

    def _advance(self, count: int) -> None:
        self._writer.meter.advance(
            count, step=self._step, kind=KIND, collection=self._name, batch=count
        )


def _other(field: str, value: Any) -> dict[str, Any]:
    """Return a filter for a document that doesn't hold *value*, as the server compares."""
    return {"$expr": {"$ne": [f"${field}", {"$literal": value}]}}


def read(
    collection: Collection[dict[str, Any]], ids: list[Any], comment: str | None
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield documents, each with whether it can be written back as the server holds it."""
    options: CodecOptions[dict[str, Any]] = collection.codec_options
    for raw in raw_documents(
        collection.database,
        collection.name,
        filter={"_id": {"$in": ids}},
        comment=comment,
    ):
        document = bson.decode(raw, options)
        yield document, bson.encode(document, codec_options=options) == raw
