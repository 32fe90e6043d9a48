"""Errors that a person reads: what failed, on what, and the next command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Who reads a hundred lines has seen enough; what comes from a database may have no end.
_SHOWN = 100


class MigrationError(Exception):
    """Base of all errors of the engine.

    Args:
        message: one sentence that says what failed, on what, and how to go on.
        **details: the data behind the message; a module returns it under ``details``.
    """

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class DefinitionError(MigrationError):
    """A migration document, its variables or its collection map is wrong; nothing was connected."""


class ConnectionFailedError(MigrationError):
    """The server can't be reached, refuses the login, or lacks something that we need."""


class PlanBlockedError(MigrationError):
    """The plan found data for which no stated policy says what to do; nothing was written."""


class LeaseHeldError(MigrationError):
    """Another process holds the lease of this database."""


class LeaseLostError(MigrationError):
    """This process lost its lease; the write that was due did not happen."""


class InterruptedRunError(MigrationError):
    """A stop was asked for; the run ended at a batch boundary and can be resumed."""


class ArchiveError(MigrationError):
    """A backup archive is damaged, foreign, of a newer format, or can't be written."""


class Collector:
    """Gathers problems so that a person sees all of them at once, not one a run."""

    def __init__(self, error: Callable[..., MigrationError]) -> None:
        self._error = error
        self.problems: list[str] = []

    def add(self, problem: str) -> None:
        """Keep one problem; it is raised with the others."""
        self.problems.append(problem)

    def raise_if_any(self, headline: str, **details: Any) -> None:
        """Raise the error with every problem on a line of its own, if there is one."""
        if not self.problems:
            return
        shown = self.problems[:_SHOWN]
        if len(self.problems) > _SHOWN:
            shown.append(f"… and {len(self.problems) - _SHOWN:,} more")
        lines = "".join(f"\n  - {problem}" for problem in shown)
        raise self._error(f"{headline}{lines}", problems=shown, **details)
