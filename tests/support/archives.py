"""Small archives without a server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import bson
from mongo_migration.backup import catalog, footer, members, names
from mongo_migration.backup.archive_writer import Writer
from mongo_migration.backup.documents import describe as file_entry
from mongo_migration.backup.manifest import NAME, Base, Collection, Content, Delta, File, Manifest
from mongo_migration.values.digest import Digest

LATER = "2026-11-23T02:05:34Z"


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
        writer, entries = Writer(file, modified=1_795_395_933), list[Collection]()
        files: list[File] = []
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


def change(
    path: Path,
    base: Path,
    present: Mapping[str, Sequence[Mapping[str, Any] | bytes]],
    removed: Mapping[str, Sequence[Mapping[str, Any] | bytes]] | None = None,
    *,
    added: int = 0,
    edit: Callable[[dict[str, Any]], Any] = lambda whole: None,
) -> None:
    """Write to *path* what is said to have changed since the archive *base*, which need not exist.

    Args:
        path: the archive.
        base: the one that it says it is based on.
        present: documents that replace those of the base.
        removed: what names those that are gone.
        added: how many of *present* are said to be new, in each collection.
        edit: makes something else of the manifest.
    """
    removed, based = removed or {}, Base(name=base.name, digest=digest_of(base))
    with path.open("w+b") as file:
        writer, entries = Writer(file, modified=1_795_395_933), list[Collection]()
        files: list[File] = []

        for name, documents in present.items():
            entry, held = describe(name), _content(writer, files, "present", name, documents)
            for key, value in vars(held).items():
                setattr(entry, key, value)
            gone = removed.get(name, ())
            entry.delta = Delta(whole=False, added=added, removed=len(gone))
            if gone:
                entry.delta.identities = _content(writer, files, "removed", name, gone)
            entries.append(entry)
        manifest = Manifest(
            database="shop",
            started=LATER,
            finished=LATER,
            server={"version": "6.0.5", "topology": "replica_set", "set_name": None},
            consistent=True,
            reason=None,
            snapshot_time=LATER,
            cluster_time={"t": 1_795_395_934, "i": 1},
            collections=entries,
            files=files,
            format=footer.INCREMENTAL,
            base=based,
        )
        whole = json.loads(manifest.dump())
        edit(whole)
        writer.finish(NAME, json.dumps(whole).encode(), number=footer.INCREMENTAL)


def _content(
    writer: Writer, files: list[File], part: str, name: str, documents: Sequence[Any]
) -> Content:
    """Write *documents* as a *part* of what changed in the collection *name*."""
    raw = [one if isinstance(one, bytes) else bson.encode(one) for one in documents]
    writer.begin(names.delta_file(part, "shop", name, "collection"))
    writer.append(members.pack(b"".join(raw)))
    tar, sha256 = writer.end(), hashlib.sha256(b"".join(raw)).hexdigest()
    files.append(file_entry(tar, sha256))
    return Content(
        name=name,
        file=tar.name,
        count=len(raw),
        size=tar.size,
        sha256=sha256,
        digest=Digest.of(raw).hexdigest(),
    )


def digest_of(path: Path) -> str:
    """Return the digest that the archive *path* claims; zeros if there is none."""
    if not path.is_file():
        return "0" * 64
    raw = path.read_bytes()
    return footer.parse(raw[-footer.LENGTH :], length=len(raw)).hash.hex()


def claim(path: Path, digest: str) -> None:
    """Let the archive *path* claim the *digest*."""
    raw = bytearray(path.read_bytes())
    old = footer.parse(bytes(raw[-footer.LENGTH :]), length=len(raw))
    new = footer.Footer(old.manifest, old.length, bytes.fromhex(digest), old.format)
    raw[-footer.LENGTH :] = new.pack()
    path.write_bytes(raw)


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
