"""Proof of values: each document that the run wrote holds what it wrote, and that from its source.

While writers are stopped, digests prove the first (:mod:`.baseline`). With writers about, each
document is read; who changed one since may have done it rightly, which its source tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pymongo.database import Database

from ..operations import dependencies
from ..operations.base import Check, Operation, Touched
from ..operations.registry import kind_of
from .journal_pass import Seen

_SAMPLES = 5
# Documents a collection and step whose values are found anew.
_FOUND_ANEW = 500
_AN_ENTRY = 25


@dataclass
class _Written:
    """What a step wrote to a field of a collection."""

    count: int = 0
    examined: int = 0
    sample: list[Any] = field(default_factory=list)
    changed: list[Any] = field(default_factory=list)
    wrong: list[Any] = field(default_factory=list)  # of the sample, by what documents held before


@dataclass
class _Arrived:
    """Documents that came to a collection."""

    count: int = 0
    changed: list[Any] = field(default_factory=list)
    left: list[Any] = field(default_factory=list)  # what still refers to where they were


class ValueProof:
    """Looks at what each entry wrote, as the entries go by.

    Args:
        database: the database.
        operations: of the run's migration.
        compared: digests have proved already that the documents hold what the journal says.
        after: entries up to this number were looked at before.
    """

    def __init__(
        self,
        database: Database[dict[str, Any]],
        operations: Sequence[Operation],
        *,
        compared: bool,
        after: int = 0,
    ) -> None:
        self._database = database
        self._operations = operations
        self._compared = compared
        self._after = after
        self._written: dict[Touched, _Written] = {}
        self._arrived: dict[str, _Arrived] = {}

    def see(self, seen: Seen) -> None:
        """Look at the documents of an entry."""
        entry, compared = seen.entry, self._compared
        kind = kind_of(entry)
        touched = kind.touched(entry)
        if touched.inserts and not compared:
            _look_at_arrivals(self._database, entry, self._operations, self._arrived)
        if not touched.label:
            return
        ids, found = kind.ids(entry), self._written.setdefault(touched, _Written())
        found.count += len(ids)
        found.sample += ids[:_AN_ENTRY][: _FOUND_ANEW - len(found.sample)]
        if touched.places:
            found.wrong += _not_following(self._operations, entry, ids[:_AN_ENTRY])
        if not compared and entry["seq"] > self._after:
            found.examined += len(ids)
            found.changed += kind.changed_since(self._database, entry)

    def checks(self) -> Iterator[Check]:
        """Yield the checks, once all entries were seen."""
        for touched, found in self._written.items():
            steps = [one for one in self._operations if touched in one.touches()]
            if not self._compared:
                yield _stands(touched, found, steps)
            if not any(one.made_once for one in steps):
                yield _follows(touched, found, steps, compared=self._compared)
        for name, there in self._arrived.items():
            yield from _as_they_came(name, there)


def _look_at_arrivals(
    database: Database[dict[str, Any]],
    entry: dict[str, Any],
    operations: Sequence[Operation],
    arrived: dict[str, _Arrived],
) -> None:
    """Compare the documents that came by *entry* with what the journal says of them."""
    kind = kind_of(entry)
    found = arrived.setdefault(kind.touched(entry).collection, _Arrived())
    found.count += kind.size(entry)
    found.changed += kind.changed_since(database, entry)
    for operation in operations:
        if operation.index == entry["step"]:
            found.left += operation.left_behind(entry)


def _as_they_came(name: str, found: _Arrived) -> Iterator[Check]:
    """Who changed one since may have meant it: that is told, and fails nothing."""
    for what, ids in (
        ("every document that came is as the journal says", found.changed),
        ("nothing refers to an _id from before", found.left),
    ):
        yield Check(
            name=f"{name}: {what}",
            passed=not ids,
            expected=0,
            observed=len(ids),
            examined=found.count,
            severity="warning",
            samples=ids[:_SAMPLES],
        )


def _stands(touched: Touched, found: _Written, steps: Sequence[Operation]) -> Check:
    """Whoever changed a value since gave it what its source gives, or it isn't right."""
    wrong = _unexplained(steps, touched, found.changed)
    rightly = len(found.changed) - len(wrong)
    return Check(
        name=f"{touched.collection}: every {touched.label} is as the journal says",
        passed=not wrong,
        expected=0,
        observed=len(wrong),
        examined=found.examined,
        detail=f"{rightly:,} were changed since, to what their source gives" if rightly else "",
        # Who changed one since may have meant it: what it was made from is no longer there.
        severity="warning" if touched.places else "error",
        samples=wrong[:_SAMPLES],
    )


def _follows(
    touched: Touched, found: _Written, steps: Sequence[Operation], *, compared: bool
) -> Check:
    """A sample of what was written is found anew, from the source that the document names."""
    wrong = found.wrong if touched.places else _unexplained(steps, touched, found.sample)
    return Check(
        name=f"{touched.collection}: {touched.label} of a sample follows from its source",
        passed=not wrong,
        expected=0,
        observed=len(wrong),
        examined=len(found.sample),
        # With writers about, what a value was taken from may have changed since, and rightly.
        severity="error" if compared else "warning",
        samples=wrong[:_SAMPLES],
    )


def _unexplained(steps: Sequence[Operation], touched: Touched, ids: Sequence[Any]) -> list[Any]:
    """Return those of *ids* that no step explains."""
    left = list(ids)
    for operation in steps:
        if left:
            left = operation.unexplained(touched.collection, left)
    return left


def _not_following(
    operations: Sequence[Operation], entry: Mapping[str, Any], ids: Sequence[Any]
) -> list[Any]:
    """Return those of *ids* that don't hold what follows from what they held before."""
    touched = set(kind_of(dict(entry)).touches(dict(entry)))
    steps = [one for one in operations if touched & set(one.touches())]
    if len(steps) != 1:
        return []  # another step has gone on from there
    if dependencies.blurring(steps[0], (o for o in operations if o.index > steps[0].index)):
        return []  # what they follow from isn't there any more
    return steps[0].unexplained_by(entry, ids)
