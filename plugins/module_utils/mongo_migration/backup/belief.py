"""Whether a backup may be relied on: not because somebody wrote down that there is one.

A run's document lies in the database that is migrated, and whoever may write there may name any
backup in it. So it is found, read, and seen to be of this very database and from before the run.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from .. import connection
from ..document.collections import STATE
from ..errors import ArchiveError
from ..support.progress import Sink
from . import catalog, crypt, sidecar
from .manifest import Manifest
from .reader import Reader
from .sidecar import About
from .store import ENCRYPTED, LONGEST_CHAIN


def require(
    client: MongoClient[dict[str, Any]],
    database: str,
    archive: Path,
    run: str | None,
    *,
    progress: Sink,
) -> None:
    """Read all of *archive*, and require that it holds *database* as it was before *run*.

    Args:
        client: connected to the deployment.
        database: the database that the run migrates.
        archive: the backup that the run is said to rely on.
        run: the run's id; None where the backup is no run's.
        progress: told of each block that was read.

    Raises:
        ArchiveError: it can't be relied on; the message says why.
    """
    if not archive.is_file():
        raise ArchiveError(f"{archive} isn't there.")
    about, manifest = _read(archive, progress)
    _require_bases(archive, about, progress)
    _require_same_deployment(client, database, archive, about)
    if manifest:
        _require_same_collections(client, database, archive, manifest)
        if run in {str(one.get("_id")) for one in manifest.runs}:
            raise ArchiveError(f"{archive} was taken when the run {run} had begun already.")
    began = _began(client, database, run) if run is not None else None
    if began is not None and datetime.fromisoformat(about.started) > began:
        raise ArchiveError(
            f"{archive} was taken at {about.started}, after the run {run} had begun "
            f"({began:%Y-%m-%dT%H:%M:%SZ})."
        )


def _read(archive: Path, progress: Sink) -> tuple[About, Manifest | None]:
    """Read all of *archive*; only who has a key knows the manifest of an encrypted one."""
    if archive.suffix != ENCRYPTED and not crypt.is_encrypted(archive):
        with Reader(archive) as reader:
            reader.check(progress)
            return About.of(reader.manifest, reader.digest), reader.manifest
    described = sidecar.read(archive)
    if crypt.digest(archive, lambda done: None) != described.sha256:
        raise ArchiveError(f"{archive}: The archive is damaged: it doesn't have its SHA-256.")
    return described.about, None


def _require_bases(archive: Path, about: About, progress: Sink) -> None:
    """Read all that *archive* is based on, without which it is nothing."""
    for _ in range(LONGEST_CHAIN):
        base = about.base
        if base is None:
            return
        path = archive.parent / base.name
        if not path.is_file():
            raise ArchiveError(f"{archive} is based on {base.name}, which isn't there.")
        about, _manifest = _read(path, progress)
        if about.digest != base.digest:
            raise ArchiveError(f"{archive} is based on another {base.name} than is there.")
    raise ArchiveError(f"{archive}: More than {LONGEST_CHAIN} archives are based on each other.")


def _require_same_deployment(
    client: MongoClient[dict[str, Any]], database: str, archive: Path, about: About
) -> None:
    if about.database != database:
        raise ArchiveError(f"{archive} is of the database '{about.database}'.")
    theirs, ours = about.server.get("set_name"), connection.inspect(client).set_name
    # Descriptions of encrypted archives didn't always say it.
    if about.server and theirs != ours:
        raise ArchiveError(
            f"{archive} is of another deployment: the replica set {theirs or '(none)'}, and not "
            f"{ours or '(none)'}."
        )


def _require_same_collections(
    client: MongoClient[dict[str, Any]], database: str, archive: Path, manifest: Manifest
) -> None:
    """Require one collection at least to be the very one that was backed up, by its UUID."""
    there = {one.name: one.uuid for one in catalog.read(client[database]) if one.uuid}
    backed = {one.name: one.uuid for one in manifest.collections if one.uuid}
    common = there.keys() & backed.keys()
    if common and all(there[name] != backed[name] for name in common):
        raise ArchiveError(
            f"{archive} is of another database of the same name: none of its collections is one "
            "of those that are here."
        )


def _began(client: MongoClient[dict[str, Any]], database: str, run: str) -> datetime | None:
    found = catalog.lenient(client[database])[STATE].find_one({"_id": run}, {"started": 1})
    began = (found or {}).get("started")
    return began if isinstance(began, datetime) else None
