"""Puts what was loaded in place of the present data: the one part of a restore that changes them.

Everything that could be refused was tried before. Each command is sent with the lease in hand, and
says where the server allows it which collection it means: by a name that holds the lease's token,
or by the collection's UUID. A process that slept and lost the lease thus finds nothing that it
could rename, drop or write to. Two commands can't be bound that way, the dropping of a view and of
a time series; there, the lease is looked at right before.
"""

from __future__ import annotations

from ..document.collections import STATE
from ..values.raw import raw_batches
from . import catalog, load
from .loading import Loader, Part, rename
from .names import SPECIAL

_DELETES = 1000  # a command


class Replacement:
    """What is replaced, and how far it is."""

    def __init__(self, loader: Loader, parts: list[Part]) -> None:
        self._loader = loader
        self._database = loader.database
        self._held = loader.held
        self._parts = parts
        self.done: list[str] = []

    @property
    def left(self) -> list[str]:
        """Return the names of what isn't replaced yet."""
        return [
            part.entry.name for part in self._parts if part.entry.name not in {*self.done, STATE}
        ]

    def run(self, removed: list[str]) -> None:
        """Remove the collections *removed*, and replace all but our own record."""
        for name in removed:
            self._remove(name)
        for part in self._parts:
            if part.renamed:
                self._rename(part)
                self.done.append(part.entry.name)
        for part in sorted(self._parts, key=lambda one: one.entry.type == "view"):
            if not part.renamed and part.entry.name != STATE:
                self._replace(part)
                self.done.append(part.entry.name)

    def _remove(self, name: str) -> None:
        if name in SPECIAL:
            self._exchange_documents(name, {})
        else:
            self._drop(name)

    def _drop(self, name: str) -> None:
        """Drop what *name* is now; what another process put there meanwhile stays."""
        found = catalog.read_one(self._database, name)
        if found is None:
            return
        uuid = self._loader.uuid_of(name) if found.type == "collection" else None
        self._held.check()
        load.drop(self._database, name, uuid)

    def _rename(self, part: Part) -> None:
        there = catalog.read_one(self._database, part.entry.name)
        if there is not None and there.type != "collection":
            self._drop(part.entry.name)  # can't be renamed over
        sent = False

        def put() -> None:
            nonlocal sent
            self._held.check()
            # It was done before, if a majority was slow or the primary lost: see that it stays so.
            if sent and catalog.read_one(self._database, part.loading) is None:
                self._loader.confirm()
                return
            sent = True
            rename(self._database, part.loading, part.entry.name)

        self._loader.retry_until_deadline(put)

    def _replace(self, part: Part) -> None:
        """Replace what can't be renamed: a view, a time series, `system.js`."""
        name = part.entry.name
        if name in SPECIAL:
            self._replace_documents(part)
            return
        self._drop(name)
        self._held.check()
        if part.entry.type == "view":
            load.create(self._database, name, part.options)
            return
        self._loader.fill(part, name)
        self._loader.await_majority()
        self._loader.compare(part, name)
        self._loader.index(part, name)

    def _replace_documents(self, part: Part) -> None:
        """Make a collection that can be neither dropped nor renamed equal to the backup."""
        name, wanted = part.entry.name, dict[bytes, bytes]()
        for batch in self._loader.source.batches(part.entry):
            wanted |= {_key(raw): raw for raw in batch}
        if catalog.read_one(self._database, name) is None:
            self._held.check()
            load.create(self._database, name, part.options)
        self._exchange_documents(name, wanted)
        self._loader.await_majority()
        self._loader.compare(part, name)
        self._held.check()
        load.build_indexes(self._database, name, part.options, part.indexes)

    def _exchange_documents(self, name: str, wanted: dict[bytes, bytes]) -> None:
        """Make the documents of *name* those in *wanted*, by their ``_id``; touch no other."""
        same, other = set[bytes](), list[bytes]()
        for batch in raw_batches(self._database, name):
            for raw in batch:
                if wanted.get(_key(raw)) == raw:
                    same.add(_key(raw))
                else:
                    other.append(raw)
        for start in range(0, len(other), _DELETES):
            self._held.check()
            deletes = [
                {"q": load.by_identity(raw), "limit": 1} for raw in other[start : start + _DELETES]
            ]
            self._database.command({"delete": name, "deletes": deletes, **load.PRIMARY_ALONE})
        missing = [raw for key, raw in wanted.items() if key not in same]
        if missing:
            self._held.check()
            load.insert(self._database, name, [missing], loaded=lambda count: None)


def _key(raw: bytes) -> bytes:
    found = load.identity(raw)
    return bytes([found.kind]) + raw[found.start : found.stop]
