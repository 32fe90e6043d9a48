"""The commands that the engine suggests: what to do, while how it is reached is for others to add.

The engine doesn't know the inventory, its limit, or where the playbooks lie. Whoever shows or keeps
its texts completes them (``invocation.command_line``), which finds them by this form.
"""

from __future__ import annotations

from typing import Any

from . import neutral


def command(playbook: str, **variables: Any) -> str:
    """Return the command that runs *playbook*, with *variables* given by ``-e``.

    Args:
        playbook: without its ending, such as ``rollback``.
        variables: values of any origin; none of them is read as anything but a value.
    """
    words = [f"ansible-playbook {playbook}.yml"]
    words += [f"-e {neutral.extra_variable(name, value)}" for name, value in variables.items()]
    return " ".join(words)


def restore_named(backup: str | None) -> str:
    """Return how to restore the backup that a run names, as a sentence or two.

    Its name stands in the migrated database, where others may have written another one: a person
    is to look at it first.

    Args:
        backup: as the run names it.
    """
    if not backup:
        listing = command("backup", state="list")
        return f"The run names no backup; look for one from before it: {listing}."
    if backup.startswith("external "):
        return (
            f"The run names the backup {neutral.line(backup)}, of another tool: restore it with "
            "that tool, once the evidence of the command that began the run shows the same receipt."
        )
    restore = command("restore", archive=backup)
    return (
        f"The run names a backup. Look at it first, since only the database says so: {restore} "
        f"--check; then restore it: {restore}."
    )


def carry_out(migration: str, name: str) -> str:
    """Return the command that carries out a migration, or a repair, which goes by its *name*."""
    if migration.startswith("R"):
        return command("repair", repair=name.replace("-", "_"))
    # An id may come from a database: only a number is a part of a file's name.
    return command(f"migrate-{migration}" if migration.isdecimal() else "status")


def roll_back(migration: str, **more: Any) -> str:
    """Return the command that rolls *migration* back."""
    return command("rollback", migration=migration, **more)


STATUS = command("status")
STOP_WRITERS = command("maintenance", state="on")
