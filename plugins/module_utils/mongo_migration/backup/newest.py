"""The newest backup of a database in a folder, by what the archives say of themselves."""

from __future__ import annotations

from pathlib import Path

from ..errors import ArchiveError
from ..support import commands
from .store import Store


def archive(folder: Path, database: str) -> Path:
    """Return the newest archive of *database* in *folder* that can be read.

    Raises:
        ArchiveError: there is none.
    """
    known = [
        (one.about.started, one.path)
        for one in Store(folder).archives()
        if one.about and one.about.database == database and not one.problem
    ]
    if not known:
        raise ArchiveError(
            f"There is no backup of '{database}' in {folder}. Take one first: "
            f"{commands.command('backup')}",
            next=commands.command("backup"),
        )
    return max(known)[1]
