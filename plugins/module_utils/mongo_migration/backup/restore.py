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
from datetime import datetime
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database

from ..errors import ArchiveError
from ..ledger import partial_restore
from ..ledger.lease import Lease
from ..server import connection, obstacles
from ..server.connection import Server
from ..support import commands, retry
from ..support.progress import Sink
from ..support.stop import StopSignal
from . import create, expiry
from .loading import Loader, Part
from .replacing import Replacement
from .restore_plan import Settings, check_confirmation, check_space, plan
from .source import Source
from .state import State
from .store import Retention

__all__ = ["Settings", "check_space", "look", "plan", "restore"]

_SAFETY_FOLDER = "before-restore"
_SAFETY_KEPT = 5


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
    check_confirmation(expected, settings)
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
