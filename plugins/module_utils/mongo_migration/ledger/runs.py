"""Run documents in ``_migrations``: the changelog, the checkpoint and the fence in one place.

Each write is conditional on what was read: on the fencing token, so that a process that lost its
lease writes nothing, and on the document's ``revision``, so that nothing that a failover took back
is built upon. A phase follows from another one only as :data:`TRANSITIONS` says.
"""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from pymongo import DESCENDING, ReturnDocument
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import AutoReconnect, DuplicateKeyError, OperationFailure
from pymongo.write_concern import WriteConcern

from ..document.collections import STATE
from ..document.definition import Definition
from ..errors import LeaseLostError, MigrationError
from ..support import commands, majority
from . import own_collections, run_shape, shapes, state_format

# Live first: hardly anything is left, and that is done while writers are stopped.
CAUGHT_UP = "caught_up"
UNFINISHED = ("running", "interrupted", "failed", CAUGHT_UP)
# The way back is being ended, or has been: nothing can undo the run any more.
PRUNING, PRUNED = "pruning", "pruned"
VERIFIED = ("verified", PRUNING, PRUNED)
DONE = ("applied", *VERIFIED)
ROLLING_BACK = "rolling_back"
ROLLED_BACK = "rolled_back"

# Which phase may follow which, and nothing else may.
TRANSITIONS: Mapping[str, tuple[str, ...]] = {
    "planned": ("running", "interrupted", "failed", ROLLING_BACK),
    "running": ("interrupted", "failed", CAUGHT_UP, "applied", ROLLING_BACK),
    CAUGHT_UP: ("running", "interrupted", "failed", ROLLING_BACK),
    "interrupted": ("running", "interrupted", "failed", ROLLING_BACK),
    "failed": ("running", "interrupted", "failed", ROLLING_BACK),
    "applied": ("verified", ROLLING_BACK),
    "verified": (ROLLING_BACK, PRUNING),
    PRUNING: (PRUNED,),
    PRUNED: (),
    ROLLING_BACK: (ROLLED_BACK,),
    ROLLED_BACK: (),
}

# Whoever plants more keeps nobody waiting, and fills nobody's memory.
_MOST_RUNS = 20_000
_MOST_BYTES = 256 << 20
_SIZE = "size of it"

MAJORITY = majority.WRITE_CONCERN
# An index is there, under another name or with other options.
_INDEX_CONFLICT = (85, 86)
_LONG = ("definition", "baseline", "variables", "collections", "plan.steps", "plan.problems")


class StaleRunError(AutoReconnect):
    """The run's document isn't as this process wrote it last: a failover took something back.

    For the retries it is a lost connection: what the database says is read, and work goes on there.
    """


def latest(
    database: Database[dict[str, Any]],
    migration: str,
    run: str | None = None,
    *,
    sure: bool = False,
) -> dict[str, Any] | None:
    """Return the newest run of *migration*, or the one named *run*.

    Args:
        database: the migrated database.
        migration: its id.
        run: its name, where it isn't the newest.
        sure: a majority has to confirm it, for who is going to believe that nothing is to be done;
            what is written is conditional on what was read anyway.

    Raises:
        WTimeoutError: it was to be *sure*, and there is no majority.
        MigrationError: *run* was given and isn't a run of this migration.
        StateError: what is there isn't a run that we wrote.
    """
    selector: dict[str, Any] = {"kind": "run", "migration": migration}
    if run is not None:
        selector["_id"] = run

    def read(state: Collection[dict[str, Any]], milliseconds: int) -> dict[str, Any] | None:
        order = [("number", DESCENDING)]
        return state.find_one(selector, sort=order, max_time_ms=milliseconds or None)

    found = majority.confirmed(database[STATE], read) if sure else read(database[STATE], 0)
    if found is None:
        if run is None:
            return None
        raise MigrationError(
            f"There is no run '{run}' of migration {migration} in database '{database.name}'; "
            f"{commands.STATUS} lists the runs."
        )
    return state_format.read_run(found, place=_place(database))


def newest(
    database: Database[dict[str, Any]],
    phases: Sequence[str],
    *,
    short: bool = False,
    comment: str | None = None,
) -> dict[str, Any] | None:
    """Return the newest run, of whatever migration, in one of *phases*.

    Args:
        database: the migrated database.
        phases: those that count.
        short: leave its long parts out.
        comment: what the server's operation carries.

    Raises:
        StateError: what is there isn't a run that we wrote.
    """
    found = database[STATE].find_one(
        {"kind": "run", "phase": {"$in": list(phases)}},
        dict.fromkeys(_LONG, 0) if short else None,
        sort=[("number", DESCENDING)],
        comment=comment,
    )
    return found and state_format.read_run(found, place=_place(database), short=short)


def changelog(database: Database[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return all runs, the newest first, without their plans and texts.

    Raises:
        StateError: one of them isn't a run that we wrote, or they are more than we ever write.
    """
    stages: list[dict[str, Any]] = [
        {"$match": {"kind": "run"}},
        {"$sort": {"number": DESCENDING}},
        {"$limit": _MOST_RUNS + 1},
        {"$project": dict.fromkeys(_LONG, 0)},
        {"$set": {_SIZE: {"$bsonSize": "$$ROOT"}}},
    ]
    found: list[dict[str, Any]] = []
    size = 0
    for row in database[STATE].aggregate(stages):
        size += row.pop(_SIZE)
        found.append(state_format.read_run(row, place=_place(database), short=True))
        if len(found) > _MOST_RUNS or size > _MOST_BYTES:
            raise state_format.too_many("runs", _place(database), '{kind: "run"}')
    return found


def newest_of_each(database: Database[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the newest run of each migration, as :func:`changelog` does."""
    found: dict[str, dict[str, Any]] = {}
    for run in changelog(database):
        found.setdefault(run["migration"], run)
    return list(found.values())


def newest_number(database: Database[dict[str, Any]], session: ClientSession | None = None) -> int:
    """Return the greatest number of a run; 0 if there is none.

    Raises:
        StateError: it isn't one that we wrote.
    """
    found = database[STATE].find_one(
        {"kind": "run"}, {"number": 1}, sort=[("number", DESCENDING)], session=session
    )
    found = state_format.checked(
        found, {"number": shapes.count}, place=_place(database), what="a run"
    )
    return int(found["number"]) if found else 0


def _place(database: Database[dict[str, Any]]) -> str:
    return f"{database.name}.{STATE}"


def is_applied(database: Database[dict[str, Any]], migration: str) -> bool:
    """Return whether the newest run of *migration* is applied or verified."""
    run = latest(database, migration)
    return run is not None and run["phase"] in DONE


def server_now(database: Database[dict[str, Any]]) -> datetime.datetime:
    """Return the server's clock: the instant that the whole run calls now."""
    now = database.client.admin.command("hello")["localTime"]
    if not isinstance(now, datetime.datetime):
        raise AssertionError("the server's clock gives a date")
    return now


def written(run: Mapping[str, Any]) -> int:
    """Return how many documents *run* has written so far."""
    counts = run["counts"]
    more = counts.get("deleted", 0) + counts.get("copied", 0)
    return int(counts["modified"] + counts["inserted"] + more)


def _planned(definition: Definition, token: int, now: datetime.datetime) -> dict[str, Any]:
    """Return the document of a run that is planned."""
    return {
        "_id": f"{definition.id}-{now:%Y%m%d%H%M%S}-{secrets.token_hex(2)}",
        "kind": "run",
        "format": state_format.FORMAT,
        "engine": state_format.ENGINE,
        "revision": 0,
        "number": token,
        "migration": definition.id,
        "name": definition.name,
        "digest": definition.digest,
        "after": list(definition.after),
        # For people, and to find the revision again. Nothing is ever run by it.
        "definition": {"source": definition.source, "text": definition.text},
        "variables": definition.variables,
        "collections": [
            {"name": name, "real": real} for name, real in definition.collections.items()
        ],
        "assume_applied": list(definition.assume_applied),
        "now": now,
        "started": now,
        "phase": "planned",
        "history": [{"phase": "planned", "at": now}],
        "token": token,
        "position": {"step": 0},
        "seq": 0,
        "counts": {"modified": 0, "inserted": 0, "skipped": 0, "batches": 0},
    }


class Held(Protocol):
    """A lease that is held, as far as a run has to know it (:mod:`.lease`)."""

    token: int

    def deadline(self) -> datetime.datetime:
        """Return until when by the server's clock nobody else may take it."""

    def refuse_if_taken(self) -> None:
        """Raise if another process has taken it."""


class Run:
    """One run, owned by this process as long as its token is the newest."""

    def __init__(
        self, database: Database[dict[str, Any]], document: dict[str, Any], token: int
    ) -> None:
        self._collection = database[STATE].with_options(write_concern=MAJORITY)
        self._place = _place(database)
        self.document = document
        self.token = token

    @classmethod
    def create(
        cls,
        database: Database[dict[str, Any]],
        definition: Definition,
        *,
        token: int,
        facts: Mapping[str, Any],
        insert: Callable[[dict[str, Any]], None],
        session: ClientSession | None = None,
    ) -> Run:
        """Write a new run in phase ``planned``; its number is the fencing token.

        So the newest run is always that of the newest lease, and what a process writes that slept
        past the end of its own can hide nobody's.

        Args:
            database: the migrated database.
            definition: what is run.
            token: of the lease.
            facts: what else the document holds.
            insert: writes the document, if the lease still is the newest.
            session: of the transaction that this is done in.

        Raises:
            LeaseLostError: there is a run of this number, or a newer one, already.
        """
        now = server_now(database)
        newest = newest_number(database, session)
        if newest >= token:
            raise _lost(f"number {newest}", token)
        document = {**_planned(definition, token, now), **facts}
        run = cls(database, document, token)
        try:
            insert(document)
        except DuplicateKeyError as error:
            raise _lost(run.id, token) from error
        return run

    @staticmethod
    def prepare(database: Database[dict[str, Any]]) -> None:
        """Make sure that no two runs can have one number."""
        try:
            database[STATE].with_options(write_concern=MAJORITY).create_indexes(
                [own_collections.NUMBER], **majority.quorum(database.client)
            )
        except OperationFailure as error:
            if error.code in _INDEX_CONFLICT:
                own_collections.refuse_odd(database)
            if isinstance(error, DuplicateKeyError):
                raise MigrationError(
                    f"Two runs in {_place(database)} have one number, which we never write: "
                    "someone else did. Look who may write there (docs/privileges.md), and remove "
                    "what isn't a run of ours."
                ) from error
            raise

    @classmethod
    def adopt(
        cls, database: Database[dict[str, Any]], document: dict[str, Any], lease: Held
    ) -> Run:
        """Take a run over as it was read: from now on its former owner's checkpoints don't match.

        The server does it only while nobody else may have taken the lease: who slept since must
        not take the run from whoever works now.

        Raises:
            LeaseLostError: it isn't any more as *document* says, or another process has the lease.
        """
        run = cls(database, document, lease.token)
        as_read = {
            "_id": document["_id"],
            "token": {"$lte": lease.token},
            "phase": document["phase"],
        }
        while True:
            in_time = {"$expr": {"$lt": ["$$NOW", lease.deadline()]}}
            found = run._collection.find_one_and_update(
                {**as_read, **in_time},
                {
                    "$set": {"token": lease.token},
                    "$unset": {"control": ""},
                    "$inc": {"revision": 1},
                },
                return_document=ReturnDocument.AFTER,
            )
            if found is not None:
                run.document = state_format.read_run(found, place=run._place)
                return run
            lease.refuse_if_taken()
            if run._collection.find_one(as_read, {"_id": 1}) is None:
                raise _lost(run.id, lease.token)
            # It ran out on the way, and nobody took it: it is renewed.

    @property
    def id(self) -> str:
        """The run's name."""
        return str(self.document["_id"])

    @property
    def database(self) -> Database[dict[str, Any]]:
        """The migrated database."""
        return self._collection.database

    @property
    def phase(self) -> str:
        """The phase that the run is in."""
        return str(self.document["phase"])

    def reload(self) -> None:
        """Read the run again: after an error, the database alone knows how far it came.

        By a write that a majority acknowledges. A mere read may come from a member that doesn't
        know yet that it is no longer the primary, or overtake our own last transaction; the write
        waits for what is open on this document, and whatever wasn't committed by then fails.
        """
        found = self._collection.find_one_and_update(
            {"_id": self.id, "token": self.token},
            {"$inc": {"recoveries": 1, "revision": 1}},
            return_document=ReturnDocument.AFTER,
        )
        if found is None:
            raise _lost(self.id, self.token)
        self.document = state_format.read_run(found, place=self._place)

    def look(self) -> dict[str, Any]:
        """Return what another terminal may have written since the last checkpoint.

        Raises:
            LeaseLostError: another process took the run over.
        """
        found = self._collection.find_one(
            {"_id": self.id, "token": self.token}, {"control": 1, "limits": 1}
        )
        if found is None:
            raise _lost(self.id, self.token)
        return self._steered(found)

    def _steered(self, found: dict[str, Any]) -> dict[str, Any]:
        """Return a part of the document, of which all but what steers it is our own writing.

        Raises:
            StateError: what steers it isn't what we write.
        """
        found = {"_id": self.id, **found}
        state_format.checked(found, run_shape.STEERED, place=self._place, what="a run")
        return found

    def enter(self, phase: str, **facts: Any) -> None:
        """Move to *phase* and keep *facts* with it.

        Raises:
            MigrationError: that phase can't follow the present one.
        """
        if phase not in TRANSITIONS[self.phase]:
            raise MigrationError(
                f"Run {self.id} is {self.phase}: it can't become {phase}.", run=self.id
            )
        change = {
            "phase": phase,
            "updated": "$$NOW",
            "history": {"$concatArrays": ["$history", [{"phase": phase, "at": "$$NOW"}]]},
            "revision": self.document["revision"] + 1,
            **{key: {"$literal": value} for key, value in facts.items()},
        }
        self.document = self._write([{"$set": change}])

    def checkpoint(
        self,
        position: Mapping[str, Any],
        counts: Mapping[str, int],
        *,
        seq: int,
        session: ClientSession | None = None,
    ) -> dict[str, Any]:
        """Write how far the run is; the caller's transaction stands or falls with it.

        Args:
            position: where the next batch begins.
            counts: what this batch adds to the run's counts.
            seq: the number of the newest journal entry.
            session: the transaction that also holds the batch.

        Returns:
            The run document with the checkpoint, which :meth:`accept` makes ours.

        Raises:
            LeaseLostError: another process took the run over.
            StaleRunError: the document isn't as we wrote it last.
        """
        return self._write(
            {
                "$set": {"position": dict(position), "seq": seq},
                "$inc": {"revision": 1, **{f"counts.{key}": n for key, n in counts.items()}},
                "$currentDate": {"updated": True},
            },
            projection={"definition": 0, "plan": 0, "baseline": 0},
            session=session,
        )

    def accept(self, document: Mapping[str, Any]) -> None:
        """Take over a checkpoint that was committed."""
        self.document = {**self.document, **document}

    def keep(self, **facts: Any) -> None:
        """Store *facts* in the run document."""
        self.document = self._write({"$set": facts, "$inc": {"revision": 1}})

    def _write(
        self,
        change: dict[str, Any] | list[dict[str, Any]],
        *,
        projection: dict[str, int] | None = None,
        session: ClientSession | None = None,
    ) -> dict[str, Any]:
        """Change the document if it is ours, and as we know it."""
        # The collection's write concern must not be given inside a transaction.
        collection = self._collection
        if session is not None:
            collection = collection.with_options(write_concern=WriteConcern())
        # One from before there were revisions has none.
        revision = self.document["revision"]
        known: Any = revision if revision else {"$in": [0, None]}
        found: dict[str, Any] | None = collection.find_one_and_update(
            {"_id": self.id, "token": self.token, "phase": self.phase, "revision": known},
            change,
            return_document=ReturnDocument.AFTER,
            projection=projection,
            session=session,
        )
        if found is not None:
            return self._steered(found)
        ours = {"_id": self.id, "token": self.token}
        if collection.find_one(ours, {"_id": 1}, session=session) is None:
            raise _lost(self.id, self.token)
        raise StaleRunError(f"run {self.id} isn't as this process wrote it last")


def _lost(run: str, token: int) -> LeaseLostError:
    return LeaseLostError(
        f"Run {run} was taken over or changed by another process; this one stopped before its "
        f"next write. {commands.STATUS} shows who works now and in what state things are.",
        run=run,
        token=token,
        next=commands.STATUS,
    )
