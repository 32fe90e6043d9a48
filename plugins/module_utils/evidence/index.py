"""``seals.jsonl``: every seal that was made in one place, so that a missing folder is missed.

A seal can prove what its folder holds, and not that a folder was there. So each seal is a line of a
chained log beside the folders (:mod:`.chain`), and holds the hash of the line before its own:
whoever takes out a folder together with its line contradicts every seal that was made since. With a
key, each line is signed as well.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mongo_migration.support import file_lock

from . import chain, record, signature
from .lines import read_lines
from .names import SEAL

INDEX = "seals.jsonl"
SEALED, REMOVED = "sealed", "removed"
# Sealing takes a moment.
LOCK_SECONDS = 20


class Index:
    """The index of one place, which nobody else writes to meanwhile.

    Args:
        root: the folder of folders.
        descriptor: of the file.
    """

    def __init__(self, root: Path, descriptor: int) -> None:
        self._path = root / INDEX
        self._descriptor = descriptor
        self._end = chain.cut(descriptor, self._path)
        self.head = chain.head(self._path)

    def add(self, line: Mapping[str, Any], *, signing_key: str | None = None) -> None:
        """Append *line*.

        Raises:
            OSError: it can't be written; the index is as before.
            ValueError: the key is none.
        """
        linked = chain.link(chain.plain({"time": record.now(), **line}), self.head)
        if signing_key:
            linked["signature"] = signature.of_text(linked["hash"], signing_key)
        data = chain.write(linked).encode()
        try:
            whole = os.write(self._descriptor, data) == len(data)
        except OSError:
            os.ftruncate(self._descriptor, self._end)
            raise
        if not whole:
            os.ftruncate(self._descriptor, self._end)
            raise OSError(f"{self._path} can't be written whole")
        self.head, self._end = str(linked["hash"]), self._end + len(data)


@contextmanager
def opened(root: Path) -> Iterator[Index]:
    """Give the index of *root*, locked.

    Raises:
        OSError: it can't be written.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(root / INDEX, flags, record.FILE_MODE)
    try:
        # On a file system without locks or owners, the chain still tells what was lost.
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{root / INDEX} is not a plain file")
        with suppress(OSError):
            file_lock.take(descriptor, seconds=LOCK_SECONDS)
            _share(root, descriptor)
        yield Index(root, descriptor)
    except file_lock.FileLockHeldError as error:
        raise OSError(
            f"another process has kept the lock of {root / INDEX} for {LOCK_SECONDS} s: look who "
            f"it is (fuser {root / INDEX})"
        ) from error
    finally:
        os.close(descriptor)


def _share(root: Path, descriptor: int) -> None:
    """Let everybody add to a new index who may make a folder beside it."""
    if root.stat().st_mode & stat.S_IWGRP and not os.fstat(descriptor).st_size:
        os.fchmod(descriptor, record.FILE_MODE | stat.S_IWGRP)


def is_there(root: Path) -> bool:
    """Return whether *root* has an index."""
    return (root / INDEX).exists()


def check(root: Path, *, public_key: str = "") -> list[str]:
    """Return what is wrong with the folders of *root* taken together, one sentence each.

    Folders that no line names are no problem: they were sealed elsewhere and copied here, such as
    the evidence of a rehearsal.
    """
    folders = {path.parent.name: record.read_json(path) for path in root.glob(f"*/{SEAL}")}
    if not is_there(root):
        missing = any(sealed.get("index") for sealed in folders.values())
        return [f"{INDEX} is missing: nothing shows whether folders were removed"] * missing
    try:
        problems = chain.check(root / INDEX).problems
    except OSError as error:
        return [f"{INDEX} can't be read: {error}"]
    lines = list(read_lines(root / INDEX))
    problems += _unsigned(lines, public_key)
    removed = {str(line.get("folder")) for line in lines if line.get("what") == REMOVED}
    newest = {str(line["folder"]): line for line in lines if _is_seal(line)}
    for name, line in newest.items():
        problems += _one(root, name, line, folders=folders, removed=removed)
    return problems


def _one(
    root: Path,
    name: str,
    line: Mapping[str, Any],
    *,
    folders: Mapping[str, Mapping[str, Any]],
    removed: Iterable[str],
) -> list[str]:
    """Return what is wrong with one folder that the index names."""
    copies = [
        other for other, sealed in sorted(folders.items()) if other != name == sealed.get("folder")
    ]
    if name in folders:
        same = _digest(root / name / SEAL) == line["seal"]
        if same and folders[name].get("index") == line.get("previous"):
            found = []
        elif same:
            found = [f"{INDEX} was remade: {name} follows another line"]
        else:
            found = [f"the seal of {name} was remade: {INDEX} holds another one"]
        return found + [f"{other} is a copy of {name}" for other in copies]
    if copies:
        return [f"{name} was renamed to {copies[0]}"]
    if name in removed:
        return []
    what = "isn't sealed any more" if (root / name).is_dir() else "is missing"
    return [f"{name} {what}: it was sealed here"]


def _digest(path: Path) -> str:
    try:
        return record.digest(path)
    except OSError:
        return ""  # no plain file any more


def _is_seal(line: Mapping[str, Any]) -> bool:
    named = isinstance(line.get("folder"), str) and isinstance(line.get("seal"), str)
    return named and line.get("what") == SEALED


def _unsigned(lines: Iterable[Mapping[str, Any]], public_key: str) -> list[str]:
    """Return the lines that somebody without the key wrote.

    A command that was cut off seals without a key; what removes a folder never does.
    """
    if not public_key:
        return []
    problems = []
    for number, line in enumerate(lines, start=1):
        given = line.get("signature")
        if given is None and line.get("what") != REMOVED:
            continue
        if not signature.is_of_text(str(given), str(line.get("hash")), public_key):
            problems.append(f"{INDEX}: line {number} isn't signed with the key of this inventory")
    return problems
