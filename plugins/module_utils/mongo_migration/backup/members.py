"""Gzip members that know their own length, so that an archive of them can be read in parallel.

Any gzip reads a file of several members as one stream. Each member here tells its whole length in
an extra field of its header (RFC 1952, 2.3.1.1), as BGZF does: a reader can fetch one, hand it to
a thread and go on to the next. Everything else in the header is fixed, so that a flipped byte in
it is noticed too.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import cast

from zlib_ng import zlib_ng

from ..errors import ArchiveError

# magic, deflate, FEXTRA, no time, no level, unknown system
_FIXED = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff"
_EXTRA = struct.Struct("<H2sHI")  # length of the field, its name, length of its value, value
_STORED = struct.Struct("<BHH")
_TRAILER = struct.Struct("<II")
_FIELD = b"MP"

# Its type stub calls the exception class an instance.
_ZlibError = cast(type[Exception], zlib_ng.error)
# A tenth larger than gzip's own level 6 at four times its speed.
_LEVEL = 3
_RAW = -15  # deflate without a header of zlib's or gzip's, with the largest window

HEADER = len(_FIXED) + _EXTRA.size
#: How every archive of ours begins.
START = _FIXED + _EXTRA.pack(_EXTRA.size - 2, _FIELD, 4, 0)[:-4]
# A stored block of deflate says its length in 16 bits.
MOST_STORED = 0xFFFF
# A reply of the server holds 16 MiB at most, and no manifest is longer: more means damage.
_LONGEST = 32 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """One gzip member, ready to be written."""

    raw: bytes
    size: int  # of its content
    hash: bytes  # SHA-256 of the member as it lies in the file


def pack(content: bytes) -> Member:
    """Return *content* compressed; other threads run meanwhile."""
    return _wrap(zlib_ng.compress(content, _LEVEL, _RAW), content)


def store(content: bytes) -> Member:
    """Return *content* uncompressed: a member whose length is known before its content is."""
    if len(content) > MOST_STORED:
        raise ValueError(f"{len(content)} bytes don't fit a stored block")
    body = _STORED.pack(1, len(content), len(content) ^ 0xFFFF) + content
    return _wrap(body, content)


def stored_length(size: int) -> int:
    """Return the length of a stored member of *size* bytes of content."""
    return HEADER + _STORED.size + size + _TRAILER.size


def length_of(header: bytes, offset: int) -> int:
    """Return the length of the member that begins with *header*.

    Raises:
        ArchiveError: it isn't one of ours.
    """
    if len(header) < HEADER:
        raise ArchiveError(f"The archive ends in the middle of a block, at byte {offset}.")
    extra, field, value, length = _EXTRA.unpack_from(header, len(_FIXED))
    if (
        header[: len(_FIXED)] != _FIXED
        or (extra, field, value) != (_EXTRA.size - 2, _FIELD, 4)
        or not HEADER + _TRAILER.size < length <= _LONGEST
    ):
        raise ArchiveError(f"The archive is damaged: no block begins at byte {offset}.")
    return int(length)


def unpack(raw: bytes, offset: int) -> bytes:
    """Return the content of a whole member; other threads run meanwhile.

    Args:
        raw: the member.
        offset: where it lies in the file, for the message.

    Raises:
        ArchiveError: its content doesn't decompress to what its checksum says.
    """
    try:
        checksum, size = _TRAILER.unpack_from(raw, len(raw) - _TRAILER.size)
        content = _inflate(memoryview(raw)[HEADER : -_TRAILER.size], size)
    except (_ZlibError, ValueError) as error:
        raise ArchiveError(
            f"The archive is damaged: the block at byte {offset} doesn't decompress ({error})."
        ) from error
    if size != len(content) or checksum != zlib_ng.crc32(content):
        raise ArchiveError(
            f"The archive is damaged: the block at byte {offset} fails its checksum."
        )
    return content


def _inflate(body: memoryview, size: int) -> bytes:
    """Return *size* bytes of what *body* holds, and never more than one byte more.

    Raises:
        ValueError: it holds another number of bytes, or more than anything of ours.
    """
    if size > _LONGEST:
        raise ValueError(f"it holds more than {_LONGEST >> 20} MiB")
    inflated = zlib_ng.decompressobj(_RAW)
    content: bytes = inflated.decompress(body, size + 1)
    if not inflated.eof and len(content) <= size:  # what is left is the end alone
        content += inflated.decompress(inflated.unconsumed_tail, 1)
    if not inflated.eof or inflated.unused_data:
        raise ValueError("its length isn't what it says")
    return content


def _wrap(body: bytes, content: bytes) -> Member:
    length = HEADER + len(body) + _TRAILER.size
    raw = b"".join(
        (
            _FIXED,
            _EXTRA.pack(_EXTRA.size - 2, _FIELD, 4, length),
            body,
            _TRAILER.pack(zlib_ng.crc32(content), len(content)),
        )
    )
    return Member(raw, len(content), hashlib.sha256(raw).digest())
