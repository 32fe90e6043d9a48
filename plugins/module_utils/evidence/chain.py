"""Lines of JSON of which each holds the hash of all before it: the format of ``log.jsonl``."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mongo_migration.support import plain_files

# What the first line follows.
BEGINNING = "0" * 64


class Chain(NamedTuple):
    """What was read from a file of chained lines."""

    lines: int
    head: str
    problems: list[str]


def link(line: Mapping[str, Any], previous: str) -> dict[str, Any]:
    """Return *line* with ``previous`` and its own ``hash``, to be written after *previous*."""
    return {**line, "previous": previous, "hash": _hash(line, previous)}


def write(line: Mapping[str, Any]) -> str:
    """Return a linked line as it stands in the file."""
    return to_json(line) + "\n"


def to_json(value: Any, indent: int | None = None) -> str:
    """Return *value* as JSON that is harmless where somebody looks at it on a terminal.

    JSON escapes the control characters below U+0020 in any case; those beyond ASCII can turn text
    round, hide it, or begin a control sequence as well.
    """
    return json.dumps(value, indent=indent, default=str).replace("\x7f", "\\u007f")


def plain(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return *line* as it is when it was written and read again, before it is linked."""
    text = json.dumps(line, ensure_ascii=False, default=str)
    # Half a surrogate pair, from a program's broken output, can't be written.
    found: dict[str, Any] = json.loads(text.encode("utf-8", "replace"))
    return found


def check(path: Path) -> Chain:
    """Read *path*, and name each line that isn't as it was written, and each gap.

    Raises:
        OSError: it can't be read, or is not a plain file.
    """
    expected, number = BEGINNING, 0
    problems: list[str] = []
    for number, raw in enumerate(plain_files.lines(path), start=1):
        line = _parse(raw)
        if line is None:
            problems.append(f"{path.name}: line {number} isn't a line of this log")
            continue
        if line["previous"] != expected:
            problems.append(
                f"{path.name}: lines were removed, inserted or changed before line {number}"
            )
        if line["hash"] != _hash(line, line["previous"]):
            problems.append(f"{path.name}: line {number} was edited")
        expected = line["hash"]
    return Chain(number, expected, problems)


def head(path: Path) -> str:
    """Return the hash that the next line of *path* follows; of a file that isn't there, too."""
    line = None
    if path.exists():
        # A line that a kill cut short is not a line: the next one follows the last whole one.
        for raw in plain_files.lines(path):
            line = _parse(raw) or line
    return BEGINNING if line is None else str(line["hash"])


def cut(descriptor: int, path: Path) -> int:
    """Remove a last line that a crash cut short, and return the length that is left."""
    data = plain_files.read(path)
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        os.ftruncate(descriptor, whole)
    return whole


def _parse(raw: bytes) -> dict[str, Any] | None:
    try:
        line = plain_files.parse_json(raw)
    except ValueError:
        return None
    known = isinstance(line, dict) and all(isinstance(line.get(k), str) for k in _OWN)
    return line if known else None


_OWN = ("previous", "hash")
# Made of the hash, and so no part of it.
_AFTERWARDS = "signature"


def _hash(line: Mapping[str, Any], previous: str) -> str:
    """Return the SHA-256 of the previous hash and the canonical JSON of the line's content."""
    content = {key: value for key, value in line.items() if key not in (*_OWN, _AFTERWARDS)}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(f"{previous}\n{canonical}".encode("utf-8", "surrogatepass")).hexdigest()
