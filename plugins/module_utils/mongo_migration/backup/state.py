"""The database's own record ``_migrations`` in a restore: put back without losing the present.

Its documents about the present (who holds the lease, whether maintenance mode is on, what is being
restored) stay; all others become those of the backup, in one step that only the holder of the lease
can do: a transaction that proves the lease, or, without transactions, a rename of what was made
under a name that holds the lease's token.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import OperationFailure

from ..document.collections import STATE
from ..errors import ArchiveError
from ..ledger import partial_restore, transaction
from ..ledger.lease import LEASE_ID
from ..ledger.runs import MAJORITY
from ..values.raw import raw_batches
from . import catalog, load
from .loading import Loader, Part, loading_prefix, rename

# Documents of `_migrations` that describe the present, not the data.
PRESENT = frozenset({LEASE_ID, "maintenance", partial_restore.MARK})
# A scratch database has no maintenance mode.
_SCRATCH = PRESENT - {"maintenance"}
_STRING = 0x02


class State:
    """The record of one database that is being restored."""

    def __init__(self, loader: Loader, parts: list[Part], *, keep_present: bool) -> None:
        self._loader = loader
        self._database: Database[dict[str, Any]] = loader.database
        self._held = loader.held
        self._keep = PRESENT if keep_present else _SCRATCH
        self._part = next((part for part in parts if part.entry.name == STATE), None)
        self._transactions = loader.server.transactions

    def rehearse(self) -> None:
        """Find now whether the backup's records fit the indexes that the present ones have.

        Raises:
            ArchiveError: they don't.
        """
        present = catalog.read_one(self._database, STATE)
        if present is None or self._part is None:
            return
        built = {index["name"] for index in self._part.indexes}
        more = [index for index in present.indexes if index["name"] not in built]
        try:
            load.build_indexes(self._database, self._part.loading, {}, more)
        except OperationFailure as error:
            raise ArchiveError(
                f"The records in the backup don't fit an index of {STATE}: {error}. Nothing was "
                "replaced.",
                collection=STATE,
            ) from error

    def mark(self, document: dict[str, Any]) -> None:
        """Note in the database that the restore is incomplete, for whoever looks after a crash."""
        whole = {"kind": "restore", "token": self._held.token, **document}
        mine = {"_id": partial_restore.MARK}
        if self._transactions:
            self._write(
                lambda session: self._plain().replace_one(mine, whole, upsert=True, session=session)
            )
            return
        # Without transactions, one command reads the lease and writes the mark.
        self._held.check()
        self._plain().aggregate(
            [
                {"$match": {"_id": LEASE_ID, "token": self._held.token}},
                {"$replaceWith": {"$literal": {**mine, **whole}}},
                {"$merge": {"into": STATE, "on": "_id", "whenMatched": "replace"}},
            ]
        )
        if self._plain().find_one({**mine, "token": self._held.token}, {"_id": 1}) is None:
            raise self._lost()

    def unmark(self) -> None:
        """Say that it is whole again."""
        mine = {"_id": partial_restore.MARK, "token": self._held.token}
        if self._transactions:
            self._write(lambda session: self._plain().delete_one(mine, session=session))
            return
        self._held.check()
        if not self._state().delete_one(mine).deleted_count:
            raise self._lost()

    def _lost(self) -> ArchiveError:
        self._held.check()  # which says it better
        return ArchiveError("the record of it isn't there: another process has the lease")

    def replace(self) -> None:
        """Make the record what it was, but for the documents about the present."""
        if self._transactions:
            self._write(self._exchange)
        else:
            self._rename()
        if self._part is not None:
            present = catalog.read_one(self._database, STATE)
            there = {index["name"] for index in present.indexes} if present else set()
            missing = [one for one in self._part.indexes if one["name"] not in there]
            self._held.check()
            load.build_indexes(self._database, STATE, self._part.options, missing)

    def _exchange(self, session: ClientSession) -> None:
        self._plain().delete_many({"_id": {"$nin": sorted(self._keep)}}, session=session)
        load.insert(
            self._database, STATE, self._documents(), loaded=lambda count: None, session=session
        )

    def _rename(self) -> None:
        if self._part is None:
            name = f"{loading_prefix(self._held)}state"
            load.create(self._database, name, {})
        else:
            name = self._part.loading
        kept = {"_id": {"$in": sorted(self._keep)}}
        self._database[name].delete_many(kept)
        present = raw_batches(self._database, STATE, filter=kept)
        load.insert(self._database, name, present, loaded=lambda count: None)
        self._held.check()
        rename(self._database, name, STATE)

    def _documents(self) -> Iterator[list[bytes]]:
        if self._part is None:
            return
        for batch in self._loader.source.batches(self._part.entry):
            kept = [raw for raw in batch if not self._is_kept(raw)]
            if kept:
                yield kept

    def _is_kept(self, raw: bytes) -> bool:
        found = load.identity(raw)
        text = raw[found.start + 4 : found.stop - 1]
        return found.kind == _STRING and text in {name.encode() for name in self._keep}

    def _write(self, body: Any) -> None:
        """Do *body* in a transaction that stands only if the lease is still ours."""

        def proved(session: ClientSession) -> None:
            self._held.prove(session)
            body(session)

        self._loader.retry_until_deadline(
            lambda: transaction.run(self._held.session, proved, self._held.check)
        )

    def _plain(self) -> Any:
        return self._database[STATE]

    def _state(self) -> Any:
        return self._database[STATE].with_options(write_concern=MAJORITY)
