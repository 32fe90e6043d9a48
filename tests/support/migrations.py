"""Run the project's migrations through the engine, and look at the data through another client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mongo_migration.document import definition
from mongo_migration.document.definition import Definition
from mongo_migration.procedures import migrate as runner
from mongo_migration.procedures import plan, rollback, verify
from mongo_migration.procedures.work import Job
from mongo_migration.support.stop import StopSignal
from pymongo import MongoClient
from pymongo.database import Database

from tests.support.maintenance import without_block
from tests.support.snapshot import Snapshot, indexes, snapshot, without_lease

PLAYBOOKS = Path(__file__).parents[2] / "playbooks"
FOLDER = PLAYBOOKS / "migrations"

# What mongoose makes of the documents' names.
MONGOOSE: dict[str, str | None] = {
    name: name.lower()
    for name in (
        "bankAccounts",
        "financialPeriods",
        "journalEntries",
        "paymentIns",
        "paymentOuts",
        "purchaseReturns",
        "stockLedgers",
    )
}

ANNA = {"user": "anna", "host": "bastion", "pid": 17}

Client = MongoClient[dict[str, Any]]


def text_of(migration: str) -> tuple[str, str]:
    """Return the text of a migration or repair document and its file name."""
    (path,) = PLAYBOOKS.glob(f"*/{migration}-*.yml")
    return path.read_text(encoding="utf-8"), path.name


@dataclass
class Deployment:
    """One database, migrated by `client` and looked at through `data`, which is another's."""

    client: Client
    data: Database[dict[str, Any]]
    collections: dict[str, str | None] = field(default_factory=lambda: dict(MONGOOSE))
    batch_size: int = 1000
    # Migrations that count as applied, for a document that builds on them.
    assumed: Sequence[str] = ()
    # Told of every batch.
    progress: Callable[[dict[str, Any]], None] = lambda event: None
    # The document of each migration that was loaded last, as it lies on the controller.
    known: dict[str, Definition] = field(default_factory=dict)
    # The values that each was migrated with, as an inventory keeps them.
    values: dict[str | tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def load(self, migration: str | tuple[str, str], **variables: Any) -> Definition:
        """Return a definition: by its id, or from a text and its file name."""
        text, source = text_of(migration) if isinstance(migration, str) else migration
        loaded = definition.load(
            text,
            source,
            variables=variables,
            collections=self.collections,
            # No test of 004 needs a run of 003 before it, unless it says so.
            assume_applied=[
                *self.assumed,
                *(["003"] if '"004"' in text and not self.applied("003") else []),
            ],
        )
        self.known[loaded.id] = loaded
        return loaded

    def applied(self, migration: str) -> bool:
        """Return whether a run of it stands in the changelog."""
        done = {"migration": migration, "phase": {"$in": ["applied", "verified"]}}
        return self.data["_migrations"].find_one(done) is not None

    def plan(self, migration: str | tuple[str, str], **variables: Any) -> dict[str, Any]:
        return plan.make(self.client, self.data.name, self.load(migration, **variables))

    def migrate(
        self, migration: str | tuple[str, str], *, writers_stopped: bool = False, **variables: Any
    ) -> dict[str, Any]:
        self.values[migration] = variables
        return runner.migrate(
            self._job(self._settings(writers_stopped)),
            self.load(migration, **variables),
        )

    def verify(
        self,
        migration: str | tuple[str, str],
        expect: str = "applied",
        *,
        record: bool = True,
        lease_seconds: float = 30,
    ) -> dict[str, Any]:
        return verify.verify(
            client=self.client,
            database=self.data.name,
            definition=self.load(migration, **self.values.get(migration, {})),
            expect=expect,
            operator=ANNA,
            record=record,
            lease_seconds=lease_seconds,
        )

    def roll_back(self, migration: str, on_conflict: str = "keep") -> dict[str, Any]:
        return rollback.roll_back(
            self.job(),
            migration,
            definition=self.known.get(migration),
            on_conflict=on_conflict,
        )

    def job(self) -> Job:
        """Return what a process works with."""
        return self._job(self._settings(writers_stopped=False))

    def maintenance(self, state: str) -> None:
        """Record maintenance mode; without the server's write block, which all databases share."""
        without_block(self.data, state)

    def content(self) -> tuple[Snapshot, dict[str, dict[str, Any]]]:
        """Return every byte of every document, and every index: what a rollback must restore."""
        return snapshot(self.data), indexes(self.data)

    def everything(self) -> Snapshot:
        """Return every byte, the engine's own collections included, without the lease."""
        return without_lease(snapshot(self.data, own=True))

    def journal(self) -> list[dict[str, Any]]:
        """Return the journal, as anyone can read it."""
        return list(self.data["_migrations_journal"].find().sort([("run", 1), ("seq", 1)]))

    def _job(self, settings: runner.Settings) -> Job:
        return Job(
            client=self.client,
            database=self.data.name,
            settings=settings,
            change={"ticket": "CHG-1"},
            operator=ANNA,
            progress=self.progress,
            stop=StopSignal(),
        )

    def _settings(self, writers_stopped: bool) -> runner.Settings:
        return runner.Settings(
            writers_stopped=writers_stopped, batch_size=self.batch_size, lease_seconds=10
        )


def failed(result: dict[str, Any]) -> list[str]:
    """Return the names of the checks that failed."""
    return [check["name"] for check in result["checks"] if check["status"] == "failed"]


def named(result: dict[str, Any], part: str) -> dict[str, Any]:
    """Return the one check whose name has *part* in it."""
    (check,) = [check for check in result["checks"] if part in check["name"]]
    return dict(check)
