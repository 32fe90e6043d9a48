"""Run documents in ``_migrations``: the changelog, the checkpoint and the fence in one place."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Mapping
from typing import Any

from pymongo import DESCENDING, ReturnDocument
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.write_concern import WriteConcern

from ..document.collections import STATE
from ..document.definition import Definition
from ..errors import LeaseLostError, MigrationError

UNFINISHED = ("running", "interrupted", "failed")
DONE = ("applied", "verified")
ROLLING_BACK = "rolling_back"
ROLLED_BACK = "rolled_back"

MAJORITY = WriteConcern("majority")


def latest(
    database: Database[dict[str, Any]], migration: str, run: str | None = None
) -> dict[str, Any] | None:
    """Return the newest run of *migration*, or the one named *run*.

    Raises:
        MigrationError: *run* was given and isn't a run of this migration.
    """
    selector: dict[str, Any] = {"kind": "run", "migration": migration}
    if run is not None:
        selector["_id"] = run
    found = database[STATE].find_one(selector, sort=[("number", DESCENDING)])
    if run is not None and found is None:
        raise MigrationError(
            f"There is no run '{run}' of migration {migration} in database '{database.name}'; "
            "status.yml lists the runs."
        )
    return found


def changelog(database: Database[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return all runs, the newest first, without their plans and texts."""
    long = ("definition", "baseline", "variables", "collections", "plan.steps", "plan.problems")
    hidden = dict.fromkeys(long, 0)
    return list(
        database[STATE].find({"kind": "run"}, hidden, sort=[("number", DESCENDING)]),
    )


def is_applied(database: Database[dict[str, Any]], migration: str) -> bool:
    """Return whether the newest run of *migration* is applied or verified."""
    run = latest(database, migration)
    return run is not None and run["phase"] in DONE


def server_now(database: Database[dict[str, Any]]) -> datetime.datetime:
    """Return the server's clock: the instant that the whole run calls now."""
    now = database.client.admin.command("hello")["localTime"]
    assert isinstance(now, datetime.datetime)
    return now


def written(run: Mapping[str, Any]) -> int:
    """Return how many documents *run* has written so far."""
    counts = run["counts"]
    return int(counts["modified"] + counts["inserted"] + counts.get("deleted", 0))


class Run:
    """One run, owned by this process as long as its token is the newest."""

    def __init__(
        self, database: Database[dict[str, Any]], document: dict[str, Any], token: int
    ) -> None:
        self._collection = database[STATE].with_options(write_concern=MAJORITY)
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
    ) -> Run:
        """Write a new run in phase ``planned``."""
        now = server_now(database)
        newest = database[STATE].find_one({"kind": "run"}, sort=[("number", DESCENDING)])
        document = {
            "_id": f"{definition.id}-{now:%Y%m%d%H%M%S}-{secrets.token_hex(2)}",
            "kind": "run",
            "number": (newest["number"] if newest else 0) + 1,
            "migration": definition.id,
            "name": definition.name,
            "digest": definition.digest,
            "after": list(definition.after),
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
            **facts,
        }
        run = cls(database, document, token)
        run._collection.insert_one(document)
        return run

    @classmethod
    def adopt(cls, database: Database[dict[str, Any]], document: dict[str, Any], token: int) -> Run:
        """Take an unfinished run over: from now on its former owner's checkpoints don't match."""
        run = cls(database, document, token)
        run.document = run._must(
            run._collection.find_one_and_update(
                {"_id": document["_id"], "token": {"$lte": token}},
                {"$set": {"token": token}, "$unset": {"control": ""}},
                return_document=ReturnDocument.AFTER,
            )
        )
        return run

    @property
    def id(self) -> str:
        """The run's name."""
        return str(self.document["_id"])

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
        self.document = self._must(
            self._collection.find_one_and_update(
                {"_id": self.id, "token": self.token},
                {"$inc": {"recoveries": 1}},
                return_document=ReturnDocument.AFTER,
            )
        )

    def covers(self, seq: int) -> bool:
        """Return whether a checkpoint, of whichever process, covers the journal up to *seq*."""
        found = self._collection.find_one({"_id": self.id}, {"seq": 1})
        return found is None or found["seq"] >= seq

    def look(self) -> dict[str, Any]:
        """Return what another terminal may have written since the last checkpoint.

        Raises:
            LeaseLostError: another process took the run over.
        """
        return self._must(
            self._collection.find_one(
                {"_id": self.id, "token": self.token}, {"control": 1, "limits": 1}
            )
        )

    def enter(self, phase: str, **facts: Any) -> None:
        """Move to *phase* and keep *facts* with it."""
        self.document = self._must(
            self._collection.find_one_and_update(
                {"_id": self.id, "token": self.token},
                [
                    {
                        "$set": {
                            "phase": phase,
                            "updated": "$$NOW",
                            "history": {
                                "$concatArrays": ["$history", [{"phase": phase, "at": "$$NOW"}]]
                            },
                            **{key: {"$literal": value} for key, value in facts.items()},
                        }
                    }
                ],
                return_document=ReturnDocument.AFTER,
            )
        )

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
        """
        # The collection's write concern must not be given inside a transaction.
        collection = (
            self._collection
            if session is None
            else self._collection.with_options(write_concern=WriteConcern())
        )
        return self._must(
            collection.find_one_and_update(
                {"_id": self.id, "token": self.token},
                {
                    "$set": {"position": dict(position), "seq": seq},
                    "$inc": {f"counts.{key}": value for key, value in counts.items()},
                    "$currentDate": {"updated": True},
                },
                return_document=ReturnDocument.AFTER,
                projection={"definition": 0, "plan": 0, "baseline": 0},
                session=session,
            )
        )

    def accept(self, document: Mapping[str, Any]) -> None:
        """Take over a checkpoint that was committed."""
        self.document = {**self.document, **document}

    def keep(self, **facts: Any) -> None:
        """Store *facts* in the run document."""
        self.document = self._must(
            self._collection.find_one_and_update(
                {"_id": self.id, "token": self.token},
                {"$set": facts},
                return_document=ReturnDocument.AFTER,
            )
        )

    def _must(self, document: dict[str, Any] | None) -> dict[str, Any]:
        if document is None:
            raise LeaseLostError(
                f"Run {self.document['_id']} was taken over by another process; this one stopped "
                "before its next write. status.yml shows who works now.",
                run=self.document["_id"],
                token=self.token,
                next="ansible-playbook status.yml",
            )
        return document
