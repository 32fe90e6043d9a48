"""What the server would refuse of a rollback, foreseen: unique indexes that came after the run.

A value that was there before may be one that an index of today allows once. The server would say
so in the middle, with writers out; so the journal's values are held against the indexes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pymongo.database import Database

from ..errors import MigrationError
from ..ledger.journal import Entry, Journal
from ..operations.refusals import unique_indexes
from ..operations.registry import kind_of
from ..support import listing, mongosh
from ..values import ejson
from ..values.compare import hashable

_COMMENT = "migration-playbooks rollback"
# Beyond so many, comparing them takes longer than anybody waits at night; the server says it then.
_MOST_DOCUMENTS = 500_000


class Written:
    """What a run wrote and didn't undo, taken in as its entries go by."""

    def __init__(self) -> None:
        self.by_collection: dict[str, _There] = {}

    def see(self, entry: Entry) -> None:
        """Take in an entry that isn't undone."""
        for item in kind_of(entry).touches(entry):
            mine = self.by_collection.setdefault(item.collection, _There())
            if item.index is not None:
                mine.built.add(item.index)
            elif item.field:
                mine.fields.setdefault((entry["step"], entry["kind"]), set()).add(item.field)
            elif not item.inserts:
                mine.clear = False


@dataclass
class _There:
    """What it wrote to one collection."""

    fields: dict[tuple[int, str], set[str]] = field(default_factory=dict)  # by step and kind
    built: set[str] = field(default_factory=set)
    clear: bool = True  # it is known what undoing leaves


def refuse_twins(
    database: Database[dict[str, Any]],
    document: Mapping[str, Any],
    journal: Journal,
    written: Written,
    *,
    force: bool,
) -> None:
    """Refuse a rollback of which a unique index would refuse a part.

    Args:
        database: the database.
        document: of the run.
        journal: of the run.
        written: has seen its entries; the journal is read again only for an index that may refuse.
        force: whether documents that were changed since get their values from before, too.

    Raises:
        MigrationError: with the index, and some of the documents.
    """
    for name, there in written.by_collection.items():
        for spec in _indexes(database, name, there):
            mine = _step_of(there, spec)
            if mine is None:
                continue
            found = unique_indexes.later(
                database[name],
                spec,
                _undone(database, journal, name, mine, spec, force=force),
                _inserted(journal, name),
                comment=_COMMENT,
            )
            if found.count:
                raise MigrationError(
                    f"A rollback of run {document['_id']} would be refused by the unique index "
                    f"'{spec['name']}' of {name}: with their values from before, {found.count:,} "
                    f"documents would be the same as others, such as "
                    f"{', '.join(map(ejson.short, found.samples))}. Drop it ("
                    f"{mongosh.drop_index(name, spec['name'])}), or change what stands in the way; "
                    "then run the same command again. Nothing was changed.",
                    index=spec["name"],
                    collection=name,
                    samples=found.samples,
                )


def _pending(journal: Journal) -> Iterator[Entry]:
    return (entry for entry in journal.entries() if "reverted" not in entry)


def _indexes(
    database: Database[dict[str, Any]], name: str, written: _There
) -> Iterator[dict[str, Any]]:
    """Yield the unique indexes that may refuse what is put back."""
    if not (written.fields and written.clear and listing.collection(database, name)):
        return
    specs = [
        spec
        for spec in unique_indexes.of(database[name])
        if spec["name"] not in written.built and not spec.get("collation")
    ]
    if specs and database[name].estimated_document_count(comment=_COMMENT) <= _MOST_DOCUMENTS:
        yield from specs


def _step_of(written: _There, spec: Mapping[str, Any]) -> tuple[int, str] | None:
    """Return the one step that wrote what *spec* is over; None if there is none, or several."""
    fields = unique_indexes.fields_of(spec)
    mine = [
        step
        for step, names in written.fields.items()
        if fields is None or {name.split(".")[0] for name in names} & fields
    ]
    return mine[0] if len(mine) == 1 else None


def _undone(
    database: Database[dict[str, Any]],
    journal: Journal,
    name: str,
    mine: tuple[int, str],
    spec: Mapping[str, Any],
    *,
    force: bool,
) -> Iterator[Mapping[str, Any]]:
    stages = unique_indexes.keys(spec)
    for entry in _pending(journal):
        if (entry["step"], entry["kind"]) == mine and entry["collection"] == name:
            rows: Iterable[Mapping[str, Any]] | None = kind_of(entry).undone_through(
                database, entry, stages, force=force
            )
            yield from rows or ()


def _inserted(journal: Journal, name: str) -> set[bytes]:
    return {
        hashable(identity)
        for entry in _pending(journal)
        if (touched := kind_of(entry).touched(entry)).inserts and touched.collection == name
        for identity in kind_of(entry).ids(entry)
    }
