"""What is known of a command that was interrupted, in words for whoever sits before it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# They notice a signal themselves, end where they can go on, and say so.
_SPEAKING = frozenset(
    {
        *("mongo_migrate", "mongo_rollback", "mongo_backup", "mongo_restore"),
        *("mongo_rehearse", "mongo_monitor", "mongo_migration_watch"),
    }
)
_DATA = frozenset({"mongo_migrate", "mongo_rollback", "mongo_restore"})
_SWITCHING = frozenset(
    {"mongo_maintenance", "mongo_maintenance_flag", "app_maintenance_everywhere"}
)
_SECRET = re.compile(r"passw|secret|token|vault_|_key|uri", re.IGNORECASE)


@dataclass
class Story:
    """How far a command came.

    Args:
        phase: the phase that is at work.
        ended: whether the playbook came to its end.
    """

    phase: str = ""
    ended: bool = False
    _at: str = ""
    _speaks: bool = False
    _begun: set[str] = field(default_factory=set)
    _facts: dict[str, Any] = field(default_factory=dict)

    def begins(self, action: str, *, check: bool, background: bool = False) -> None:
        """Note that *action* was begun; in the *background* it shows nothing."""
        self._at = action.rpartition(".")[2]
        self._speaks = self._at in _SPEAKING and not check and not background
        if not check:
            self._begun.add(self._at)

    def learns(self, facts: Mapping[str, Any]) -> None:
        """Note what a task recorded."""
        for name in ("maintenance_entered", "maintenance_left", "maintenance_half_left"):
            if name in facts:
                self._facts[name] = facts[name]

    def last_words(self, task: str, again: str) -> list[str]:
        """Return the lines to show; none where the module at work says them itself.

        Args:
            task: the task that was at work.
            again: the command as it was typed.
        """
        if self._speaks:
            return []
        where = f"{self.phase}: {task}" if self.phase else task
        lines = ["", f"Interrupted ({where}). Nothing else was begun."]
        lines += [f"data      {self._data()}", f"writers   {self._writers()}"]
        if not _SECRET.search(again):
            lines.append(f"next      {again}")
        status = re.sub(r"\S+[.]ya?ml", "status.yml", again.partition(" -e ")[0], count=1)
        if self._begun & (_DATA | _SWITCHING) and not _SECRET.search(status):
            lines.append(f"or        {status}   # says what state it is in, and what to do")
        return lines

    def _data(self) -> str:
        if self._begun & _DATA:
            return "This command has written to the data; what it did stands in its journal."
        return "This command has written nothing to the data."

    def _writers(self) -> str:
        facts = self._facts
        if facts.get("maintenance_half_left") or self._at in _SWITCHING:
            return "Maintenance mode was being switched: some may know it, and others not."
        if facts.get("maintenance_entered") and not facts.get("maintenance_left"):
            return "Maintenance mode is ON: the application is read-only."
        if facts.get("maintenance_left"):
            return "Maintenance mode is off."
        return "This command did not touch maintenance mode."
