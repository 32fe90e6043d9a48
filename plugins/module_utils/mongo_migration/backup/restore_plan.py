"""What a restore would replace, make, remove and lose, and what speaks against it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from ..document.collections import STATE
from ..errors import ArchiveError
from ..support import privileges
from . import catalog, losses, names, server
from .crypt import Lock
from .source import Source


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


def check_confirmation(expected: dict[str, Any], settings: Settings) -> None:
    """Refuse what nobody has confirmed.

    Args:
        expected: what :func:`plan` returned.
        settings: what to restore where.

    Raises:
        ArchiveError: the confirmation isn't the name of the database.
    """
    if settings.confirm == settings.database:
        return
    raise ArchiveError(
        f"A restore replaces everything in '{settings.database}' by its state of "
        f"{expected['snapshot_time']}. {losses.sentence(expected['lost'])} If that is what you "
        f"want, confirm it with the name of the database: confirm: {settings.database}.",
        plan=expected,
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


def _free(database: Database[dict[str, Any]]) -> int | None:
    try:
        stats = database.command("dbStats")
    except OperationFailure:
        return None  # the role `backup` may not ask
    if not stats.get("fsTotalSize"):
        return None
    return int(stats["fsTotalSize"] - stats.get("fsUsedSize", 0))
