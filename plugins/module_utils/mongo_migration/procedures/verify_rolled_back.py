"""The checks of a run that was undone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pymongo.database import Database

from ..ledger.journal import Journal
from ..operations.base import Check
from ..operations.entries import Remaining
from ..operations.registry import kind_of
from ..support.progress import Sink
from ..values import compare
from . import journal_pass
from .journal_pass import Seen, Wholeness
from .nothing_else import NothingElse, present
from .results import Result, skipped

_SAMPLES = 5
_READING = {"phase": "verify", "detail": "the journal"}
_COMMENT = "migration-playbooks verify"


def checks(
    db: Database[dict[str, Any]],
    document: dict[str, Any],
    journal: Journal,
    *,
    alone: bool,
    report: Sink,
) -> Iterator[Result]:
    """Yield the checks of a run that was rolled back.

    Args:
        db: the database.
        document: of the run.
        journal: of the run.
        alone: nobody else knows this database, so that nobody can have written to it.
        report: told of what is read; may end it.
    """
    now = present(db, document, journal, alone=alone, comment=_COMMENT, report=report)
    others = NothingElse(document, now, rolled_back=True)
    if document.get("pruned_at"):
        why = "its journal was removed on purpose, and the way back ended"
        yield skipped("every batch of the journal is undone", why)
        yield from others.checks()
        return
    wholeness, undone = Wholeness(document), Undone(db)
    journal_pass.read(journal, (wholeness, undone), lambda: report(_READING))
    yield wholeness.check()
    yield from undone.checks()
    yield from others.checks()


class Undone:
    """Nothing of what the run wrote is left, but for the conflicts that were reported."""

    def __init__(self, db: Database[dict[str, Any]]) -> None:
        self._db = db
        self._found: dict[str, Remaining] = {}
        self._unknown: list[Remaining] = []
        self._reported = self._pending = 0

    def see(self, seen: Seen) -> None:
        """Look at what is left of an entry."""
        entry = seen.entry
        self._pending += not entry.get("reverted")
        left = kind_of(entry).remaining(self._db, entry)
        if left.unknown:
            self._unknown.append(left)
            return
        kept = {compare.hashable(item) for item in entry.get("kept", ())}
        remaining = [item for item in left.left if compare.hashable(item) not in kept]
        self._reported += len(kept)
        sofar = self._found.get(left.what, Remaining(what=left.what))
        self._found[left.what] = replace(
            left, examined=sofar.examined + left.examined, left=sofar.left + remaining
        )

    def checks(self) -> Iterator[Result]:
        """Yield the checks, once all entries were seen."""
        for left in self._unknown:
            yield skipped(left.what, left.unknown)
        for what, left in self._found.items():
            yield Check(
                name=what,
                passed=not left.left,
                expected=0,
                observed=len(left.left),
                examined=left.examined,
                samples=left.left[:_SAMPLES],
            )
        kept = f"{self._reported} documents were changed since and kept" if self._reported else ""
        yield Check(
            name="every batch of the journal is undone",
            passed=self._pending == 0,
            expected=0,
            observed=self._pending,
            examined=sum(left.examined for left in self._found.values()),
            detail=kept,
        )
