"""The archive itself: any gzip and tar can read it, and no damage to it goes unnoticed."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import subprocess
import tarfile
import threading
from pathlib import Path

import bson
import pytest
from mongo_migration.backup import footer, members
from mongo_migration.backup.reader import Reader
from mongo_migration.errors import ArchiveError
from mongo_migration.support.progress import quiet

from tests.support import archives

ITEMS = [{"_id": number, "name": f"item {number}", "blob": b"x" * number} for number in range(95)]
COLLECTIONS = {"items": ITEMS, "empty": [], "a name/with ünïcode" + "x" * 120: ITEMS[:3]}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "backup-20261123-020533.tar.gz"
    archives.write(path, COLLECTIONS)
    return path


def check(path: Path) -> None:
    with Reader(path) as reader:
        reader.check(quiet)


def test_intact_archive_passes(archive: Path) -> None:
    check(archive)


def test_documents_come_back_byte_for_byte(archive: Path) -> None:
    with Reader(archive) as reader:
        found = {
            one.name: [raw for batch in reader.batches(one) for raw in batch]
            for one in reader.manifest.collections
        }

    assert found == {
        name: [bson.encode(document) for document in documents]
        for name, documents in COLLECTIONS.items()
    }


def test_gzip_and_tar_read_it(archive: Path, tmp_path: Path) -> None:
    subprocess.run(["gzip", "-t", archive], check=True)
    subprocess.run(["tar", "xzf", archive, "-C", tmp_path], check=True)

    items = (tmp_path / "dump/shop/items.bson").read_bytes()
    assert items == b"".join(map(bson.encode, ITEMS))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    listed = next(one for one in manifest["collections"] if one["name"] == "items")
    assert listed["sha256"] == hashlib.sha256(items).hexdigest()
    assert (tmp_path / "dump/shop/empty.bson").read_bytes() == b""


def test_files_are_for_their_owner_only_when_unpacked(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        assert {member.mode for member in tar.getmembers()} == {0o600}


def test_metadata_is_canonical_extended_json_in_mongodumps_order(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        file = tar.extractfile("dump/shop/items.metadata.json")
        assert file is not None
        text = file.read()

    assert text == (
        b'{"indexes":[{"v":{"$numberInt":"2"},"key":{"_id":{"$numberInt":"1"}},"name":"_id_"}],'
        b'"uuid":"00000000000000000000000000000000","collectionName":"items","type":"collection"}'
    )


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tar.gz"
    archives.write(damaged, {"items": ITEMS[:12]})
    raw = damaged.read_bytes()
    missed = []
    # Every byte of the first blocks and of the end, whose layout is fixed, and a third of the rest.
    for position in {*range(1300), *range(0, len(raw), 3), *range(len(raw) - 700, len(raw))}:
        changed = bytearray(raw)
        changed[position] ^= 1 << (position % 8)
        damaged.write_bytes(changed)
        try:
            check(damaged)
        except ArchiveError:
            continue
        missed.append(position)

    assert missed == []


def test_every_truncation_is_found(archive: Path, tmp_path: Path) -> None:
    raw = archive.read_bytes()
    damaged = tmp_path / "damaged.tar.gz"
    for length in [*random.Random(3).sample(range(len(raw)), 60), 0, 1, len(raw) - 1]:
        damaged.write_bytes(raw[:length])
        with pytest.raises(ArchiveError):
            check(damaged)


def test_bytes_behind_the_end_and_doubled_parts_are_found(archive: Path, tmp_path: Path) -> None:
    raw = archive.read_bytes()
    damaged = tmp_path / "damaged.tar.gz"
    for content in (raw + b"\0", raw + raw, raw[:300] + raw[200:]):
        damaged.write_bytes(content)
        with pytest.raises(ArchiveError):
            check(damaged)


def test_swapped_members_are_found(archive: Path, tmp_path: Path) -> None:
    """Each is intact, their lengths are right, only their order isn't."""
    path = tmp_path / "swapped.tar.gz"
    documents = [{"_id": number} for number in range(20)]
    manifest = archives.write(path, {"items": documents})
    file = next(one for one in manifest.files if one.name.endswith(".bson"))
    raw = bytearray(path.read_bytes())
    border = file.content + members.length_of(bytes(raw[file.content :]), 0)
    first, second = raw[file.content : border], raw[border : file.end]
    raw[file.content : file.end] = second + first
    path.write_bytes(raw)

    with pytest.raises(ArchiveError, match="SHA-256"):
        check(path)


@pytest.mark.parametrize("content", [b"", b"hello" * 100, gzip.compress(b"hello" * 5000, mtime=0)])
def test_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign.tar.gz"
    path.write_bytes(content)

    with pytest.raises(ArchiveError, match=r"foreign\.tar\.gz"):
        check(path)


def test_tar_of_another_tool_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("dump/shop/items.bson")
        info.size = 1000
        tar.addfile(info, io.BytesIO(bytes(1000)))

    with pytest.raises(ArchiveError, match="wasn't made by mongo_backup"):
        check(path)


def test_newer_format_is_refused_with_its_number(archive: Path) -> None:
    archives.seal_as(archive, footer.NEWEST + 1)

    with pytest.raises(ArchiveError, match=f"format {footer.NEWEST + 1}"):
        Reader(archive)


def test_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="No such file"):
        Reader(tmp_path / "missing.tar.gz")


def test_stopping_early_leaves_no_thread(archive: Path) -> None:
    with Reader(archive) as reader:
        items = next(one for one in reader.manifest.collections if one.name == "items")
        batches = reader.batches(items)
        next(batches)
        batches.close()

    assert not [one for one in threading.enumerate() if one.name == "read-ahead"]
