"""What a rehearsal does to its copy: up, down, verified, compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pymongo.database import Database

from ..backup import compare
from ..backup.source import Source
from ..document.definition import Definition
from ..errors import MigrationError
from . import migrate, rollback, verify
from .work import Job


def up(job: Job, definition: Definition) -> dict[str, Any]:
    """Apply *definition* as it will be in earnest: with writers stopped, or batch by batch."""
    alone = replace(job.settings, writers_stopped=definition.downtime != "none")
    return migrate.migrate(replace(job, settings=alone), definition)


def down(job: Job, definition: Definition, run: str | None = None) -> None:
    """Roll the newest run of *definition* back, or *run*.

    Raises:
        MigrationError: there are conflicts, though nobody else writes.
    """
    outcome = rollback.roll_back(job, definition.id, definition, run=run)
    if conflicts := outcome["conflict_count"]:
        raise MigrationError(
            f"the rollback left {conflicts:,} documents alone, which nobody but the migration "
            "wrote to",
            conflicts=outcome["conflicts"],
        )


def checked(job: Job, definition: Definition, expect: str) -> dict[str, Any]:
    """Return the verdict of the verification."""
    return verify.verify(
        client=job.client,
        database=job.database,
        definition=definition,
        expect=expect,
        operator=job.operator,
        lease_seconds=job.settings.lease_seconds,
        alone=True,
        stop=job.stop,
    )


def require_passed(verdict: Mapping[str, Any]) -> None:
    """Raise a MigrationError if a check failed."""
    if verdict["passed"]:
        return
    failed = [check for check in verdict["checks"] if check["status"] == "failed"]
    told = "; ".join(
        f"{check['name']}: expected {check['expected']}, found {check['observed']}"
        for check in failed
    )
    raise MigrationError(f"{len(failed)} checks fail: {told}")


def verified(job: Job, definition: Definition, expect: str) -> None:
    """Verify, and raise a MigrationError if a check failed."""
    require_passed(checked(job, definition, expect))


def compared(copy: Database[dict[str, Any]], source: Source) -> dict[str, Any]:
    """Return how the copy differs from the backup, byte by byte."""
    found = list(compare.each(copy, source))
    return {
        "collections": len(found),
        "documents": sum(one.documents for one in found),
        "problems": [text for one in found for text in one.problems],
        "notes": [one.note for one in found if one.note],
    }


def require_equal(comparison: Mapping[str, Any]) -> None:
    """Raise a MigrationError if the copy isn't what the backup holds."""
    if problems := comparison["problems"]:
        raise MigrationError(f"the rolled back copy isn't what the backup holds: {problems[0]}")
