"""What every operation can do, and what a plan of one looks like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from pymongo.client_session import ClientSession

from ..document.value_sources import Scope
from ..errors import MigrationError
from ..ledger.batches import Writer
from ..values import ejson


@dataclass(kw_only=True)
class Plan:
    """What a step would do.

    ``rows`` hold one dict per collection; ``problems`` are data for which no stated policy says
    what to do: one is enough to refuse.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    problems: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    # What is needed to foresee the postconditions, and no part of the plan that people read.
    changed: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    settled: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def change(self, collection: str, selector: dict[str, Any]) -> None:
        """Note that documents of *selector* in *collection* are written, or complained of."""
        self.changed.setdefault(collection, []).append(selector)

    def settle(self, name: str, documents: list[dict[str, Any]]) -> None:
        """Note what *name* (the document's) also holds once the problems are settled."""
        self.settled.setdefault(name, []).extend(documents)


@dataclass(kw_only=True)
class Check:
    """The result of one check."""

    name: str
    passed: bool
    expected: Any
    observed: Any
    examined: int
    detail: str = ""
    severity: str = "error"
    samples: list[Any] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the check as plain values; ``status`` is passed, failed or warning."""
        bad = "warning" if self.severity == "warning" else "failed"
        return {
            "name": self.name,
            "status": "passed" if self.passed else bad,
            "expected": self.expected,
            "observed": self.observed,
            "examined": self.examined,
            "detail": self.detail,
            "samples": self.samples,
        }


@dataclass(frozen=True, kw_only=True)
class Touched:
    """A collection that a step writes to, and how: for the proof that nothing else changed."""

    collection: str  # the real name
    field: str | None = None  # only this field of documents
    inserts: bool = False  # whole documents
    removes: bool = False  # whole documents


class Operation(Protocol):
    """One step of a migration. How it is undone: :mod:`..procedures.rollback`."""

    def plan(self) -> Plan:
        """Say what would be done; read only."""

    def touches(self) -> list[Touched]:
        """Return what is written to."""

    def apply(self, writer: Writer, position: dict[str, Any]) -> None:
        """Do it, batch by batch, from *position* on."""

    def check(self) -> Iterator[Check]:
        """Check that it was done, by reading the data anew."""


class Undone:
    """What the undoing of one journal entry did, and met."""

    _MOST_SAMPLES = 100

    def __init__(self, writer: Writer, entry: dict[str, Any], verb: str) -> None:
        self._writer = writer
        self._entry = entry
        self._verb = verb
        self.count = 0
        self.conflicts: list[dict[str, Any]] = []

    @property
    def comment(self) -> str:
        """What server operations carry."""
        return self._writer.comment

    def reset(self) -> None:
        """Forget an attempt: a transaction may run its body more than once."""
        self.count = 0
        self.conflicts = []

    def conflict(self, identity: Any, expected: Any, observed: Any, reason: str) -> None:
        """Note a document that doesn't hold what we wrote."""
        self.conflicts.append(
            {
                "collection": self._entry["collection"],
                "_id": identity,
                "expected": expected,
                "observed": observed,
                "reason": reason,
            }
        )

    def refuse_if(self, wanted: bool) -> None:
        """Stop before anything of the entry is written, if there is a conflict and it is *wanted*.

        Raises:
            MigrationError: there is a conflict.
        """
        if wanted and self.conflicts:
            first = self.conflicts[0]
            raise MigrationError(
                f"{first['collection']} {ejson.short(first['_id'])}: {first['reason']}. Nothing of "
                "this batch was undone. Choose on_conflict keep (leave such documents alone) or "
                "restore (overwrite them).",
                conflicts=self.conflicts[: self._MOST_SAMPLES],
            )

    def commit(self, write: Callable[[ClientSession | None], None]) -> None:
        """Do *write* and mark the entry, together."""

        def counted(session: ClientSession | None) -> dict[str, int]:
            write(session)
            return {self._verb: self.count, "conflicts": len(self.conflicts)}

        self._writer.revert(
            self._entry,
            counted,
            facts=lambda: {
                "conflicts": self.conflicts[: self._MOST_SAMPLES],
                "kept": [item["_id"] for item in self.conflicts],
            },
        )


def problem(
    *,
    step: int,
    collection: str,
    what: str,
    count: int,
    samples: list[Any],
    policy: str,
    fix: str,
    repair: str | None = None,
) -> dict[str, Any]:
    """Return a problem of a plan; *repair* is the one that settles it, as `repair=` names it."""
    return {
        **({"repair": repair} if repair else {}),
        "step": step,
        "collection": collection,
        "what": what,
        "count": count,
        "samples": samples,
        "policy": policy,
        "fix": fix,
    }


__all__ = ["Check", "Operation", "Plan", "Scope", "Touched", "Undone", "problem"]
