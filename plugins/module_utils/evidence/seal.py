"""``seal.json``: what a folder of evidence held when its run was over.

The seal names the SHA-256 of every file, the head of the log's chain, and the seal that was made
before it in the same place: whoever edits a file must remake its seal, and then every later
seal contradicts. With a signature (:mod:`.signature`) nobody without the key can make one at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mongo_migration.support import plain_files

from . import chain, record
from .names import SEAL, SIGNATURE
from .record import digest

__all__ = ["SEAL", "SIGNATURE", "digest", "is_sealed", "seal", "verify"]
LOG = "log.jsonl"
FORMAT = 1


def seal(folder: Path, *, versions: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Write ``seal.json`` of *folder* and return it; a seal that is there is remade.

    Args:
        folder: with everything that is to be sealed.
        versions: of the software that made it.
        more: what the seal says beside.
    """
    log = chain.check(folder / LOG) if LOG in _names(folder) else None
    made = {
        "format": FORMAT,
        "folder": folder.name,
        "sealed": record.now(),
        "versions": dict(versions or {}),
        "log": None if log is None else {"lines": log.lines, "head": log.head},
        "previous": _previous(folder),
        "files": {name: digest(folder / name) for name in _names(folder)},
        **more,
    }
    record.write_json(folder / SEAL, made)
    return made


def verify(folder: Path, *, neighbours: bool = True) -> list[str]:
    """Return what in *folder* isn't as it was sealed, one sentence each; empty when untouched.

    Args:
        folder: the folder.
        neighbours: compare with the seals beside it, too; of all folders at once, the index does.
    """
    try:
        sealed = _read(folder)
    except FileNotFoundError:
        return [f"{folder.name} isn't sealed: {SEAL} is missing"]
    except (ValueError, OSError) as error:
        return [f"{SEAL} can't be read: {error}"]
    problems, files = _name(folder, sealed), sealed["files"]
    present = set(_names(folder, every_kind=True))
    for name, expected in sorted(files.items()):
        if name not in present:
            problems.append(f"{name} was removed")
        elif _digest(folder / name) != expected:
            problems.append(f"{name} was edited")
    problems += [f"{name} was added" for name in sorted(present - set(files))]
    if sealed["log"] is not None and LOG in _names(folder):
        problems += _log(folder, sealed["log"]["lines"])
    return problems + (_neighbours(folder, sealed) if neighbours else [])


def _read(folder: Path) -> dict[str, Any]:
    """Return the seal, whose parts are of their kinds.

    Raises:
        OSError: there is none to be read.
        ValueError: it isn't one.
    """
    sealed = plain_files.read_json(folder / SEAL)
    parts = ("files", dict), ("log", dict | None), ("previous", dict | None)
    if not isinstance(sealed, dict):
        raise ValueError("it is not an object")
    for name, kind in parts:
        if not isinstance(sealed.get(name, ""), kind):
            raise ValueError(f"it has no '{name}'")
    if sealed["log"] is not None and not isinstance(sealed["log"].get("lines"), int):
        raise ValueError("it doesn't count the lines of the log")
    return sealed


def _digest(path: Path) -> str:
    try:
        return digest(path)
    except OSError:
        return ""  # no plain file any more


def _log(folder: Path, lines: int) -> list[str]:
    found = chain.check(folder / LOG)
    if found.problems or found.lines == lines:
        return found.problems
    what = "missing at" if found.lines < lines else "added at"
    return [f"{LOG}: {abs(found.lines - lines)} line(s) {what} the end"]


def _name(folder: Path, sealed: Mapping[str, Any]) -> list[str]:
    """Compare the folder's name: of two folders with one content, one is a copy."""
    name = sealed.get("folder")
    return [] if name == folder.name else [f"the folder was called {name} when it was sealed"]


def is_sealed(folder: Path) -> bool:
    """Return whether *folder* has a seal, intact or not."""
    return (folder / SEAL).exists()


def _names(folder: Path, *, every_kind: bool = False) -> list[str]:
    """Return what a seal covers: every plain file but the seal and its signature.

    Args:
        folder: of evidence.
        every_kind: name links, pipes and devices as well, which no seal ever covers.
    """

    def counts(path: Path) -> bool:
        plain = path.is_file() and not path.is_symlink()
        return plain or (every_kind and (path.is_symlink() or not path.is_dir()))

    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if counts(path)}
    return sorted(names - {SEAL, SIGNATURE})


def _sealed_neighbours(folder: Path) -> Iterator[Path]:
    """Yield the other sealed folders beside *folder*, by their names the newest first."""
    for path in sorted(folder.parent.glob(f"*/{SEAL}"), reverse=True):
        if path.parent.name != folder.name:
            yield path.parent


def _previous(folder: Path) -> dict[str, str] | None:
    newest = next(_sealed_neighbours(folder), None)
    if newest is None:
        return None
    return {"folder": newest.name, "seal": _digest(newest / SEAL)}


def _neighbours(folder: Path, sealed: Mapping[str, Any]) -> list[str]:
    """Compare with the seals before and after; a folder that was moved away proves nothing."""
    problems = []
    previous = sealed.get("previous") or {}
    before = folder.parent / str(previous.get("folder", "")) / SEAL
    if previous and before.is_file() and _digest(before) != previous.get("seal"):
        problems.append(f"the seal of {previous['folder']}, which this one follows, was remade")
    own = digest(folder / SEAL)
    for later in _sealed_neighbours(folder):
        told = record.read_json(later / SEAL).get("previous")
        if isinstance(told, dict) and told.get("folder") == folder.name and told.get("seal") != own:
            problems.append(f"{SEAL} was remade: {later.name} names another one")
    return problems
