"""Loads a backup beside the present data, where nobody looks, and proves that it is all there.

What takes the place of the present data by a rename is loaded for good. What can't be renamed
(views, time series, ``system.js``, our own record) is loaded all the same, as a rehearsal: whatever
the server refuses of it, it refuses now, and not when half of the database is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Lock as Mutex
from typing import Any

from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError

from ..document.collections import STATE
from ..errors import ArchiveError, MigrationError
from ..ledger.lease import Lease
from ..ledger.runs import MAJORITY
from ..server import obstacles
from ..server.connection import Server
from ..support import retry
from ..support.progress import Meter, Sink
from ..support.stop import StopSignal
from . import catalog, compare, load, specs
from .expiry import Expiry
from .manifest import Collection
from .names import LOADING, SPECIAL
from .source import Source

# Collections at a time. The server works on each command with one core.
_LANES = 2
# A view in the present database may have another collation; the backup's own fit each other.
_OTHER_COLLATION = 167


@dataclass(frozen=True, kw_only=True)
class Part:
    """A collection of the backup and the name under which it is loaded."""

    entry: Collection
    expected: catalog.Found
    options: dict[str, Any]
    indexes: list[dict[str, Any]]
    loading: str

    @property
    def renamed(self) -> bool:
        """Whether what was loaded takes its place by a rename."""
        return self.entry.type == "collection" and self.entry.name not in {STATE, *SPECIAL}

    def stored_as(self, name: str) -> str:
        """Return the collection that holds the documents if this is called *name*."""
        stored = catalog.Found(
            name=name, type=self.entry.type, uuid=None, definition=self.expected.definition
        ).stored_in
        if stored is None:
            raise AssertionError("it was stored before it is asked for")
        return stored


class Loader:
    """One restore up to the moment when the present data are replaced."""

    def __init__(
        self,
        database: Database[dict[str, Any]],
        source: Source,
        server: Server,
        held: Lease,
        *,
        now: datetime,
        progress: Sink,
        patience: retry.Patience,
    ) -> None:
        self.database = database
        self.source = source
        self.server = server
        self.held = held
        self.progress = progress
        self.warnings: list[str] = []
        self.counted = 0
        self._now = now
        self._patience = patience
        self._meter = self._phase("load")
        self._telling = Mutex()  # several collections are at work
        self._given_up = False

    def load(self) -> list[Part]:
        """Load, compare and index everything beside the present data; return it.

        The names hold the lease's token: what a process does that lost its lease reaches none of
        the collections of the one that has it.
        """
        parts = self._parts()
        filled = [part for part in parts if part.entry.type != "view"]
        self.warnings.clear()
        self.remove_leftovers()
        self._meter = self._phase("load")
        self._rehearse_renaming()
        for part in parts:
            if part.entry.type == "view":
                self._rehearse_view(part)
        self._each(filled, lambda part: self.fill(part, part.loading))
        # Read back before indexes are built, so that a TTL index can't remove any of it.
        self.await_majority()
        self._meter = self._phase("compare")
        self._each(filled, lambda part: self.compare(part, part.loading))
        self._each(filled, lambda part: self.index(part, part.loading))
        self.await_majority()
        return parts

    @contextmanager
    def undone_on_failure(self) -> Iterator[None]:
        """Take away at a failure what was put beside the present data, which weren't touched."""
        try:
            yield
        except BaseException:
            # If the server can't be reached now, the next restore does it.
            with suppress(PyMongoError, MigrationError):
                self.remove_leftovers()
            raise

    def fill(self, part: Part, name: str) -> None:
        """Make the collection *name* and load the documents of *part* into what stores them."""
        self.held.check()
        load.create(self.database, name, part.options)
        stored = part.stored_as(name)
        expiry = Expiry(part.entry, self._now)
        digest = load.insert(
            self.database,
            stored,
            expiry.watch(self.source.batches(part.entry)),
            loaded=self._count(part),
            uuid=self.uuid_of(stored),
        )
        if part.entry.digest is None:  # an archive of an older format
            part.entry.digest = digest.hexdigest()
        compare.require(part.entry, digest, "in the archive")
        self._warn(expiry.warning)

    def compare(self, part: Part, name: str) -> None:
        """Read back what was loaded."""
        self.held.check()
        digest = load.digest_of(self.database, part.stored_as(name), read=self._count(part))
        self._warn(compare.require_loaded(self.source, part.entry, digest))

    def index(self, part: Part, name: str) -> None:
        """Build the indexes, and compare them and the options with the backup's."""
        self.held.check()
        with self._telling:
            self.progress({"phase": "index", "done": 0, "total": 0, "detail": part.entry.name})
        load.build_indexes(self.database, name, part.options, part.indexes)
        load.let_expire(self.database, name, part.options)
        self.compare_definition(part, name)

    def compare_definition(self, part: Part, name: str) -> None:
        """Require that options and indexes are the backup's."""
        found = catalog.read_one(self.database, name)
        problems = load.differences(found, part.expected) if found else ["it is missing"]
        if not problems:
            return
        text = f"{part.entry.name}: {'; '.join(problems)}"
        theirs = self.source.manifest.server.get("version", "").split(".")[:2]
        if theirs != self.server.version.split(".")[:2]:
            self._warn(f"{text} (backup of another server version)")
            return
        raise ArchiveError(f"The restored collection isn't what it was: {text}.", problems=problems)

    def uuid_of(self, name: str) -> Any:
        """Return the UUID that binds a command to what *name* is now, where servers know of it."""
        if int(self.server.version.split(".")[0]) < _UUIDS_SINCE:
            return None
        return catalog.uuid_of(self.database, name)

    def await_majority(self) -> None:
        """Wait until a majority has what was loaded: reads at that level then see all of it."""
        if self.server.topology != "standalone":
            self.retry_until_deadline(self.confirm)

    def confirm(self) -> None:
        """Ask a majority once whether it has all that was done before."""
        # A majority is waited for only by what changes something.
        name = f"{loading_prefix(self.held)}majority"
        self.database[name].with_options(write_concern=MAJORITY).insert_one({})

    def retry_until_deadline(self, attempt: Callable[[], object]) -> None:
        """Do *attempt*, which may be done twice, again while a majority or a primary is missing."""
        self._patience.retry(
            attempt,
            otherwise="When that is settled, run the same command again.",
            obstacle=obstacles.namer(self.database.client),
        )

    def remove_leftovers(self) -> None:
        """Remove what this restore loaded, and what earlier ones left; never a later one's.

        Raises:
            LeaseLostError: the lease is lost, and it is for the new holder to do so.
        """
        for name in catalog.leftovers(self.database):
            token, dot, _rest = name.removeprefix(LOADING).partition(".")
            if dot and token.isdecimal() and int(token) > self.held.token:
                continue
            self.held.check()
            load.drop(self.database, name)

    def never_stop(self) -> None:
        """From here on, only going on to the end is safe."""
        self._patience = replace(self._patience, stop=StopSignal())

    def _warn(self, text: str | None) -> None:
        if text and text not in self.warnings:
            self.warnings.append(text)

    def _parts(self) -> list[Part]:
        parts = []
        for number, entry in enumerate(self.source.manifest.collections):
            options, indexes = specs.restorable(*entry.exact())
            expected = catalog.Found(
                name=entry.name,
                type=entry.type,
                uuid=entry.uuid,
                definition=catalog.define(options, indexes),
            )
            parts.append(
                Part(
                    entry=entry,
                    expected=expected,
                    options=options,
                    indexes=indexes,
                    loading=f"{loading_prefix(self.held)}{number}",
                )
            )
        return parts

    def _rehearse_renaming(self) -> None:
        """Rename one empty collection over another, as it is done later with full ones."""
        prefix = loading_prefix(self.held)
        for name in ("new", "old"):
            load.create(self.database, f"{prefix}{name}", {})
        rename(self.database, f"{prefix}new", f"{prefix}old")
        load.drop(self.database, f"{prefix}old")

    def _rehearse_view(self, part: Part) -> None:
        self.held.check()
        try:
            load.create(self.database, part.loading, part.options)
        except OperationFailure as error:
            if error.code != _OTHER_COLLATION:
                raise
        else:
            self.compare_definition(part, part.loading)

    def _each(self, parts: Sequence[Part], work: Callable[[Part], None]) -> None:
        """Do *work* with each of *parts*, a few at a time, the largest first."""
        with ThreadPoolExecutor(_LANES, thread_name_prefix="restore") as lanes:
            running = [
                lanes.submit(work, part)
                for part in sorted(parts, key=lambda one: one.entry.size, reverse=True)
            ]
            try:
                ended = wait(running, return_when=FIRST_EXCEPTION).done
            finally:
                self._given_up = True  # what is still at work, if one has failed
                for one in running:
                    one.cancel()
        self._given_up = False
        for one in ended:
            one.result()

    def _count(self, part: Part) -> Callable[[int], None]:
        """Return what counts documents of *part* in the current phase."""
        meter = self._meter

        def count(documents: int) -> None:
            self._patience.stop.check()
            self.held.check()
            with self._telling:
                if self._given_up:
                    raise ArchiveError("Another collection failed.")  # which is told instead
                self.counted += documents
                meter.advance(documents, detail=part.entry.name)

        return count

    def _phase(self, name: str) -> Meter:
        return Meter(self.progress, phase=name, total=self.source.manifest.documents)


_UUIDS_SINCE = 6  # the version whose commands take the UUID of their collection


def loading_prefix(held: Lease) -> str:
    """Return how the names begin of what is loaded under the lease *held*."""
    return f"{LOADING}{held.token}."


def rename(database: Database[dict[str, Any]], name: str, over: str) -> None:
    """Put the collection *name* in place of the one called *over*, in one step of the server."""
    database.client.admin.command(
        {
            "renameCollection": f"{database.name}.{name}",
            "to": f"{database.name}.{over}",
            "dropTarget": True,
            "writeConcern": MAJORITY.document,
        }
    )
