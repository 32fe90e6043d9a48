"""Makes a database equal to a backup, all of it or nothing.

Everything is loaded next to the present data first, under names that nobody uses, indexed, and
compared with the manifest (:mod:`.loading`). Only then are the collections renamed over the present
ones, each in one step of the server (:mod:`.replacing`). Until then, a failure of any kind leaves
the database as it was. The renames take a moment; a failure among them is told, and the same
command again completes them.

Two kinds can't be renamed by the server: views, which hold no data, and time series. Time series
are replaced last, one by one; the safety backup is their way back.

The database's own record ``_migrations`` is restored as the last thing, in one step
(:mod:`.state`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from .. import connection
from ..connection import Server
from ..document.collections import STATE
from ..errors import ArchiveError
from ..ledger import partial_restore
from ..ledger.lease import Lease
from ..server import obstacles
from ..support import commands, privileges, retry
from ..support.progress import Sink
from ..support.stop import StopSignal
from . import catalog, create, expiry, losses, names, server
from .crypt import Lock
from .loading import Loader, Part
from .replacing import Replacement
from .source import Source
from .state import State
from .store import Retention

_SAFETY_FOLDER = "before-restore"
_SAFETY_KEPT = 5


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to restore where."""

    database: str
    source_database: str
    confirm: str | None = None
    digest: str | None = None  # of the backup that was looked at, if it was
    safety_folder: Path | None = None
    safety_lock: Lock = field(default_factory=Lock)  # how the safety backup is encrypted
    check_space: bool = True
    keep_state: bool = True  # False for a scratch database, which has no present to keep
    retry_seconds: float = 300  # without any progress, as when there is no primary


def plan(client: MongoClient[dict[str, Any]], source: Source, settings: Settings) -> dict[str, Any]:
    """Return what a restore would replace, make, remove and lose; nothing is written.

    Raises:
        ArchiveError: the backup is of another database, another one than was looked at, or holds
            what can't be restored into this database.
    """
    _check_origin(source, settings)
    server.require_unlocked(client)
    database = client[settings.database]
    _check_special(database, source)
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
        "digest": source.digest,
        "database": settings.database,
        "source_database": source.manifest.database,
        "snapshot_time": source.manifest.snapshot_time or source.manifest.started,
        "consistent": source.manifest.consistent,
        "collections": collections,
        "removed": [one["collection"] for one in collections if one["action"] == "remove"],
        "documents": source.manifest.documents,
        "bytes": source.manifest.size,
        "free_bytes": _free(database),
        "lost": losses.since(database, source.manifest, collections),
        "confirmed": settings.confirm == settings.database,
        "notes": list(source.notes),
    }


def restore(
    client: MongoClient[dict[str, Any]],
    source: Source,
    settings: Settings,
    *,
    hold: Callable[[Database[dict[str, Any]]], AbstractContextManager[Lease]],
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
    deployment = _deployment(client)
    database = client[settings.database]
    _allowed(client, source, settings)
    # All of it is loaded, and compared then, before anything is replaced.
    source.check(progress, loading=frozenset(one.name for one in source.manifest.collections))

    with hold(database) as held:
        # Once more: until the lease was ours, another process may have made collections.
        expected = plan(client, source, settings)
        safety = _safety_backup(client, settings, expected, progress=progress, stop=asked, now=now)
        patience = retry.Patience.telling(progress, "load", settings.retry_seconds, asked)
        loader = Loader(
            database, source, deployment, held, now=now(), progress=progress, patience=patience
        )
        parts, state = _load(loader, settings, patience)
        _replace(loader, parts, state, expected["removed"], safety)
        since = _made_since(client, source, settings)
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
        "warnings": [*source.notes, *loader.warnings, *since],
        "elapsed": round(clock() - began, 3),
    }


def _allowed(
    client: MongoClient[dict[str, Any]], source: Source, settings: Settings
) -> dict[str, Any]:
    """Return the plan, if it was confirmed and there is room for it."""
    expected = plan(client, source, settings)
    _check_confirmation(expected, settings)
    if settings.check_space:
        check_space(expected)
    return expected


def _made_since(
    client: MongoClient[dict[str, Any]], source: Source, settings: Settings
) -> list[str]:
    made = ", ".join(plan(client, source, settings)["removed"])
    return [f"{made}: made by somebody during the restore, and left"] if made else []


def _deployment(client: MongoClient[dict[str, Any]]) -> Server:
    deployment = connection.inspect(client)
    if deployment.topology == "sharded":
        raise ArchiveError(
            "Restoring into a sharded cluster isn't supported: collections would come back "
            "unsharded. Restore into a replica set, or use mongorestore on the unpacked archive."
        )
    return deployment


def _load(loader: Loader, settings: Settings, patience: retry.Patience) -> tuple[list[Part], State]:
    """Load all beside the present data, anew where the primary is lost: nothing is replaced yet."""

    def attempt() -> tuple[list[Part], State]:
        with loader.undone_on_failure():
            parts = loader.load()
            state = State(loader, parts, keep_present=settings.keep_state)
            state.rehearse()
        return parts, state

    loaded = retry.retry_until_deadline(
        attempt,
        progressed=lambda: loader.counted,
        recover=lambda: None,
        seconds=patience.seconds,
        stop=patience.stop,
        waiting=patience.waiting,
        otherwise="The database is as it was. When that is settled, run the same command: it "
        "starts over.",
        obstacle=obstacles.namer(loader.database.client),
    )
    loader.held.check()
    patience.stop.check()
    return loaded


def look(
    client: MongoClient[dict[str, Any]],
    source: Source,
    settings: Settings,
    *,
    progress: Sink,
    now: Callable[[], datetime] = create.utc_now,
) -> dict[str, Any]:
    """Return :func:`plan` after reading all of the backup; nothing is written.

    Raises:
        ArchiveError: it is damaged, or :func:`restore` would refuse it before it begins.
    """
    expected = plan(client, source, settings)
    if settings.check_space:
        check_space(expected)
    # Before anybody is asked to stop writing, and not only after.
    source.check(progress)
    return {**expected, "warnings": expiry.warnings(source, now(), progress)}


def _replace(
    loader: Loader, parts: list[Part], state: State, removed: list[str], safety: str | None
) -> None:
    """Put what was loaded in place of the present data.

    Raises:
        ArchiveError: it ended in the middle; the message names what is replaced, what isn't, and
            the safety backup.
    """
    source, database = loader.source, loader.database
    replacement = Replacement(loader, parts)
    loader.never_stop()
    try:
        state.mark(
            {
                "phase": partial_restore.REPLACING,
                "archive": str(source.path),
                "source": source.manifest.database,
                "safety_backup": safety,
            }
        )
        replacement.run(removed)
        state.replace()
        loader.remove_leftovers()
        state.unmark()
    except Exception as error:
        before = (
            "What was there before is in the safety backup: "
            f"{commands.command('restore', archive=safety)}."
            if safety
            else "There is no safety backup of what was there before."
        )
        raise ArchiveError(
            f"The restore of '{database.name}' stopped while collections were being replaced: "
            f"{str(error).rstrip('.')}. Replaced: {', '.join(replacement.done) or 'none'}. "
            f"Not yet: {', '.join(replacement.left) or 'none'}. The restore is incomplete: some "
            f"collections are from the backup. Run the same command again: it starts "
            f"over. {before}",
            replaced=replacement.done,
            remaining=replacement.left,
            safety_backup=safety,
        ) from error


def check_space(expected: dict[str, Any]) -> None:
    """Refuse if the server's disk can't hold the backup beside the present data.

    Args:
        expected: what :func:`plan` returned.

    Raises:
        ArchiveError: it has too little room. Where the user may not ask, the server itself stops
            before its disk is full.
    """
    free, needed = expected["free_bytes"], expected["bytes"]
    if free is None or free >= needed:
        return
    raise ArchiveError(
        f"The restore loads {needed >> 20:,} MiB beside the present data, and the "
        f"server's disk has {free >> 20:,} MiB free. Nothing was changed. Make room; or, if "
        "you know that it compresses well enough, set check_space: false.",
        free=free,
        needed=needed,
    )


def _action(name: str, present: dict[str, Any], backup: dict[str, Any]) -> str:
    if name not in backup:
        # The database's own record stays, because the lease is in it; only its runs go.
        return "empty" if name == STATE else "remove"
    return "replace" if name in present else "create"


def _check_origin(source: Source, settings: Settings) -> None:
    manifest = source.manifest
    if manifest.database != settings.source_database:
        raise ArchiveError(
            f"The backup is of the database '{manifest.database}', not of "
            f"'{settings.source_database}'. To restore it nevertheless, say so: "
            f"source_database: {manifest.database}.",
            database=manifest.database,
        )
    if settings.digest is not None and settings.digest != source.digest:
        raise ArchiveError(
            f"{source.path} isn't the backup that was looked at and confirmed: that one had the "
            f"digest {settings.digest}, this one has {source.digest}. Somebody put another one in "
            "its place meanwhile. Nothing was written. Look at it again, and confirm that.",
            digest=source.digest,
        )
    for one in manifest.collections:
        problem = names.problem(settings.database, one.name, one.type)
        if problem:
            raise ArchiveError(
                f"'{settings.database}' can't have the backup's collection {one.name!r}: "
                f"{problem}. Nothing was written.",
                collection=one.name,
            )


def _check_special(database: Database[dict[str, Any]], source: Source) -> None:
    """Refuse where documents can't be exchanged whose collection can't be renamed.

    Roles that name all collections of a database leave these out.
    """
    backup = {one.name for one in source.manifest.collections}
    for name in sorted(names.SPECIAL & (backup | catalog.every_name(database))):
        lacking = privileges.missing(database, name, ("find", "insert", "remove"))
        if lacking:
            raise ArchiveError(
                f"This user may not {', '.join(lacking)} in {database.name}.{name}, which the "
                f"restore has to replace. Grant it readWrite on {database.name}. Nothing was "
                "written.",
                collection=name,
                privileges=lacking,
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


def _free(database: Database[dict[str, Any]]) -> int | None:
    try:
        stats = database.command("dbStats")
    except OperationFailure:
        return None  # the role `backup` may not ask
    if not stats.get("fsTotalSize"):
        return None
    return int(stats["fsTotalSize"] - stats.get("fsUsedSize", 0))


def _safety_backup(
    client: MongoClient[dict[str, Any]],
    settings: Settings,
    expected: dict[str, Any],
    *,
    progress: Sink,
    stop: StopSignal,
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
            retry_seconds=settings.retry_seconds,
        ),
        progress=progress,
        stop=stop,
        now=now,
    )
    return str(result["archive"])
