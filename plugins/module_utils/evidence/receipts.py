"""The receipt of a backup that another tool took: believed where evidence on this machine holds it.

No archive can be read, and the run that names the receipt lies in a database that others may write
to. The command that took the backup kept the receipt here, where they may not.
"""

from __future__ import annotations

from pathlib import Path

from . import record


def is_kept(root: Path, receipt: str, *, run: str, deployment: str, database: str) -> bool:
    """Return whether evidence in *root* holds *receipt* as the backup of *run*.

    Args:
        root: the folder of folders.
        receipt: the id that the tool gave its backup.
        run: the run that is said to rely on it.
        deployment: the host of the run.
        database: that it migrates.
    """
    wanted = {"run": run, "deployment": deployment, "database": database}
    for folder in root.glob("*/"):
        known = record.read(folder)
        if all(known.get(key) == value for key, value in wanted.items()):
            taken = record.read_json(folder / "backup.json").get("external")
            held = taken.get("receipt") if isinstance(taken, dict) else None
            if isinstance(held, dict) and str(held.get("id")) == receipt:
                return True
            if record.read_json(folder / "release.json").get("backup") == f"external {receipt}":
                return True
    return False
