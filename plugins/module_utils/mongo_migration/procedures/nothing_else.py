"""Nothing else changed: digests from before a run, held against the data as they are now.

What the digests must be follows from those of before and from what the journal's entries did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pymongo.database import Database

from ..document.collections import is_ours
from ..ledger.journal import Journal
from ..maintenance import mode
from ..operations.base import Check, Touched
from ..operations.entries import Effect
from ..operations.registry import kind_of
from ..support.progress import Meter, Sink
from ..values import ejson
from ..values.digest import Digest
from . import baseline
from .baseline import Expected
from .journal_pass import Seen
from .results import Result, skipped

_LABEL = "nothing else changed"

# What the collections hold now, by name; None where that can't be compared with before.
Present = dict[str, dict[str, Any]] | None


def present(
    db: Database[dict[str, Any]],
    document: Mapping[str, Any],
    journal: Journal,
    *,
    alone: bool,
    comment: str,
    report: Sink,
) -> Present:
    """Return what the collections hold now; None if that can't be compared with before.

    Args:
        db: the database.
        document: of the run.
        journal: of the run.
        alone: nobody else knows this database, so that nobody can have written to it.
        comment: what the server's operations carry.
        report: told of every batch that is read; may end it.
    """
    if "baseline" not in document:
        return None
    began = document.get("batches_began", document["started"])
    if not alone and not mode.is_on_since(db, began):
        return None  # on again, perhaps, but users have written in between
    touched = [
        Touched(collection=item["collection"], field=field, places="whole" in item)
        for item in document["baseline"]
        for field in item["without"]
    ]
    touched += _renamed(journal, touched)
    taken = baseline.take(
        db,
        touched,
        meter=Meter(
            report, phase="verify", total=sum(item["count"] for item in document["baseline"])
        ),
        comment=comment,
        expiring={
            item["collection"]: item["until"] for item in document["baseline"] if "until" in item
        },
    )
    return {item["collection"]: item for item in taken}


def _renamed(journal: Journal, touched: list[Touched]) -> list[Touched]:
    """Return what is touched in collections that have another name by now."""
    found: list[Touched] = []
    for entry in journal.entries(into={"$exists": True}):
        for effect in kind_of(entry).effects(entry):
            if effect.becomes is not None:
                found += [
                    replace(item, collection=effect.becomes)
                    for item in (*touched, *found)
                    if item.collection == effect.collection
                ]
    return found


class NothingElse:
    """What the digests must be: of a run that stands, entry by entry; of one undone, as before.

    Args:
        document: of the run.
        now: what :func:`present` returned.
        rolled_back: whether the run was undone, and its entries with it.
    """

    def __init__(self, document: Mapping[str, Any], now: Present, *, rolled_back: bool) -> None:
        self._document = document
        self._now = now
        self._rolled_back = rolled_back
        self._was = {item["collection"]: item for item in document.get("baseline", ())}
        self._wanted = {
            # A collection that has come or gone is compared with an empty one.
            name: Expected(self._was.get(name), (self._was.get(name) or now[name])["without"])
            for name in {*self._was, *(now or {})}
            if now is not None
        }

    def see(self, seen: Seen) -> None:
        """Take in what an entry did."""
        if self._wanted and not self._rolled_back:
            for effect in seen.effects:
                self._take_in(effect)

    def _take_in(self, effect: Effect) -> None:
        if effect.collection not in self._wanted:
            return
        mine = self._wanted[effect.collection]
        if effect.becomes is None:
            mine.add(effect)
            return
        self._wanted[effect.becomes] = mine
        self._wanted[effect.collection] = Expected(None, mine.touched)

    def checks(self) -> Iterator[Result]:
        """Yield the checks, once all entries were seen."""
        if "baseline" not in self._document:
            yield _each_batch(self._document)
            return
        if self._now is None:
            yield skipped(_LABEL, "writers have been let in again since")
            return
        foreign = {} if self._rolled_back else foreign_writes(self._document)
        for name in sorted(self._wanted):
            if is_ours(name):
                continue  # set aside
            if name in foreign:
                yield skipped(f"{name}: {_LABEL}", f"`{foreign[name]}` may write anything to it")
                continue
            yield from self._compared(name, self._now.get(name))
            if self._rolled_back and name in self._was and name in self._now:
                yield from _at_their_places(name, self._was[name], self._now[name])

    def _compared(self, name: str, now: Mapping[str, Any] | None) -> Iterator[Check]:
        """Yield a check of the rest of the documents, and one for each touched field."""
        wanted, rolled_back = self._wanted[name], self._rolled_back
        after, touched = baseline.digest(now), ", ".join(wanted.fields)
        until = None if now is None else now.get("until")
        yield Check(
            name=f"{name}: {_LABEL}" + (f" but {touched}" if touched and not rolled_back else ""),
            passed=wanted.rest == after,
            expected=_said(wanted.rest),
            observed=_said(after),
            examined=after.count + wanted.removed,
            detail=f"without what a TTL index deletes before {ejson.short(until)}" if until else "",
        )
        present = {} if now is None else now["fields"]
        for field, digest in wanted.fields.items():
            found = baseline.digest(present.get(field))
            yield Check(
                name=f"{name}: every {field} is as it was before"
                if rolled_back
                else f"{name}: every {field} is as it was, or as the journal says",
                passed=digest == found,
                expected=_said(digest),
                observed=_said(found),
                examined=found.count,
            )


def _at_their_places(name: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Check]:
    """Yield a check of whole documents, where fields may have changed their places."""
    if "whole" not in was or "whole" not in now:
        return
    before, after = baseline.digest(was["whole"]), baseline.digest(now["whole"])
    yield Check(
        name=f"{name}: every document is as it was, each field at its place",
        passed=before == after,
        expected=_said(before),
        observed=_said(after),
        examined=after.count,
    )


def _said(digest: Digest) -> str:
    return f"{digest.count:,} documents, digest {digest.hexdigest()[:12]}"


def _each_batch(document: Mapping[str, Any]) -> Result:
    """The proof of a live run: each batch was compared in the snapshot of its transaction."""
    counts = document["counts"]
    if foreign_writes(document):
        return skipped(_LABEL, "a command of another tool wrote, and writers were not stopped")
    if not document["server"]["transactions"]:
        return skipped(_LABEL, "writers were not stopped, and this server has no transactions")
    return Check(
        name=f"{_LABEL} in any document of a batch",
        passed=counts.get("proved", 0) == counts["modified"],
        expected=counts["modified"],
        observed=counts.get("proved", 0),
        examined=counts.get("proved", 0),
        detail="compared in each batch's own transaction, because writers were not stopped",
    )


def foreign_writes(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the collections that a foreign command writes to, with the command."""
    return {
        name: row["command"]
        for row in document["plan"]["steps"]
        if "command" in row
        for name in row.get("foreign", row.get("writes", ()))
    }
