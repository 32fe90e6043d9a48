"""What isn't a backup of ours: known by its first bytes, and named."""

from __future__ import annotations

import zlib
from pathlib import Path

from ..errors import ArchiveError
from . import members

_HEAD = 4096
_GZIP = b"\x1f\x8b"
_MONGODUMP_ARCHIVE = b"\x6d\xe2\x99\x81"
_USTAR, _USTAR_AT = b"ustar", 257
_PACKED = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\0": "xz",
    b"BZh": "bzip2",
    b"PK\x03\x04": "zip",
}


def refuse(path: Path) -> None:
    """Say of a file what it is, if it is known and no archive of ours.

    Raises:
        ArchiveError: it is known; the message says what to do with it.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return  # which was told before
    if head.startswith(members.START):
        return
    what = _what(path, head)
    if what:
        raise ArchiveError(f"{path} isn't an archive that mongo_backup made: it is {what}")


def _what(path: Path, head: bytes) -> str | None:
    plain = _unzipped(head)
    for magic, name in _PACKED.items():
        if head.startswith(magic):
            return f"a file that {name} packed. Unpack it first, and name what was in it."
    if plain.startswith(_MONGODUMP_ARCHIVE):
        return (
            "a file that mongodump made with --archive. Restore it with mongorestore --archive "
            "into a scratch database and dump that into a folder (mongodump --out), which can be "
            "named here."
        )
    if plain[_USTAR_AT : _USTAR_AT + len(_USTAR)] == _USTAR:
        return (
            f"a tar file, as of a dump. Unpack it (tar xf {path.name}) and name the folder of the "
            "database in it, such as dump/NAME."
        )
    if path.name.removesuffix(".gz").endswith((".bson", ".json")):
        return "one file of a dump. Name the folder that it lies in."
    return None


def _unzipped(head: bytes) -> bytes:
    if not head.startswith(_GZIP):
        return head
    try:
        return zlib.decompressobj(31).decompress(head, _HEAD)
    except zlib.error:
        return head
