"""A page of evidence for each of many databases, from what the modules packed."""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import record

FOLDER = "databases"
# As the engine lets databases be called; anything else is not a name of a file.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")
_READ_BYTES = 1 << 16


def write(
    folder: Path, packed: Mapping[str, str], mask: Callable[[Any], Any] = lambda value: value
) -> int:
    """Write ``databases/NAME.json`` into *folder* for each database; return how many there are.

    Args:
        folder: of the evidence.
        packed: by what they tell of (plan, backup, migration, …), pages as a module returns them.
        mask: takes secrets out of a page.

    Raises:
        OSError: a page can't be written.
        ValueError: what was packed isn't what the engine packs.
    """
    written: set[str] = set()
    for kind, text in packed.items():
        for name, page in read(text):
            path = folder / FOLDER / f"{name}.json"
            path.parent.mkdir(mode=0o750, exist_ok=True)
            known = record.read_json(path) if name in written else {}
            record.write_json(path, {"database": name, **known, kind: mask(page)})
            written.add(name)
    return len(written)


def read(text: str) -> Iterator[tuple[str, Any]]:
    """Yield each database and its page.

    Raises:
        ValueError: *text* isn't what the engine packs.
    """
    try:
        unpacker, left = zlib.decompressobj(), b""
        raw = base64.b64decode(text, validate=True)
        for start in range(0, len(raw), _READ_BYTES):
            left += unpacker.decompress(raw[start : start + _READ_BYTES])
            *lines, left = left.split(b"\n")
            for line in lines:
                name, page = json.loads(line)
                if not _NAME.fullmatch(name):
                    raise ValueError(f"{name!r} is not a name of a database")
                yield name, page
    except (zlib.error, binascii.Error, TypeError) as error:
        raise ValueError(f"the pages of the databases can't be read: {error}") from error
