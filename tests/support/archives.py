"""Small archives without a server."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bson
from mongo_migration.backup import catalog, footer, members, names
from mongo_migration.backup.archive_writer import Writer
from mongo_migration.backup.documents import describe as file_entry
from mongo_migration.backup.manifest import NAME, Collection, Manifest
from mongo_migration.values.digest import Digest


def write(
    path: Path,
    collections: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    database: str = "shop",
    finished: str = "2026-11-23T02:05:33Z",
    chunk: int = 10,
    number: int = footer.FORMAT,
    indexes: Sequence[Mapping[str, Any]] = (),
    set_name: str | None = None,
) -> Manifest:
    """Write an archive with *collections* to *path*, *chunk* documents a member.

    In one of format *number* 1, digests are of a kind that nobody computes any more. Each has
    *indexes* beside the one on ``_id``.
    """
    with path.open("w+b") as file:
        writer, files, entries = Writer(file, modified=1_795_395_933), [], []
        for name, documents in collections.items():
            entry = describe(name, indexes=indexes)
            text = entry.metadata()
            tar = writer.add(names.metadata_file(database, name), text)
            files.append(file_entry(tar, hashlib.sha256(text).hexdigest()))
            raw = [bson.encode(document) for document in documents]
            writer.begin(names.data_file(database, name, "collection"))
            for start in range(0, len(raw), chunk):
                writer.append(members.pack(b"".join(raw[start : start + chunk])))
            tar = writer.end()
            entry.file, entry.count, entry.size = tar.name, len(raw), tar.size
            entry.digest = Digest.of(raw).hexdigest() if number > 1 else "0" * 32
            entry.sha256 = hashlib.sha256(b"".join(raw)).hexdigest()
            files.append(file_entry(tar, entry.sha256))
            entries.append(entry)
        manifest = Manifest(
            database=database,
            started=finished,
            finished=finished,
            server={"version": "6.0.5", "topology": "replica_set", "set_name": set_name},
            consistent=True,
            reason=None,
            snapshot_time=finished,
            cluster_time={"t": 1_795_395_933, "i": 1},
            collections=entries,
            files=files,
            format=number,
        )
        writer.finish(NAME, manifest.dump())
    seal_as(path, number)
    return manifest


def describe(
    name: str,
    *,
    kind: str = "collection",
    options: Mapping[str, Any] | None = None,
    indexes: Sequence[Mapping[str, Any]] = (),
) -> Collection:
    """Return the manifest's entry of a collection with *indexes* beside the one on ``_id``."""
    every = [{"v": 2, "key": {"_id": 1}, "name": "_id_"}, *map(dict, indexes)]
    return Collection.describe(
        catalog.Found(
            name=name, type=kind, uuid="0" * 32, definition=catalog.define(options or {}, every)
        )
    )


def seal_as(path: Path, number: int) -> None:
    """Make the archive at *path* one of format *number*."""
    raw = bytearray(path.read_bytes())
    old = footer.parse(bytes(raw[-footer.LENGTH :]), length=len(raw))
    raw[-footer.LENGTH :] = footer.Footer(old.manifest, old.length, old.hash, number).pack()
    path.write_bytes(raw)
