"""The backup of the instant at which writers are stopped, most of it taken before they are.

A whole archive while users write; if that took long, what changed meanwhile, in another one; so
that with stopped writers only little is left to add. Whether it can be had is asked beforehand.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from bson.timestamp import Timestamp
from pymongo import MongoClient

from ..server import connection, operation_time
from . import changes, create
from .changes import NoIncrementError
from .increment import On
from .settings import Settings, utc_now
from .store import Store

# What was written in so many seconds is added in one or two, as long as writers aren't many more
# than a backup is fast.
ENOUGH_SECONDS = 30
# Writers that are faster than the backup are stopped for what is left, all the same.
MOST_TURNS = 3
# An archive that an interrupted command has left is what this one goes on from, if it is of lately.
LATELY_SECONDS = 3600
# Of the past that the oplog must hold: longer than the estimate of the backup, which is a guess.
_SPARE, _LEAST_SECONDS = 2, 60


def back_up(
    client: MongoClient[dict[str, Any]],
    database: str,
    settings: Settings,
    *,
    clock: Callable[[], float] = time.monotonic,
    **options: Any,
) -> dict[str, Any]:
    """Take a backup while users write; where it took long, what changed meanwhile as well.

    Args:
        client: connected to the deployment.
        database: what to back up.
        settings: how.
        clock: seconds, for the time it took.
        options: those of :func:`create.back_up`.

    Returns:
        What the newest archive is, as :func:`create.back_up` does; ``earlier`` names those that
        were made before it, the oldest first, ``elapsed`` is the time of all, in seconds.

    Raises:
        ArchiveError: as :func:`create.back_up`.
    """
    began = turn = clock()
    result = create.back_up(client, database, settings, clock=clock, **options)
    first, earlier = result, list[str]()
    while clock() - turn > ENOUGH_SECONDS and len(earlier) < MOST_TURNS - 1:
        turn = clock()
        base = Path(result["archive"])
        following = replace(settings, base=base, otherwise_whole=False)
        try:
            more = create.back_up(client, database, following, clock=clock, **options)
        except NoIncrementError:
            break  # with stopped writers it is tried again, and said why not
        earlier.append(str(base))
        result = more
    later = result["removed"] if earlier else []
    return {
        **first,  # a drill is of the whole one
        **result,
        "elapsed": round(clock() - began, 3),
        "removed": [*first["removed"], *later],
        "earlier": earlier,
    }


def plan(
    client: MongoClient[dict[str, Any]],
    database: str,
    settings: Settings,
    *,
    seconds: float,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Return whether what changes during a backup can be added to it; nothing is written.

    Args:
        client: connected to the deployment.
        database: what would be backed up.
        settings: how.
        seconds: that a whole backup is expected to take.
        now: the time of day.

    Returns:
        ``why_not``, a clause, or None where it can; ``lately`` is the newest archive that can be
        added to, if it was taken within the last hour.
    """
    server = connection.inspect(client)
    if server.topology != "replica_set":
        kind = "a standalone server" if server.topology == "standalone" else "a sharded cluster"
        return {"why_not": f"{kind} doesn't tell what was written since", "lately": None}
    why_not = None
    # The time that a server gives with every reply, less what the backup will have taken.
    past = operation_time.present(client).time - max(_LEAST_SECONDS, int(seconds * _SPARE))
    try:
        changes.require_readable(client[database], Timestamp(past, 0))
    except NoIncrementError as error:
        why_not = error.message
    lately = None if why_not else _lately(settings.folder, database, server, now or utc_now())
    return {"why_not": why_not, "lately": lately}


def _lately(folder: Path, database: str, server: connection.Server, now: datetime) -> str | None:
    """Return the newest archive of *database* in *folder*, if it is of lately and can be a base."""
    for one in Store(folder).archives() if folder.is_dir() else ():
        if one.about is None or one.about.database != database:
            continue
        if one.problem or (now - one.made).total_seconds() > LATELY_SECONDS:
            return None
        with suppress(NoIncrementError):
            On.find(one.path, folder, database, server)
            return str(one.path)
        return None
    return None
