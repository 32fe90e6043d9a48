"""What came of each database, and of all of them: counted, and by name where somebody must look."""

from __future__ import annotations

import base64
import json
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InterruptedRunError, LeaseHeldError, LeaseLostError, MigrationError
from ..support import neutral
from ..values import ejson

# States of a database, in the words that a person reads.
TO_MIGRATE, UNFINISHED, DONE = "to migrate", "half-way", "done before"
MIGRATED, CAUGHT_UP, VERIFIED = "verified now", "caught up", "verified"
BACKED_UP, KEPT = "backed up", "keeps its backup"
TO_ROLL_BACK, ROLLED_BACK, NOTHING = "to roll back", "rolled back", "nothing to undo"
BACK_BEFORE = "rolled back before"
REFUSED, HELD, FAILED = "refused", "another is at work", "failed"
UNDONE, STUCK = "failed, rolled back", "FAILED, NOT ROLLED BACK"
INTERRUPTED, LOST, DRIFTED, LACKING = "interrupted", "process lost", "drifted", "lacks it"
CONFLICTS, NOT_BEGUN = "rolled back, with conflicts", "not begun"

# As they stand in tables: those that somebody must look at come last.
ORDER = (
    *(TO_MIGRATE, UNFINISHED, BACKED_UP, KEPT, CAUGHT_UP, MIGRATED, VERIFIED, DONE),
    *(TO_ROLL_BACK, ROLLED_BACK, BACK_BEFORE, NOTHING, NOT_BEGUN),
    *(CONFLICTS, LACKING, DRIFTED, REFUSED, HELD, FAILED, UNDONE, INTERRUPTED, LOST, STUCK),
)
ATTENTION = frozenset(ORDER[ORDER.index(CONFLICTS) :])
# Neither as it was nor done: nobody should write there as if nothing was.
HALF_WAY = frozenset({INTERRUPTED, LOST, STUCK})

_LONGEST_REASON = 300
# On a screen; all of them are in the evidence.
SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one database.

    Args:
        database: its name.
        state: one of the words above.
        reason: why, where somebody must look; one line.
        changed: whether something was written.
        numbers: what is added up over all databases.
        archive: the backup that was taken, if one was.
        page: all that is known, as JSON, for the evidence.
    """

    database: str
    state: str
    reason: str = ""
    changed: bool = False
    numbers: Mapping[str, int] = field(default_factory=dict)
    archive: str = ""
    page: str = "{}"


def of(database: str, state: str, facts: Mapping[str, Any], **more: Any) -> Outcome:
    """Return the outcome of *database*, with *facts* (BSON values or plain ones) as its page."""
    more["reason"] = _one_line(more.get("reason", ""))
    page = {"state": state, "reason": more["reason"], **ejson.to_plain(dict(facts))}
    return Outcome(database=database, state=state, page=json.dumps(page), **more)


def of_error(database: str, state: str, error: Exception, **more: Any) -> Outcome:
    """Return the outcome of *database* that *error* ended."""
    message = error.message if isinstance(error, MigrationError) else str(error)
    details = error.details if isinstance(error, MigrationError) else {}
    facts = {
        "error": message,
        **{key: details[key] for key in ("run", "phase", "problems", "next") if details.get(key)},
    }
    return of(database, state, facts, reason=message, **more)


def of_ended(database: str, error: MigrationError, *, otherwise: str) -> Outcome:
    """Return the outcome of *database*, where a run or its rollback ended with *error*.

    Args:
        database: its name.
        error: tells its run, if there is one.
        otherwise: the state where nobody stopped it, and nobody else is at work.
    """
    if isinstance(error, InterruptedRunError):
        begun = bool(error.details.get("run"))
        return of_error(database, INTERRUPTED if begun else NOT_BEGUN, error, changed=begun)
    if isinstance(error, (LeaseHeldError, LeaseLostError)):
        return of_error(database, HELD, error)
    return of_error(database, otherwise, error)


class Pages:
    """A page for each database, packed as they come: the memory of many is that of few."""

    def __init__(self) -> None:
        self._packer = zlib.compressobj(6)
        self._parts: list[bytes] = []

    def add(self, outcome: Outcome) -> None:
        """Keep the page of *outcome*."""
        line = f"[{json.dumps(outcome.database)},{outcome.page}]\n"
        self._parts.append(self._packer.compress(line.encode()))

    def text(self) -> str:
        """Return all of them as base64 of zlib of lines ``[database, page]``; ends the packing."""
        return base64.b64encode(b"".join([*self._parts, self._packer.flush()])).decode()


class Tally:
    """Adds up outcomes as they come."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.numbers: Counter[str] = Counter()
        self.attention: list[dict[str, str]] = []
        self.archives: dict[str, str] = {}
        self.changed = False
        self.pages = Pages()

    def add(self, outcome: Outcome) -> None:
        """Count *outcome*."""
        self.counts[outcome.state] += 1
        self.numbers.update(outcome.numbers)
        self.changed = self.changed or outcome.changed
        if outcome.archive:
            self.archives[outcome.database] = outcome.archive
        if outcome.state in ATTENTION:
            self.attention.append(
                {
                    "database": outcome.database,
                    "state": outcome.state,
                    "reason": outcome.reason,
                }
            )
        self.pages.add(outcome)

    @property
    def failures(self) -> int:
        """How many databases need attention so far."""
        return len(self.attention)

    @property
    def half_way(self) -> bool:
        """Whether one of them is neither as it was nor done."""
        return any(self.counts[state] for state in HALF_WAY)

    def as_dict(self) -> dict[str, Any]:
        """Return what a module returns as ``fleet``."""
        return {
            "counts": {state: self.counts[state] for state in ORDER if self.counts[state]},
            "numbers": dict(self.numbers),
            "attention": sorted(self.attention, key=lambda each: each["database"]),
        }


def lines(fleet: Mapping[str, Any]) -> list[str]:
    """Return what a module returns as ``fleet`` for people: counts, then who needs attention."""
    counts: Mapping[str, int] = fleet["counts"]
    shown = [
        f"{state:<28} {count:>7,} database{'' if count == 1 else 's'}"
        for state, count in counts.items()
    ]
    if fleet["attention"]:
        shown += ["", *attention_lines(fleet["attention"])]
    return shown


def said(attention: int, databases: int) -> str:
    """Return how many of all databases need attention, for people."""
    noun = "database" if databases == 1 else "databases"
    verb = "needs" if attention == 1 else "need"
    return f"{attention:,} of {databases:,} {noun} {verb} attention"


def attention_lines(attention: Sequence[Mapping[str, str]]) -> list[str]:
    """Return who needs attention, by name and why; of very many, the first."""
    shown = ["Needs attention"]
    for each in attention[:SHOWN]:
        words = f"{each['state']}: {each['reason']}" if each["reason"] else each["state"]
        shown.append(f"  {neutral.line(each['database'])}  {neutral.line(words)}")
    if len(attention) > SHOWN:
        shown.append(f"  and {len(attention) - SHOWN:,} more: each has its page in the evidence")
    return shown


def _one_line(text: str) -> str:
    """Return *text* as one line; what were lines of it are sentences."""
    parts = [" ".join(part.split()) for part in str(text).splitlines() if part.strip()]
    ended = [part if part[-1] in ".:;,!?" else f"{part}." for part in parts[:-1]]
    line = " ".join(neutral.line(" ".join([*ended, *parts[-1:]])).split())
    return line if len(line) <= _LONGEST_REASON else f"{line[: _LONGEST_REASON - 1]}…"
