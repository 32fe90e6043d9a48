"""The last bytes of an archive: where its manifest is, and a hash over everything before them.

They form an empty gzip member of fixed length whose extra field holds the values, so that gzip and
tar skip them, and ``latest.tar.gz`` can be described without reading it all.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from ..errors import ArchiveError

#: Of a whole archive.
FORMAT = 2
#: Of one that holds only what changed since another: whoever doesn't know of them must refuse it.
INCREMENTAL = 3
NEWEST = INCREMENTAL

# magic of gzip as in members; the field MF: format, manifest offset, length of the file, hash
_FIXED = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff"
_LAYOUT = struct.Struct("<10sH2sHIQQ32s2s8s")
_FIELD = b"MF"
_EMPTY = b"\x03\x00"
_VALUE = 4 + 8 + 8 + 32

LENGTH = _LAYOUT.size


@dataclass(frozen=True, slots=True)
class Footer:
    """What the last bytes say."""

    manifest: int
    length: int
    hash: bytes
    format: int = FORMAT

    def pack(self) -> bytes:
        """Return the footer's bytes."""
        return _LAYOUT.pack(
            _FIXED,
            _VALUE + 4,
            _FIELD,
            _VALUE,
            self.format,
            self.manifest,
            self.length,
            self.hash,
            _EMPTY,
            bytes(8),
        )


def parse(raw: bytes, *, length: int) -> Footer:
    """Return the footer in the last bytes of a file of *length* bytes.

    Raises:
        ArchiveError: there is none, it is of a newer format, or the file has another length.
    """
    if len(raw) != LENGTH:
        raise ArchiveError("The file is too short to be a backup archive.")
    fixed, extra, field, value, number, manifest, said, digest, empty, trailer = _LAYOUT.unpack(raw)
    if (fixed, field, empty, trailer) != (_FIXED, _FIELD, _EMPTY, bytes(8)) or (extra, value) != (
        _VALUE + 4,
        _VALUE,
    ):
        raise ArchiveError(
            "The archive is truncated or damaged, or it wasn't made by mongo_backup: "
            "it doesn't end as an archive ends."
        )
    if number > NEWEST:
        raise ArchiveError(
            f"The archive has format {number}; this version reads up to {NEWEST}. "
            "Restore it with the version that made it, or a newer one.",
            format=number,
        )
    if said != length or number < 1 or not manifest < length - LENGTH:
        raise ArchiveError(
            f"The archive is damaged: it has {length} bytes, and says that it has {said}."
        )
    return Footer(manifest, said, digest, number)


def combine(hashes: bytes) -> bytes:
    """Return the hash of an archive from the hashes of its members, end to end."""
    return hashlib.sha256(hashes).digest()
