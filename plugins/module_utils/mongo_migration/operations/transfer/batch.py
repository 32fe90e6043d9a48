"""One batch of a transfer: what it carries, its entry, its writes and their proof."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo import DeleteMany, DeleteOne, InsertOne, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from ...errors import MigrationError
from ...ledger.batches import StaleBatchError, Writer
from ...ledger.fence import Statement
from ...support import retry
from ...values.digest import Digest
from ...values.raw import raw_documents
from ..update.images import holding, put
from ..update.reader import Row
from .contract import Transfer
from .items import Load, Repointed, facts_of, id_of, raw_items
from .references import Reference
from .settle import exactly, settle

_DUPLICATE_KEY = 11000
_SOME_FAILED = 65  # of a bulk write as a whole
_IMPOSSIBLE = (
    "It was not committed. This should be impossible; keep the evidence and tell the database "
    "admin."
)


class Batch:
    """One batch.

    Args:
        transfer: what is carried.
        writer: writes it.
        rows: the documents as they were read.
        again: reads them once more in the batch's own transaction.
        load: what is carried, where it is known already.
    """

    def __init__(
        self,
        transfer: Transfer,
        writer: Writer,
        rows: Sequence[Row],
        *,
        again: Callable[[Sequence[Row], ClientSession], list[Row]] | None = None,
        load: Load | None = None,
    ) -> None:
        self._transfer = transfer
        self._writer = writer
        self._rows = rows
        self._again = again
        self._fixed = load
        self._load = load or Load(items=[])
        self._source: Collection[dict[str, Any]] = transfer.reader.collection
        self._target = transfer.target
        self._within = self._source.name == self._target.name
        compared = writer.settings.writers_stopped and "baseline" in writer.run.document
        self._proves = writer.server.transactions and not compared

    def commit(self, position: Mapping[str, Any], *, created: bool) -> Load:
        """Write it; return what was carried.

        Args:
            position: behind it.
            created: whether it makes the collection that documents come to.

        Raises:
            StaleBatchError: something changed meanwhile; nothing was written.
            MigrationError: the server refuses a document.
        """
        transfer = self._transfer

        def entry(session: ClientSession | None) -> Mapping[str, Any]:
            rows = self._rows
            if session is not None and self._again is not None:
                rows = self._again(rows, session)
            self._load = self._fixed or transfer.load(rows, session)
            return {
                "kind": transfer.kind,
                "step": transfer.step,
                "collection": self._source.name,
                "target": self._target.name,
                "removes": transfer.removes,
                "created_collection": created,
                **facts_of(self._load),
            }

        self._writer.commit(
            entry, self._write, position=position, documents=max(1, len(self._rows))
        )
        return self._load

    def _write(self, session: ClientSession | None) -> dict[str, int]:
        before = self._rests(session) if self._proves else None
        if session is not None:
            if not self._whole(session):
                raise StaleBatchError
        elif not self._tried():
            self._settle()
        found = self._load.counts(removes=self._transfer.removes, within=self._within)
        if before is None:
            return found
        if self._rests(session) != before or self._come(session) != self._planned():
            raise MigrationError(
                f"{self._source.name}: a batch changed more than it should. {_IMPOSSIBLE}"
            )
        return {**found, "proved": found["modified"]}

    def _tried(self) -> bool:
        """Write all without a transaction; return whether all was written."""
        try:
            return self._whole(None)
        except OperationFailure as error:
            if retry.codes(error) - {_SOME_FAILED} != {_DUPLICATE_KEY}:
                raise
            return False

    def _settle(self) -> None:
        writer = self._writer
        (entry,) = writer.journal.entries(seq=writer.seq + 1)
        self._load, refused = settle(writer, entry)
        if refused:
            raise MigrationError(
                "A unique index rejects what the migration writes. What it refuses was left as it "
                f"was. The server said: {refused}"
            )

    def _whole(self, session: ClientSession | None) -> bool:
        """Do all writes; return whether each found what was read."""
        parts = [self._insert, self._delete]
        if self._within:
            parts.reverse()  # a unique index would see both
        return all(part(session) for part in (*parts, self._update, self._follow))

    def _insert(self, session: ClientSession | None) -> bool:
        coming: list[Statement] = [
            InsertOne[Any](RawBSONDocument(raw)) for raw in raw_items(self._load.items)
        ]
        if coming:
            self._writer.write(self._target, coming, session, ordered=False)
        return True

    def _delete(self, session: ClientSession | None) -> bool:
        going = [item.removed for item in self._load.items if item.removed is not None]
        if not going:
            return True
        statements: list[Statement] = [DeleteOne(exactly(raw)) for raw in going]
        if session is not None:
            statements = [DeleteMany({"_id": {"$in": [id_of(raw) for raw in going]}})]
        return self._writer.write(self._source, statements, session, ordered=False) == len(going)

    def _update(self, session: ClientSession | None) -> bool:
        rows = self._load.owners
        if not rows:
            return True
        fields = list(self._load.fields)
        statements = [
            UpdateOne(
                {"_id": row.identity}
                if session is not None
                else holding(row.identity, fields, row.before),
                put(row.before, row.after),
            )
            for row in rows
        ]
        return self._writer.write(self._source, statements, session, ordered=False) == len(rows)

    def _follow(self, session: ClientSession | None) -> bool:
        found = True
        for told, reference in self._following():
            written = reference.write(self._writer, told.rows, session)
            found = written == len(told.rows) and found
        return found

    def _following(self) -> list[tuple[Repointed, Reference]]:
        known = {(one.collection.name, one.path): one for one in self._transfer.references}
        return [(told, known[told.collection, told.path]) for told in self._load.references]

    # -- proof -------------------------------------------------------------------------------

    def _rests(self, session: ClientSession | None) -> dict[str, Digest]:
        """Return digests of all but what is touched, of each document that stays."""
        rows = {self._source.name: list(self._load.owners)}
        fields = {self._source.name: set(self._load.fields)}
        for told, _reference in self._following():
            rows.setdefault(told.collection, []).extend(told.rows)
            fields.setdefault(told.collection, set()).add(told.field)
        database = self._source.database
        return {
            name: Digest.of(
                raw_documents(
                    database,
                    name,
                    filter={"_id": {"$in": [row.identity for row in some]}},
                    projection=dict.fromkeys(fields[name], 0),
                    session=session,
                    comment=self._writer.comment,
                )
            )
            for name, some in rows.items()
            if some
        }

    def _planned(self) -> Digest:
        return Digest.of(raw_items(self._load.items))

    def _come(self, session: ClientSession | None) -> Digest:
        """Return the digest of what came, as it is there."""
        ids = [id_of(raw) for raw in raw_items(self._load.items)]
        if not ids:
            return Digest()
        return Digest.of(
            raw_documents(
                self._target.database,
                self._target.name,
                filter={"_id": {"$in": ids}},
                session=session,
                comment=self._writer.comment,
            )
        )
