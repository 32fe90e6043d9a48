"""Exact rollback: the journal, backwards. What was changed since is a conflict, and is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, OperationFailure

from .. import connection
from ..document.collections import EMPTIED, NAMESPACE_NOT_FOUND
from ..errors import MigrationError
from ..ledger import lease as leases
from ..ledger import partial_restore, runs
from ..ledger.batches import Settings, Writer
from ..ledger.journal import Journal
from ..ledger.runs import Run
from ..maintenance import mode
from ..operations import REVERT, reconcile
from ..pace.pacer import Source, pacing
from ..support import processes, retry
from ..support.progress import Meter, Sink
from ..support.stop import StopSignal
from . import migrate

_SAMPLES = 100


def plan(
    *,
    client: MongoClient[dict[str, Any]],
    database: str,
    migration: str,
    run: str | None = None,
    on_conflict: str = "keep",
) -> dict[str, Any]:
    """Return what a rollback would do, by the journal. Read only."""
    db = client[database]
    partial_restore.refuse(db)
    document = runs.latest(db, migration, run)
    if document is None or document["phase"] in ("planned", runs.ROLLED_BACK):
        return _nothing(migration, document)
    _refuse_if_built_upon(db, document)
    would = _would(Journal(db, document["_id"]))
    return {
        **_identity(document),
        "changed": any(would.values()),
        "plan": would,
        "next": f"ansible-playbook rollback.yml -e migration={migration}",
    }


def roll_back(
    *,
    client: MongoClient[dict[str, Any]],
    database: str,
    migration: str,
    settings: Settings,
    change: Mapping[str, Any],
    operator: Mapping[str, Any],
    progress: Sink,
    stop: StopSignal,
    run: str | None = None,
    on_conflict: str = "keep",
    sleep: Callable[[float], None] = time.sleep,
    load: Source | None = None,
) -> dict[str, Any]:
    """Undo the newest run of *migration* exactly, or go on undoing it.

    Args:
        client: connected to the deployment.
        database: the migrated database.
        migration: the migration's id.
        settings: how.
        change: ticket and the like, for the changelog.
        operator: user, host and pid of this process.
        progress: told of every batch.
        stop: asks for an end at the next batch boundary.
        run: the run to undo, where it isn't the newest.
        on_conflict: what to do with a document that doesn't hold what the run wrote: ``keep`` it,
            ``restore`` its value from before all the same, or ``fail``.
        sleep: how to wait.
        load: where the throttle sees the server's load, if not on the server.

    Raises:
        MigrationError: another applied migration builds on this one, or a conflict and ``fail``.
        LeaseHeldError, InterruptedRunError: as in :func:`migrate.migrate`.
    """
    started = time.monotonic()
    db = client[database]
    partial_restore.refuse(db)
    document = runs.latest(db, migration, run)
    if document is None or document["phase"] in ("planned", runs.ROLLED_BACK):
        return _nothing(migration, document)
    _refuse_if_built_upon(db, document)
    with leases.hold(
        db,
        purpose=f"roll back {migration} {document['name']}",
        holder=dict(operator),
        seconds=settings.lease_seconds,
        sleep=sleep,
    ) as lease:
        partial_restore.refuse(db)
        _refuse_if_built_upon(db, document)  # meanwhile, by the process that we waited for
        owned = Run.adopt(db, document, lease.token)
        if owned.phase == runs.ROLLED_BACK:  # by another process, while we waited
            return _nothing(migration, owned.document)
        journal = Journal(db, owned.id)
        would = _would(journal)
        counts = owned.document["counts"]
        done = counts.get("restored", 0) + counts.get("removed", 0)
        if owned.phase != runs.ROLLING_BACK:
            owned.enter(
                runs.ROLLING_BACK,
                rollback={"change": dict(change), "operator": dict(operator), "plan": would},
            )
        left = would["restore"] + would["remove"]
        with pacing(
            client,
            # The journal's entries are the batches: only the pause can give way.
            settings.bounds().changed({"batch_size": settings.batch_size}),
            adaptive=settings.limits is not None and not mode.is_on(db),
            documents=left,
            stop=stop,
            source=load,
        ) as pacer:
            writer = Writer(
                database=db,
                server=connection.inspect(client),
                run=owned,
                journal=journal,
                lease=lease,
                stop=stop,
                settings=settings,
                meter=Meter(progress, phase="rollback", total=done + left, done=done),
                pacer=pacer,
                sleep=sleep,
            )
            migrate.closing(owned, lambda: _undo(writer, on_conflict, progress))
        return {
            **_identity(owned.document),
            "changed": True,
            **_outcome(owned.document, journal),
            "plan": would,
            "elapsed": round(time.monotonic() - started, 1),
            "next": f"ansible-playbook verify.yml -e migration={migration} -e expect=rolled_back",
        }


def _undo(writer: Writer, on_conflict: str, progress: Sink) -> None:
    undone = 0

    def attempt() -> None:
        nonlocal undone
        for entry in writer.journal.backwards():
            REVERT[entry["kind"]](writer, entry, on_conflict)
            undone += 1
            writer.meter.advance(size(entry), kind=entry["kind"], collection=entry["collection"])
        _drop_emptied(writer)
        writer.run.enter(runs.ROLLED_BACK, rolled_back_at=runs.server_now(writer.database))

    def recover() -> None:
        writer.run.reload()
        reconcile(writer)

    retry.persist(
        attempt,
        progressed=lambda: undone,
        recover=recover,
        seconds=writer.settings.retry_seconds,
        stop=writer.stop,
        waiting=lambda reason: progress({"phase": "rollback", "waiting": reason}),
    )


def _drop_emptied(writer: Writer) -> None:
    """Drop the collections that came with our first document and lost their last one with ours."""
    for entry in writer.journal.entries(created_collection=True):
        collection, aside = writer.database[entry["collection"]], writer.database[EMPTIED]
        _bring_back(aside, collection)  # what a killed rollback may have left there
        own_indexes = set(collection.index_information()) - {"_id_"}
        if own_indexes or collection.find_one({}, {"_id": 1}) is not None:
            continue
        writer.lease.check()
        # Not simply dropped: a document that an application inserts at this very moment would go
        # with it. Renamed, the collection gets no more documents, and is looked at once more.
        try:
            collection.rename(EMPTIED)
        except OperationFailure as error:
            if error.code != NAMESPACE_NOT_FOUND:
                raise
            continue
        _bring_back(aside, collection)


def _bring_back(aside: Collection[dict[str, Any]], collection: Collection[dict[str, Any]]) -> None:
    for document in aside.find():
        with suppress(DuplicateKeyError):  # brought back before
            collection.insert_one(document)
    aside.drop()


def size(entry: Mapping[str, Any]) -> int:
    """Return how many documents a journal entry is about."""
    whole = len(entry.get("documents", ())) + len(entry.get("removed", ()))
    return whole + sum(len(group["ids"]) for group in entry.get("groups", ()))


def _would(journal: Journal) -> dict[str, Any]:
    would: dict[str, Any] = {"restore": 0, "remove": 0, "drop": []}
    for entry in journal.entries(reverted={"$exists": False}):
        if entry["kind"] == "create_index":
            would["drop"].append(f"{entry['collection']}.{entry['spec']['name']}")
        elif entry["kind"] == "insert_for_each":
            would["remove"] += size(entry)
        elif entry["kind"] == "command":
            would.setdefault("commands", []).append(_undoing(entry["command"]))
        else:
            would["restore"] += size(entry)
    return would


def _undoing(command: Mapping[str, Any]) -> str:
    line = processes.line(command["argv"])
    if "down" not in command:
        return f"`{line}` can't be undone: it has no down; restore the backup"
    return f"`{line}` is undone by `{processes.line(command['down'])}`, and as well as that does"


def _outcome(document: Mapping[str, Any], journal: Journal) -> dict[str, Any]:
    counts = document["counts"]
    conflicts: list[dict[str, Any]] = []
    dropped = []
    for entry in journal.entries(kind="create_index", reverted=True):
        if not entry.get("conflicts"):
            dropped.append(f"{entry['collection']}.{entry['spec']['name']}")
    for entry in journal.entries(**{"conflicts.0": {"$exists": True}}):
        conflicts += entry["conflicts"][: _SAMPLES - len(conflicts)]
    return {
        "restored": counts.get("restored", 0),
        "removed": counts.get("removed", 0),
        "dropped": dropped,
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


def _nothing(migration: str, document: Mapping[str, Any] | None) -> dict[str, Any]:
    never = {"migration": migration, "name": "", "_id": None, "digest": None, "phase": "pending"}
    return {
        **_identity(document or never),
        "changed": False,
        "plan": {"restore": 0, "remove": 0, "drop": []},
        "next": "ansible-playbook status.yml",
    }


def _refuse_if_built_upon(db: Database[dict[str, Any]], document: Mapping[str, Any]) -> None:
    for other in runs.changelog(db):
        latest = runs.latest(db, other["migration"])
        if (
            latest is not None
            and latest["_id"] == other["_id"]
            and document["migration"] in other.get("after", ())
            and other["phase"] not in ("planned", runs.ROLLED_BACK)
        ):
            raise MigrationError(
                f"Migration {other['migration']} builds on {document['migration']} and is "
                f"{other['phase']}. Roll it back first: "
                f"ansible-playbook rollback.yml -e migration={other['migration']}",
                blocked_by=other["migration"],
            )
