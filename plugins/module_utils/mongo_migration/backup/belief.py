"""Whether a backup may be relied on: not because somebody wrote down that there is one.

A run's document lies in the database that is migrated, and whoever may write there may name any
backup in it. So it is found, read, and seen to be of this very database and from before the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from ..document.collections import STATE
from ..errors import ArchiveError
from ..server import connection
from ..support.progress import Sink
from . import bases, catalog, crypt, sidecar
from .chain import join
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
        run: the run's id; None where the backup is not a run's.
        progress: told of each block that was read.

    Raises:
        ArchiveError: it can't be relied on; the message says why.
    """
    if not archive.is_file():
        raise ArchiveError(f"{archive} isn't there.")
    about, manifest = _read(archive, progress)
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
    """Read all of *archive* and of what it is based on, without which it is nothing.

    Only who has a key knows the manifest of an encrypted one.
    """
    described = _chain(archive)
    if not any(one.encrypted for one in described):
        newest = Reader(archive)
        with newest if len(described) == 1 else join(newest, Reader) as source:
            source.check(progress)
            return described[0].about, source.manifest
    for one in described:
        _read_alone(one, progress)
    return described[0].about, None


@dataclass(frozen=True)
class _Described:
    path: Path
    about: About
    encrypted: bool


def _chain(archive: Path) -> list[_Described]:
    """Return what *archive* says of itself, and what it is based on, the whole one last."""
    chain = [_describe(archive)]
    while (base := chain[-1].about.base) is not None:
        path = archive.parent / base.name
        if path.is_symlink() or not path.is_file():
            raise ArchiveError(f"{archive} is based on {base.name}, which isn't there.")
        if len(chain) == LONGEST_CHAIN:
            raise ArchiveError(
                f"{archive}: More than {LONGEST_CHAIN} archives are based on each other."
            )
        chain.append(_describe(path))
        wrong = bases.misfit(chain[-2].about, chain[-1].about)
        if wrong is not None:
            raise ArchiveError(f"{archive} is based on another {base.name} than is there: {wrong}.")
    return chain


def _describe(path: Path) -> _Described:
    if path.suffix == ENCRYPTED or crypt.is_encrypted(path):
        return _Described(path, sidecar.read(path).about, True)
    with Reader(path) as reader:
        return _Described(path, About.of(reader.manifest, reader.digest), False)


def _read_alone(one: _Described, progress: Sink) -> None:
    if not one.encrypted:
        with Reader(one.path) as reader:
            reader.check(progress)
    elif crypt.digest(one.path, lambda done: None) != sidecar.read(one.path).sha256:
        raise ArchiveError(f"{one.path}: The archive is damaged: it doesn't have its SHA-256.")


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
