"""What becomes of a run while the server is critical: it is paused, or aborted, by a setting.

It goes the way that a person in another terminal goes (:mod:`..ledger.control`), so that the
run stops at a batch boundary, and status.yml shows who asked.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from pymongo import MongoClient

from ..errors import MigrationError
from ..ledger import control
from .catalog import DATABASE, METRICS
from .thresholds import CRITICAL, Finding

WARN, PAUSE, ABORT = ACTIONS = ("warn", "pause", "abort")
# One look may be an outlier; and what has just recovered may not last.
_BAD_LOOKS = 2
_GOOD_LOOKS = 3
_USER = "monitor"


class Trip:
    """Watches for looks that are critical one after another.

    Args:
        client: connected to the deployment, as a user who may steer runs.
        database: the database that is migrated.
        action: one of :data:`ACTIONS`.
    """

    def __init__(self, client: MongoClient[dict[str, Any]], database: str, *, action: str) -> None:
        self._client = client
        self._database = database
        self._action = action
        self._bad = 0
        self._good = 0
        self._acted = False
        self._paused: str | None = None
        self.taken: list[str] = []

    def see(self, findings: Iterable[Finding]) -> None:
        """Count one look, and act where it is time."""
        critical = [
            finding
            for finding in findings
            # An application that refuses in maintenance mode is not a reason to stop the migration.
            if finding.level == CRITICAL and METRICS[finding.metric].section == DATABASE
        ]
        self._bad = self._bad + 1 if critical else 0
        self._acted = self._acted and bool(critical)
        self._good = 0 if critical else self._good + 1
        if self._action == WARN:
            return
        # A run that begins while the server is critical already is met at one of the next looks;
        # once in a time of trouble, so that a person who resumes it is the one who decides.
        if self._bad >= _BAD_LOOKS and not self._acted:
            self._acted = self._give(self._action, critical[0].text)
        elif self._paused and self._good == _GOOD_LOOKS:
            self._give(control.RESUME, "the server has recovered")

    def _give(self, action: str, why: str) -> bool:
        """Give a command; return whether there was a run to take it."""
        operator = {"user": _USER, "host": socket.gethostname()}
        try:
            if action == control.RESUME and not self._ours():
                self._paused = None  # a person has taken over meanwhile
                return False
            given = control.give(
                client=self._client,
                database=self._database,
                action=action,
                limits={},
                operator=operator,
            )
        except MigrationError:
            return False  # nothing is at work that could be steered, or be believed
        if given["changed"]:
            self._paused = given["run"] if action == PAUSE else None
            self.taken.append(f"{action}d run {given['run']}: {why}")
        return True

    def _ours(self) -> bool:
        """Return whether the pause that stands is the one from here."""
        asked = control.read(self._client[self._database], self._paused) if self._paused else None
        return asked is not None and asked.by.startswith(f"{_USER}@")
