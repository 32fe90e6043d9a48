"""Exact rollback: the journal, backwards. What was changed since is a conflict, and is reported."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping
from typing import Any

from pymongo import InsertOne
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure

from ..document.collections import EMPTIED, JOURNAL
from ..document.definition import Definition
from ..errors import MigrationError
from ..ledger import by_uuid, partial_restore, runs
from ..ledger.batches import Writer
from ..ledger.journal import Journal
from ..ledger.runs import Run
from ..maintenance import mode
from ..operations.registry import kind_of, open_journal
from ..support import commands, listing
from . import authority as authorities
from . import way_back
from .authority import Authority
from .work import Job, Stint, at_work, keep_trying

_SAMPLES = 100
_DUPLICATE_KEY = 11000


def plan(
    db: Database[dict[str, Any]],
    migration: str,
    definition: Definition | None = None,
    *,
    run: str | None = None,
    without_document: str | None = None,
) -> dict[str, Any]:
    """Return what :func:`roll_back` would do, by the journal. Read only.

    Raises:
        MigrationError: the rollback would be refused.
    """
    document = _undoable(db, runs.latest(db, migration, run))
    if document is None:
        return _nothing(db, migration, run)
    authority = _authority(db, document, definition, without_document)
    would = _would(db, document, authority, force=False)
    return {
        **_identity(document),
        "changed": any(would.values()),
        "plan": would,
        "next": commands.roll_back(migration),
    }


def roll_back(
    job: Job,
    migration: str,
    definition: Definition | None = None,
    *,
    run: str | None = None,
    on_conflict: str = "keep",
    without_document: str | None = None,
) -> dict[str, Any]:
    """Undo the newest run of *migration* exactly, or go on undoing it.

    Args:
        job: what to work with.
        migration: the migration's id.
        definition: the migration's document, which bounds what may be undone.
        run: the run to undo, where it isn't the newest.
        on_conflict: what to do with a document that doesn't hold what the run wrote: ``keep`` it,
            ``restore`` its value from before all the same, or ``fail``.
        without_document: the run's name, where its document isn't at hand and what is exact data
            is to be undone all the same.

    Raises:
        MigrationError: another applied migration builds on this one, the journal isn't whole, the
            document is another one than the run's, or a conflict and ``fail``.
        StateError: something in the journal isn't what we wrote.
        LeaseHeldError, InterruptedRunError: as in :func:`migrate.migrate`.
    """
    started, db = time.monotonic(), job.db
    document = _undoable(db, job.newest(migration, run))
    if document is None:
        return _nothing(db, migration, run)
    run = document["_id"]
    with job.lease(f"roll back {migration} {document['name']}") as lease:
        # Read again: meanwhile, the process that we waited for may have done anything.
        document = _undoable(db, job.newest(migration, run))
        if document is None:
            return _nothing(db, migration, run)
        authority = _authority(db, document, definition, without_document)
        would = _would(db, document, authority, force=on_conflict == "restore")
        read = document
        owned = job.before_work(lambda: Run.adopt(db, read, lease))
        with at_work(job, owned, lease, _stint(db, owned, would), authority) as writer:
            _undo(writer, job, authority, on_conflict, would)
        return {
            **_identity(owned.document),
            "changed": True,
            **_outcome(owned.document, writer.journal),
            "plan": would,
            "elapsed": round(time.monotonic() - started, 1),
            "next": commands.command("verify", migration=migration, expect="rolled_back"),
        }


def _undoable(
    db: Database[dict[str, Any]], document: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Return the run that a rollback would undo, or ``None`` where there is nothing to undo.

    Raises:
        MigrationError: nothing works on the database now, or another run builds on this one.
    """
    partial_restore.refuse(db)
    if document is None or document["phase"] in ("planned", runs.ROLLED_BACK):
        return None
    _refuse_pruned(document)
    _refuse_if_built_upon(db, document)
    return document


def _stint(db: Database[dict[str, Any]], run: Run, would: Mapping[str, Any]) -> Stint:
    counts = run.document["counts"]
    done = counts.get("restored", 0) + counts.get("removed", 0)
    left = would["restore"] + would["remove"]
    return Stint(phase="rollback", total=done + left, done=done, writers_stopped=mode.is_on(db))


def _authority(
    db: Database[dict[str, Any]],
    document: Mapping[str, Any],
    definition: Definition | None,
    without_document: str | None,
) -> Authority:
    if without_document == document["_id"]:
        return Authority(db, document, None)
    if definition is None:
        raise authorities.without_document(document)
    return Authority(db, document, authorities.bind(document, definition))


def _undo(
    writer: Writer, job: Job, authority: Authority, on_conflict: str, would: Mapping[str, Any]
) -> None:
    run = writer.run

    def attempt() -> None:
        if run.phase == runs.ROLLED_BACK:
            return  # that was written, and a failover kept the answer from us
        if run.phase != runs.ROLLING_BACK:
            asked = {"change": dict(job.change), "operator": dict(job.operator), "plan": would}
            run.enter(runs.ROLLING_BACK, rollback=asked)
        for entry in writer.journal.backwards():
            kind = kind_of(entry)
            kind.revert(writer, entry, on_conflict, authority.step(entry))
            writer.meter.advance(
                kind.size(entry), kind=entry["kind"], collection=entry["collection"]
            )
        if pending := writer.journal.pending():
            # Marked, and taken back by a failover while nothing was under way.
            raise runs.StaleRunError(f"{pending} entries of the journal are to be undone again")
        _drop_emptied(writer)
        run.enter(runs.ROLLED_BACK, rolled_back_at=runs.server_now(writer.database))

    keep_trying(writer, job, attempt, phase="rollback")


def _drop_emptied(writer: Writer) -> None:
    """Drop the collections that came with our first document and lost their last one with ours."""
    for entry in writer.journal.entries(created_collection=True):
        name = entry.get("target", entry["collection"])
        collection, aside = writer.database[name], writer.database[EMPTIED]
        _bring_back(writer, aside, collection)  # what a killed rollback may have left there
        indexes = listing.indexes(writer.database, collection.name)
        own_indexes = {index["name"] for index in indexes} - {"_id_"}
        if own_indexes or collection.find_one({}, {"_id": 1}) is not None:
            continue
        # Not simply dropped: a document that an application inserts at this very moment would go
        # with it. Renamed, the collection gets no more documents, and is looked at once more.
        by_uuid.rename(writer.database, name, EMPTIED, writer.lease.check)
        _bring_back(writer, aside, collection)


def _bring_back(
    writer: Writer, aside: Collection[dict[str, Any]], collection: Collection[dict[str, Any]]
) -> None:
    for document in aside.find():
        try:
            writer.fence.write(collection, [InsertOne(document)])
        except OperationFailure as error:
            if error.code != _DUPLICATE_KEY:  # brought back before
                raise
    by_uuid.drop(writer.database, aside.name, writer.lease.check)


def _would(
    db: Database[dict[str, Any]],
    document: Mapping[str, Any],
    authority: Authority,
    *,
    force: bool,
) -> dict[str, Any]:
    """Return what undoing would do; refuse what isn't ours, isn't all there, or can't be done."""
    journal = open_journal(db, document["_id"], require=authority.step)
    _refuse_holes(document, journal)
    would: dict[str, Any] = {"restore": 0, "remove": 0, "drop": []}
    written = way_back.Written()
    for entry in journal.entries():  # what is undone already, too: all is read again in the end
        if "reverted" in entry:
            continue
        for key, value in kind_of(entry).preview(entry).items():
            would[key] = would.get(key, type(value)()) + value
        if since := kind_of(entry).written_since(db, entry):
            would["written_since"] = would.get("written_since", 0) + since
        written.see(entry)
    way_back.refuse_twins(db, document, journal, written, force=force)
    return would


def _refuse_holes(document: Mapping[str, Any], journal: Journal) -> None:
    """A journal is undone only if it holds all that the run wrote.

    Raises:
        MigrationError: entries are missing.
    """
    missing = journal.missing(document["seq"])
    if not missing:
        return
    if document.get("format", 1) == 1 and _is_accounted_for(document, journal):
        return  # 1.0 removed entries of what was never begun
    raise MigrationError(
        f"{missing:,} of the {document['seq']:,} journal entries of run {document['_id']} are "
        f"gone, removed by someone from {JOURNAL}: what they would restore can't be known, so "
        f"nothing was undone. {commands.restore_named(document.get('backup'))}",
        missing=missing,
        run=document["_id"],
    )


def _is_accounted_for(document: Mapping[str, Any], journal: Journal) -> bool:
    """Return whether the entries that are there are about as many documents as the run wrote."""
    there = sum(kind_of(entry).size(entry) for entry in journal.entries())
    return bool(there) and there == runs.written(document)


def _outcome(document: Mapping[str, Any], journal: Journal) -> dict[str, Any]:
    counts = document["counts"]
    conflicts: list[dict[str, Any]] = []
    lists: dict[str, list[Any]] = {"dropped": []}
    for entry in journal.entries(reverted=True):
        for key, items in kind_of(entry).outcome(entry).items():
            lists[key] = lists.get(key, []) + items
        conflicts += entry.get("conflicts", [])[: _SAMPLES - len(conflicts)]
    return {
        "restored": counts.get("restored", 0),
        "removed": counts.get("removed", 0),
        **lists,
        "conflict_count": counts.get("conflicts", 0),
        "conflicts": conflicts,
        "warnings": [
            f"{counts['conflicts']:,} documents don't hold what the run wrote and were left as "
            "they are; see conflicts"
        ]
        if counts.get("conflicts")
        else [],
    }


def _identity(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "migration": document["migration"],
        "name": document["name"],
        "run": document["_id"],
        "digest": document["digest"],
        "phase": document["phase"],
        "restored": 0,
        "removed": 0,
        "dropped": [],
        "conflict_count": 0,
        "conflicts": [],
        "elapsed": 0.0,
    }


def _nothing(db: Database[dict[str, Any]], migration: str, run: str | None) -> dict[str, Any]:
    document = runs.latest(db, migration, run)
    never = {"migration": migration, "name": "", "_id": None, "digest": None, "phase": "pending"}
    return {
        **_identity(document or never),
        "changed": False,
        "plan": {"restore": 0, "remove": 0, "drop": []},
        "next": commands.STATUS,
    }


def _refuse_pruned(document: Mapping[str, Any]) -> None:
    if document["phase"] not in (runs.PRUNING, runs.PRUNED):
        return
    asked = document.get("prune") or {}
    by = asked.get("operator") or {}
    at = asked["at"].strftime("%Y-%m-%d") if isinstance(asked.get("at"), datetime.datetime) else ""
    backup = document.get("backup")
    way = (
        f"The backup that was made before it is {backup}: "
        f"{commands.command('restore', archive=backup)} replaces the whole database"
        if backup
        else "The run names no backup. "
        f"{commands.command('backup', state='list')} shows those that there are"
    )
    raise MigrationError(
        f"Run {document['_id']} was pruned {at} by {by.get('user', '?')}@{by.get('host', '?')}: "
        f"its journal and what it had set aside are removed, so that it can't be undone. {way}; or "
        "write a migration that changes the data back.",
        run=document["_id"],
        backup=backup,
    )


def _refuse_if_built_upon(db: Database[dict[str, Any]], document: Mapping[str, Any]) -> None:
    for other in runs.newest_of_each(db):
        if document["migration"] in other.get("after", ()) and other["phase"] not in (
            "planned",
            runs.ROLLED_BACK,
        ):
            raise MigrationError(
                f"Migration {other['migration']} builds on {document['migration']} and is "
                f"{other['phase']}. Roll it back first: {commands.roll_back(other['migration'])}",
                blocked_by=other["migration"],
                next=commands.roll_back(other["migration"]),
            )
