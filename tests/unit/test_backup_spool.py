"""The scratch file of an encrypted archive: a file like any other, and noise on the disk."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path

import bson
from mongo_migration.backup.reader import Reader
from mongo_migration.backup.spool import Spool
from mongo_migration.support.progress import quiet

from tests.support import archives


def test_it_reads_as_an_ordinary_file_does(tmp_path: Path) -> None:
    chance, spool, file = random.Random(7), Spool(tmp_path), io.BytesIO()
    for _ in range(60):
        content = chance.randbytes(chance.choice([1, 512, 70_000, 1 << 20]))
        assert spool.write(content) == file.write(content)
        if chance.random() < 0.4:  # what a tar header does: back, over it, to the end
            position = chance.randrange(max(1, file.tell() - 600))
            for one in (spool, file):
                one.seek(position)
                one.write(b"corrected" * 60)
                one.seek(0, io.SEEK_END)
    whole = file.getvalue()

    assert spool.length == len(whole)
    for _ in range(200):
        position, size = chance.randrange(len(whole)), chance.choice([0, 3, 8192, 3 << 20])
        spool.seek(position)
        assert spool.read(size) == whole[position : position + size]
    spool.seek(0)
    assert spool.read() == whole
    assert spool.read(10) == b""


def test_it_has_no_name_and_no_plain_byte_on_the_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    secret = b"nobody may read this " * 100_000
    spool.write(secret)
    descriptor = spool._file.fileno()

    assert list(tmp_path.iterdir()) == []
    spool._file.flush()
    raw = os.pread(descriptor, len(secret) * 2, 0)
    assert len(raw) > len(secret) // 2
    assert b"nobody may read" not in raw
    spool.close()
    assert spool.closed


def test_an_archive_is_written_to_it_and_read_from_it(tmp_path: Path) -> None:
    plain = tmp_path / "plain.tar.gz"
    archives.write(plain, {"items": [{"_id": n, "pad": "x" * 999} for n in range(3000)]}, chunk=7)
    spool = Spool(tmp_path)
    spool.write(plain.read_bytes())
    with Reader(tmp_path / "elsewhere", spool) as reader:
        reader.check(quiet)
        (items,) = reader.manifest.collections
        found = [bson.decode(raw)["_id"] for batch in reader.batches(items) for raw in batch]

    assert found == list(range(3000))
    assert spool.closed
