"""Makes a database equal to a backup, all of it or nothing.

Everything is loaded next to the present data first, under names that nobody uses, indexed, and
compared with the manifest. Only then are the collections renamed over the present ones, each in
one step of the server. Until then, a failure of any kind leaves the database as it was. The
renames take a moment; a failure among them is told, and the same command again completes them.

Two kinds can't be renamed by the server: views, which hold no data, and time series. Time series
are replaced last, one by one; the safety backup is their way back.

The database's own record ``_migrations`` is restored as the last thing, in one transaction. Its
documents about the present (who holds the lease, whether maintenance mode is on) are kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Lock as Mutex
from typing import Any, Protocol

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.write_concern import WriteConcern

from .. import connection
from ..connection import Server
from ..document.collections import STATE
from ..errors import ArchiveError, MigrationError
from ..ledger import partial_restore
from ..support import retry
from ..support.progress import Meter, Sink
from ..support.stop import StopSignal
from ..values.digest import Digest
from . import catalog, create, load, losses
from .crypt import Lock
from .manifest import Collection, Manifest
from .store import Retention

# Documents of `_migrations` that describe the present, not the data.
PRESENT = frozenset({"lease", "maintenance", partial_restore.MARK})
# Collections at a time. The server works on each command with one core.
_LANES = 2
_SAFETY_FOLDER = "before-restore"
_SAFETY_KEPT = 5


class Source(Protocol):
    """Where the documents come from: an archive, or a folder that mongodump made."""

    manifest: Manifest
    path: Path

    def batches(self, collection: Collection) -> Iterator[list[bytes]]:
        """Yield the documents of *collection* in lists."""

    def check(self, progress: Sink, *, loading: frozenset[str] = frozenset()) -> None:
        """Raise an ArchiveError if anything of it is damaged.

        Args:
            progress: told how far it is.
            loading: collections whose content needn't be looked at, only its bytes: the caller
                compares it when it is loaded, before anything is replaced.
        """


class Held(Protocol):
    """A lease that is held."""

    def check(self) -> None:
        """Raise an error if it is lost."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to restore where."""

    database: str
    source_database: str
    confirm: str | None = None
    safety_folder: Path | None = None
    safety_lock: Lock = field(default_factory=Lock)  # how the safety backup is encrypted
    check_space: bool = True
    keep_state: bool = True  # False for a scratch database, which has no present to keep
    keep: frozenset[str] = frozenset()  # leftovers that are none
    retry_seconds: float = 300  # without any progress, as when there is no primary


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A collection of the backup and the name under which it is loaded."""

    entry: Collection
    expected: catalog.Found
    loading: str


def plan(client: MongoClient[dict[str, Any]], source: Source, settings: Settings) -> dict[str, Any]:
    """Return what a restore would replace, make, remove and lose; nothing is written."""
    _check_origin(source.manifest, settings)
    database = client[settings.database]
    present = {one.name: one for one in catalog.read(database)}
    counts = catalog.sizes(database, list(present.values()))
    backup = {one.name: one for one in source.manifest.collections}
    collections = [
        {
            "collection": name,
            "action": _action(name, present, backup),
            "documents_now": counts.get(name, (0, 0))[0],
            "documents_in_backup": backup[name].count if name in backup else 0,
        }
        for name in sorted(present.keys() | backup.keys())
    ]
    return {
        "archive": str(source.path),
        "database": settings.database,
        "source_database": source.manifest.database,
        "snapshot_time": source.manifest.snapshot_time or source.manifest.started,
        "consistent": source.manifest.consistent,
        "collections": collections,
        "removed": [one["collection"] for one in collections if one["action"] == "remove"],
        "documents": source.manifest.documents,
        "bytes": source.manifest.size,
        "lost": losses.since(database, source.manifest, collections),
        "confirmed": settings.confirm == settings.database,
    }


def restore(
    client: MongoClient[dict[str, Any]],
    source: Source,
    settings: Settings,
    *,
    hold: Callable[[Database[dict[str, Any]]], AbstractContextManager[Held]],
    progress: Sink,
    stop: StopSignal | None = None,
    now: Callable[[], datetime] = create.utc_now,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Make ``settings.database`` equal to the backup and return what was done.

    Args:
        client: connected to the deployment.
        source: the backup.
        settings: what to restore where.
        hold: takes the lease of a database for the time of a ``with`` block.
        progress: told of each batch.
        stop: asks for the end; not heeded any more once the present data are being replaced.
        now: the time of day.
        clock: seconds, for the time it took.

    Raises:
        ArchiveError: the backup is damaged or of another database, the confirmation is missing,
            space is short, or the result isn't equal. The message says what state the data is in.
    """
    began = clock()
    asked = stop or StopSignal()
    server = connection.inspect(client)
    database = client[settings.database]
    expected = plan(client, source, settings)
    if server.topology == "sharded":
        raise ArchiveError(
            "Restoring into a sharded cluster isn't supported: collections would come back "
            "unsharded. Restore into a replica set, or use mongorestore on the unpacked archive."
        )
    _check_confirmation(expected, settings)
    source.check(
        progress,
        loading=frozenset(
            one.name for one in source.manifest.collections if _is_loaded_beside(one)
        ),
    )
    if settings.check_space:
        _check_space(database, source.manifest)

    with hold(database) as held:
        safety = _safety_backup(client, settings, expected, progress=progress, now=now)
        work = _Work(
            database,
            source,
            server,
            held,
            keep=settings.keep,
            progress=progress,
            check_stop=asked.check,
        )
        # Begun anew where the primary is lost: nothing is replaced yet.
        parts = retry.persist(
            work.load,
            progressed=lambda: work.counted,
            recover=lambda: None,
            seconds=settings.retry_seconds,
            stop=asked,
            waiting=lambda reason: progress({"phase": "load", "waiting": reason}),
            otherwise="The database is as it was. When the replica set has a primary again, run "
            "the same command: it begins anew.",
        )
        work.swap(parts, expected["removed"], settings)
    return {
        "archive": str(source.path),
        "database": settings.database,
        "snapshot_time": expected["snapshot_time"],
        "collections": len(source.manifest.collections),
        "documents": source.manifest.documents,
        "bytes": source.manifest.size,
        "removed": expected["removed"],
        "lost": expected["lost"],
        "safety_backup": safety,
        "verified": True,
        "warnings": work.warnings,
        "elapsed": round(clock() - began, 3),
    }


class _Work:
    """One restore under way."""

    def __init__(
        self,
        database: Database[dict[str, Any]],
        source: Source,
        server: Server,
        held: Held,
        *,
        keep: frozenset[str],
        progress: Sink,
        check_stop: Callable[[], None],
    ) -> None:
        self._database = database
        self._keep = keep
        self._source = source
        self._server = server
        self._held = held
        self._progress = progress
        self._check_stop = check_stop
        self._meter = self._phase("load")
        self._telling = Mutex()  # several collections are at work
        self.counted = 0
        self._given_up = False
        self._state = database[STATE].with_options(write_concern=WriteConcern("majority"))
        self.warnings: list[str] = []

    def load(self) -> list[_Part]:
        """Load, compare and index everything that can be renamed, beside the present data."""
        parts = [
            _Part(
                entry=entry,
                expected=_expected(entry),
                loading=f"{catalog.LOADING}{number}",
            )
            for number, entry in enumerate(self._source.manifest.collections)
            if entry.name != STATE
        ]
        beside = [part for part in parts if _is_loaded_beside(part.entry)]
        _remove_leftovers(self._database, self._keep)
        self._meter = self._phase("load")
        try:
            self._each(beside, lambda part: self._fill(part, part.loading))
            # Read back before indexes are built, so that a TTL index can't remove any of it.
            self._await_majority()
            self._meter = self._phase("compare")
            self._each(beside, lambda part: self._compare_digest(part, part.loading))
            self._each(beside, lambda part: self._index(part, part.loading))
        except BaseException:
            # The present data were not touched; take away what was put beside them. If the server
            # can't be reached now, the next restore does it.
            with suppress(PyMongoError):
                _remove_leftovers(self._database, self._keep)
                # What an earlier restore left half replaced is so still.
                self._state.delete_one(
                    {"_id": partial_restore.MARK, "phase": {"$ne": partial_restore.REPLACING}}
                )
            raise
        return parts

    def swap(self, parts: list[_Part], removed: list[str], settings: Settings) -> None:
        """Put the loaded collections in place of the present ones, and remove the others."""
        self._held.check()
        self._check_stop()
        self._check_stop = lambda: None  # from here on, only going on to the end is safe
        done: list[str] = []
        try:
            self._mark(
                {
                    "phase": partial_restore.REPLACING,
                    "archive": str(self._source.path.absolute()),
                    "source": self._source.manifest.database,
                }
            )
            self._remove(removed)
            for part in parts:
                self._held.check()
                if part.entry.type == "collection":
                    self._rename(part)
                    done.append(part.entry.name)
            for part in sorted(parts, key=lambda one: one.entry.type == "view"):
                if part.entry.type != "collection":
                    self._replace(part)
                    done.append(part.entry.name)
            self._restore_state(settings)
            self._mark(None)
        except (PyMongoError, MigrationError) as error:
            left = [part.entry.name for part in parts if part.entry.name not in done]
            raise ArchiveError(
                f"The restore of '{self._database.name}' stopped while collections were being "
                f"replaced: {error}. Replaced: {', '.join(done) or 'none'}. Not yet: "
                f"{', '.join(left) or 'none'}. The database is a mixture now: run the same "
                "command again, it begins anew and completes.",
                replaced=done,
                remaining=left,
            ) from error

    def _each(self, parts: Sequence[_Part], work: Callable[[_Part], None]) -> None:
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

    def _fill(self, part: _Part, name: str) -> None:
        """Make the collection *name* and load the documents of *part* into what stores them."""
        self._held.check()
        load.create(self._database, name, part.expected.options)
        stored = name if part.entry.type == "collection" else part.expected.stored_in
        assert stored is not None
        digest = load.insert(
            self._database,
            stored,
            self._source.batches(part.entry),
            loaded=self._count(part),
        )
        if part.entry.digest is None:  # an archive of an older format
            part.entry.digest = digest.hexdigest()
        _compare(part.entry, digest, "in the archive")

    def _compare_digest(self, part: _Part, name: str) -> None:
        """Read back what was loaded."""
        self._held.check()
        digest = load.digest_of(self._database, name, read=self._count(part))
        _compare(part.entry, digest, "in the database")

    def _index(self, part: _Part, name: str) -> None:
        self._held.check()
        options, indexes = part.entry.exact()
        with self._telling:
            self._progress({"phase": "index", "done": 0, "total": 0, "detail": part.entry.name})
        load.build_indexes(self._database, name, options, indexes)
        found = catalog.read_one(self._database, name)
        problems = load.differences(found, part.expected) if found else ["it is missing"]
        if not problems:
            return
        text = f"{part.entry.name}: {'; '.join(problems)}"
        if (
            self._source.manifest.server.get("version", "").split(".")[:2]
            != (self._server.version.split(".")[:2])
        ):
            self.warnings.append(f"{text} (backup of another server version)")
            return
        raise ArchiveError(f"The restored collection isn't what it was: {text}.", problems=problems)

    def _rename(self, part: _Part) -> None:
        """Put a loaded collection in place of the present one, in one step of the server."""
        there = catalog.read_one(self._database, part.entry.name)
        if there is not None and there.type != "collection":
            self._database.drop_collection(part.entry.name)  # can't be renamed over
        self._database.client.admin.command(
            {
                "renameCollection": f"{self._database.name}.{part.loading}",
                "to": f"{self._database.name}.{part.entry.name}",
                "dropTarget": True,
                "writeConcern": {"w": "majority"},
            }
        )

    def _replace(self, part: _Part) -> None:
        """Replace a view or a time series, which can't be renamed."""
        self._held.check()
        self._database.drop_collection(part.entry.name)
        if part.entry.type == "view":
            load.create(self._database, part.entry.name, part.expected.options)
            return
        self._fill(part, part.entry.name)
        stored = part.expected.stored_in
        assert stored is not None
        self._await_majority()
        digest = load.digest_of(self._database, stored, read=lambda count: None)
        _compare(part.entry, digest, "in the database")
        self._index(part, part.entry.name)

    def _remove(self, names: list[str]) -> None:
        for name in names:
            self._held.check()
            self._database.drop_collection(name)

    def _restore_state(self, settings: Settings) -> None:
        """Make `_migrations` what it was, but for the documents about the present."""
        entry = next((one for one in self._source.manifest.collections if one.name == STATE), None)
        keep = PRESENT if settings.keep_state else frozenset({"lease", "restore"})
        documents = [
            RawBSONDocument(raw)
            for batch in (self._source.batches(entry) if entry else ())
            for raw in batch
            if bson.decode(raw)["_id"] not in keep
        ]
        collection = self._database[STATE].with_options(write_concern=WriteConcern("majority"))
        condition = {"_id": {"$nin": sorted(keep)}}
        self._held.check()
        if self._server.transactions:
            with (
                self._database.client.start_session() as session,
                session.start_transaction(write_concern=WriteConcern("majority")),
            ):
                collection.delete_many(condition, session=session)
                if documents:
                    collection.insert_many(documents, session=session)
        else:
            collection.delete_many(condition)
            if documents:
                collection.insert_many(documents)
        if entry is not None:
            options, indexes = entry.exact()
            load.build_indexes(self._database, STATE, options, indexes)

    def _mark(self, state: dict[str, Any] | None) -> None:
        """Keep in the database that it is a mixture now, for whoever looks after a crash."""
        if state is None:
            self._state.delete_one({"_id": partial_restore.MARK})
        else:
            self._state.replace_one(
                {"_id": partial_restore.MARK}, {"kind": "restore", **state}, upsert=True
            )

    def _await_majority(self) -> None:
        """Wait until a majority has what was loaded: reads at that level then see all of it."""
        if self._server.topology != "standalone":
            self._state.update_one(
                {"_id": partial_restore.MARK},
                {
                    "$setOnInsert": {"kind": "restore", "phase": "loading"},
                    "$inc": {
                        "waited": 1
                    },  # a majority is waited for only by what changes something
                },
                upsert=True,
            )

    def _count(self, part: _Part) -> Callable[[int], None]:
        """Return what counts documents of *part* in the current phase."""
        meter = self._meter

        def count(documents: int) -> None:
            self._check_stop()
            with self._telling:
                if self._given_up:
                    raise ArchiveError("Another collection failed.")  # which is told instead
                self.counted += documents
                meter.advance(documents, detail=part.entry.name)

        return count

    def _phase(self, name: str) -> Meter:
        return Meter(self._progress, phase=name, total=self._source.manifest.documents)


def _is_loaded_beside(entry: Collection) -> bool:
    return entry.type == "collection" and entry.name != STATE


def _expected(entry: Collection) -> catalog.Found:
    options, indexes = entry.exact()
    return catalog.Found(
        name=entry.name, type=entry.type, uuid=entry.uuid, options=options, indexes=indexes
    )


def _compare(entry: Collection, digest: Digest, where: str) -> None:
    if digest != Digest.parse(entry.digest or "0", entry.count):
        raise ArchiveError(
            f"{entry.name} has {digest.count} documents with digest {digest.hexdigest()} {where}; "
            f"the backup's manifest says {entry.count} with {entry.digest}.",
            collection=entry.name,
        )


def _action(name: str, present: dict[str, Any], backup: dict[str, Any]) -> str:
    if name not in backup:
        # The database's own record stays, because the lease is in it; only its runs go.
        return "empty" if name == STATE else "remove"
    return "replace" if name in present else "create"


def _check_origin(manifest: Manifest, settings: Settings) -> None:
    if manifest.database != settings.source_database:
        raise ArchiveError(
            f"The backup is of the database '{manifest.database}', not of "
            f"'{settings.source_database}'. To restore it nevertheless, say so: "
            f"source_database: {manifest.database}.",
            database=manifest.database,
        )


def _check_confirmation(expected: dict[str, Any], settings: Settings) -> None:
    if settings.confirm == settings.database:
        return
    raise ArchiveError(
        f"A restore replaces everything in '{settings.database}' by its state of "
        f"{expected['snapshot_time']}. {losses.sentence(expected['lost'])} If that is what you "
        f"want, confirm it with the name of the database: confirm: {settings.database}.",
        plan=expected,
    )


def _check_space(database: Database[dict[str, Any]], manifest: Manifest) -> None:
    """Refuse if the server's disk can't hold the backup beside the present data."""
    try:
        stats = database.command("dbStats")
    except OperationFailure:
        return  # the role `backup` may not ask; the server itself stops before its disk is full
    free = stats.get("fsTotalSize", 0) - stats.get("fsUsedSize", 0)
    if stats.get("fsTotalSize") and free < manifest.size:
        raise ArchiveError(
            f"The restore loads {manifest.size >> 20:,} MiB beside the present data, and the "
            f"server's disk has {free >> 20:,} MiB free. Nothing was changed. Make room; or, if "
            "you know that it compresses well enough, set check_space: false.",
            free=free,
            needed=manifest.size,
        )


def _safety_backup(
    client: MongoClient[dict[str, Any]],
    settings: Settings,
    expected: dict[str, Any],
    *,
    progress: Sink,
    now: Callable[[], datetime],
) -> str | None:
    """Take a backup of what is about to be replaced, in a folder and with a link of its own."""
    there = [one for one in expected["collections"] if one["action"] != "create"]
    if settings.safety_folder is None or not there:
        return None
    result = create.back_up(
        client,
        settings.database,
        create.Settings(
            folder=settings.safety_folder / _SAFETY_FOLDER,
            retention=Retention(count=_SAFETY_KEPT),
            note={"before_restore_of": expected["archive"]},
            lock=settings.safety_lock,
        ),
        progress=progress,
        now=now,
    )
    return str(result["archive"])


def _remove_leftovers(
    database: Database[dict[str, Any]], keep: frozenset[str] = frozenset()
) -> None:
    for name in database.list_collection_names():
        if name.startswith(catalog.LOADING) and name not in keep:
            database.drop_collection(name)
