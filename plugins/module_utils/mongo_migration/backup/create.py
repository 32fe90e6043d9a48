"""Takes a backup from beginning to end: space, dump, verification, name, retention."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from ..document.collections import STATE
from ..server import members, obstacles
from ..support import retry
from ..support.progress import Sink
from ..support.stop import StopSignal
from . import archive, catalog, dump, estimate, increment
from .archive import Made
from .changes import NoIncrementError
from .pipeline import switching_often
from .reader import Reader
from .settings import Settings, utc_now
from .store import Store

__all__ = ["Settings", "back_up", "utc_now"]

_ATTEMPTS = 3


def back_up(
    client: MongoClient[dict[str, Any]],
    database: str,
    settings: Settings,
    *,
    progress: Sink,
    stop: StopSignal | None = None,
    examine: Callable[[Reader], Any] | None = None,
    now: Callable[[], datetime] = utc_now,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Take a verified backup of *database* and return what it is.

    An archive gets its name, and ``latest.tar.gz`` moves to it, only after all of it was read
    again and found right. Whatever fails before leaves the folder as it was. Where the primary is
    lost, it waits for another one and starts over.

    Args:
        client: connected to the deployment.
        database: what to back up.
        settings: how.
        progress: told of each part.
        stop: ends the waiting for a primary.
        examine: called with the named archive while its plain content can still be read; what
            it returns is the result's ``examined``.
        now: the time of day.
        clock: seconds, for the time it took.

    Raises:
        NoIncrementError: what changed can't be had, and no whole one is wanted instead.
        ArchiveError: no space, nothing to back up, or the archive isn't what was written.
    """
    began = clock()
    if settings.base is None:
        estimate.require_room(estimate.plan(client, database, settings))
    _await_majority(client, settings, progress, stop)
    store = Store(settings.folder)
    cleaned = store.prepare()
    with switching_often(), ExitStack() as stack:

        def persist(how: Settings) -> Made:
            if how is not settings:  # what changed needs little room, all of it more
                estimate.require_room(estimate.plan(client, database, how))
            return _persist(
                client, database, how, stack, progress=progress, stop=stop, now=now, clock=clock
            )

        made, why_whole = _incremental_or_whole(persist, settings)
        needed = _needed(client, database)
        result = {
            **made.facts(settings.folder, why_whole),
            **made.times(began, clock()),
            "removed": store.retire(database, settings.retention, now=now(), needed=needed),
            "cleaned": cleaned,
        }
        # What holds only changes restores with its base alone, which may need a key to read.
        if examine is not None and made.manifest.base is None:
            made.reader.path = made.archive
            result["examined"] = examine(made.reader)
        return result


def _incremental_or_whole(
    persist: Callable[[Settings], Made], settings: Settings
) -> tuple[Made, str | None]:
    """Return the archive, and why it is a whole one if that wasn't asked for."""
    if settings.base is None:
        return persist(settings), None
    try:
        return persist(settings), None
    except NoIncrementError as error:
        if not settings.otherwise_whole:
            raise
        return persist(replace(settings, base=None)), increment.explain(error, settings.base)


def _await_majority(
    client: MongoClient[dict[str, Any]],
    settings: Settings,
    progress: Sink,
    stop: StopSignal | None,
) -> None:
    members.await_majority(
        client,
        seconds=settings.retry_seconds,
        stop=stop,
        waiting=lambda words: progress({"phase": "back up", "waiting": words}),
    )


def _persist(
    client: MongoClient[dict[str, Any]],
    database: str,
    settings: Settings,
    stack: ExitStack,
    *,
    progress: Sink,
    stop: StopSignal | None,
    now: Callable[[], datetime],
    clock: Callable[[], float],
) -> Made:
    """Make an archive, anew where the primary is lost; *stack* closes what is open of it."""
    told = 0

    def tell(event: dict[str, Any]) -> None:
        nonlocal told
        told += 1
        progress(event)

    def attempt() -> Made:
        with ExitStack() as own, archive.explained(settings.folder):
            made = archive.make(
                own,
                settings,
                content=lambda file: archive.read_database(
                    client, database, file, settings, now=now, progress=tell
                ),
                now=now,
                clock=clock,
                progress=tell,
            )
            stack.push(own.pop_all())
        return made

    return retry.retry_until_deadline(
        lambda: _unchanged(attempt),
        progressed=lambda: told,
        recover=lambda: None,
        seconds=settings.retry_seconds,
        stop=stop or StopSignal(),
        waiting=lambda reason: progress({"phase": "back up", "waiting": reason}),
        otherwise="No archive was made; older ones and the link to the latest are as they "
        "were. When that is settled, run the same command.",
        obstacle=obstacles.namer(client),
    )


def _unchanged(attempt: Callable[[], Made]) -> Made:
    """Return what *attempt* makes, trying again if the catalog changed under it."""
    for _ in range(_ATTEMPTS - 1):
        with suppress(dump.CatalogChangedError):
            return attempt()
    return attempt()


def _needed(client: MongoClient[dict[str, Any]], database: str) -> frozenset[str]:
    """Return the names of archives that runs rely on which were not rolled back."""
    runs = catalog.lenient(client[database])[STATE].find(
        {"kind": "run", "phase": {"$ne": "rolled_back"}}, {"backup": 1}
    )
    return frozenset(Path(run["backup"]).name for run in runs if isinstance(run.get("backup"), str))
