"""Writes outside a transaction, which the server itself refuses once their lease is over.

In a transaction, the checkpoint undoes what a process writes that slept and lost its lease. Without
one (on a standalone server, or where the journal is settled) each statement carries its own proof,
checked by the server when it begins the command, however long that lay in a buffer:

- an update or a deletion matches only while the server's clock is before the end of the lease, and
  nobody may take the lease before that;
- an insertion is made from the lease's own document, which isn't found once another one took it.

They run in the lease's session, so that whoever takes an expired lease also ends those that are
still at work. What remains: a statement that began in time, and goes on for the moment that the
server needs to end it; and a server whose clock is set back by more than the lease is old.
"""

from __future__ import annotations

import copy
import datetime
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from bson import ObjectId
from pymongo import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect, DuplicateKeyError, OperationFailure

from ..document.collections import STATE
from ..support import listing
from .lease import LEASE_ID, Lease

Document = dict[str, Any]
Change = UpdateOne | UpdateMany | ReplaceOne[Any] | DeleteOne | DeleteMany
Statement = Change | InsertOne[Any]


# Location51183: $merge compares _ids by another collation than the collection does.
_NO_INDEX_OF_THAT_ORDER = 51183


class UncertainWriteError(AutoReconnect):
    """The lease ran out around a write: the server may have refused a part of it.

    For the retries it is a lost connection: what the database says is read, and work goes on there.
    """


class Fence:
    """Writes while a lease is held, and not after it.

    Args:
        lease: held.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def write(
        self, collection: Collection[Document], statements: Sequence[Statement], **options: Any
    ) -> int:
        """Do *statements*, insertions first; return how many documents they matched or made.

        Args:
            collection: to write to.
            statements: of which none may depend on another.
            options: of ``bulk_write``.

        Raises:
            LeaseLostError: another process has the lease.
            UncertainWriteError: it ran out meanwhile, and nobody took it.
            OperationFailure: the server refused something.
        """
        documents = [one._doc for one in statements if isinstance(one, InsertOne)]
        changes = [one for one in statements if not isinstance(one, InsertOne)]
        count = self._insert(collection, documents, options) if documents else 0
        if not changes:
            return count
        deadline = self._lease.deadline()
        in_time = {"$expr": {"$lt": ["$$NOW", deadline]}}
        result = collection.bulk_write(
            [_narrowed(one, in_time) for one in changes], session=self._session, **options
        )
        self._prove_before(deadline)
        return count + result.matched_count + result.deleted_count

    def insert(self, collection: Collection[Document], document: Document) -> None:
        """Insert one document.

        Raises:
            DuplicateKeyError: it exists.
            LeaseLostError, UncertainWriteError: as :meth:`write`.
        """
        self._merge(collection, [{"_id": ObjectId(), **document}], {})

    def _insert(
        self, collection: Collection[Document], documents: list[Document], options: Document
    ) -> int:
        some = [one for one in documents if one["_id"] is not None]
        more = {key: value for key, value in options.items() if key != "ordered"}
        try:
            if some:
                self._merge(collection, some, options)
            for one in documents:
                if one["_id"] is None:  # that stage takes every _id but this one
                    self._lease.check()
                    collection.insert_one(one, session=self._session, **more)
        except DuplicateKeyError as error:
            if len(documents) > 1 and not options.get("ordered", True):
                self._one_by_one(collection, documents, options)
            # Of data: for the caller, one of the journal means something else.
            raise OperationFailure(str(error), error.code, dict(error.details or {})) from error
        return len(documents)

    def _one_by_one(
        self, collection: Collection[Document], documents: list[Document], options: Document
    ) -> None:
        """Insert all that isn't there and that no index refuses."""
        for one in documents:
            with suppress(OperationFailure):
                self._insert(collection, [one], options)

    def _merge(
        self, collection: Collection[Document], documents: list[Document], options: Document
    ) -> None:
        stages: list[Mapping[str, Any]] = [
            {"$match": {"_id": LEASE_ID, "token": self._lease.token}},
            {"$project": {"documents": {"$literal": documents}}},
            {"$unwind": "$documents"},
            {"$replaceWith": "$documents"},
            {"$merge": {"into": collection.name, "on": "_id", "whenMatched": "fail"}},
        ]
        more: dict[str, Any] = {}
        if "comment" in options:
            more["comment"] = options["comment"]
        if options.get("bypass_document_validation"):
            more["bypassDocumentValidation"] = True
        state = collection.database[STATE].with_options(write_concern=collection.write_concern)
        try:
            state.aggregate(stages, session=self._session, **more)
        except OperationFailure as error:
            collation = _collation(collection) if error.code == _NO_INDEX_OF_THAT_ORDER else None
            if not collation:
                raise
            state.aggregate(stages, session=self._session, collation=collation, **more)
        self._lease.refuse_if_taken()

    @property
    def _session(self) -> ClientSession | None:
        """The lease's, which ends with it; none beside a transaction that is open in it."""
        return None if self._lease.session.in_transaction else self._lease.session

    def _prove_before(self, deadline: datetime.datetime) -> None:
        """Make sure that the server has looked at its clock before *deadline*."""
        now = self._lease.server_now()
        if now < deadline:
            return
        self._lease.check()
        raise UncertainWriteError("the lease ran out during a write; reading what was written")


def _collation(collection: Collection[Document]) -> Mapping[str, Any] | None:
    """Return the collation by which the collection, and its index of _id, tells texts apart."""
    collation: Mapping[str, Any] | None = listing.options_of(collection).get("collation")
    return collation


def _narrowed(statement: Change, condition: Mapping[str, Any]) -> Change:
    """Return *statement* for documents for which *condition* holds, too."""
    narrowed = copy.copy(statement)
    narrowed._filter = {"$and": [statement._filter, condition]}
    return narrowed
