"""Which archives the folder of many databases holds, by database; asks no server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ..backup import listing
from ..support.progress import Sink
from . import selection
from .fleet import Options

Listed = dict[str, Any]


def listed(params: Mapping[str, Any], *, now: datetime, progress: Sink) -> dict[str, Any]:
    """Return what ``listing.find`` does of one database, and :func:`find` of many.

    Args:
        params: of the module: ``dest``, ``database``, ``fleet`` and ``verify`` count.
        now: what ages count from.
        progress: told of archives that are read.

    Raises:
        SelectionError: ``fleet`` names no databases.
    """
    folder, name, verify = Path(params["dest"]), params["database"], params["verify"]
    if params["fleet"] is None:
        return listing.find(folder, database=name, now=now, progress=progress, verify=verify)
    return find(folder, Options(**params["fleet"]), now=now, progress=progress, verify=verify)


def find(
    folder: Path, options: Options, *, now: datetime, progress: Sink, verify: bool
) -> dict[str, Any]:
    """Return what ``listing.find`` returns, of the folder of each database, and each one's newest.

    A folder that a query may mean counts: without a server, nobody can tell.

    Args:
        folder: that holds a folder for each database.
        options: which databases are meant.
        now: what ages count from.
        progress: told of archives that are read.
        verify: read all of each archive again.
    """

    def held_by(name: str) -> dict[str, Any]:
        return listing.find(folder / name, database=name, now=now, progress=progress, verify=verify)

    each = [(name, held_by(name)) for name in _folders(folder, options)]
    held = {name: found["backups"] for name, found in each if found["backups"]}
    return {
        "backups": [one for backups in held.values() for one in backups],
        "latest": None,
        "newest": None,
        "by_database": [_row(name, backups) for name, backups in held.items()],
        "warnings": list(
            dict.fromkeys(text for _name, found in each for text in found["warnings"])
        ),
    }


def _row(name: str, backups: Sequence[Listed]) -> dict[str, Any]:
    good = [one for one in backups if one["verified"] and one["database"] == name]
    return {
        "database": name,
        "archives": len(backups),
        "bad": len(backups) - len(good),
        "newest": good[0] if good else None,
    }


def _folders(folder: Path, options: Options) -> Iterator[str]:
    """Yield the names of the databases that are meant and have a folder."""
    meant = _meant(selection.parse(options.databases))
    only = set(options.only)
    for path in sorted(folder.iterdir() if folder.is_dir() else ()):
        wanted = path.name in only if only else meant(path.name)
        if wanted and path.is_dir() and not path.is_symlink() and selection.is_name(path.name):
            yield path.name


def _meant(source: selection.Source) -> Callable[[str], bool]:
    if isinstance(source, re.Pattern):
        pattern = source
        return lambda name: pattern.search(name) is not None
    if isinstance(source, selection.Query):
        return lambda name: True
    return set(source).__contains__
