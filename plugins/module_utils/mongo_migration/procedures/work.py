"""Being at work on a run: under the lease, paced, seen, and with an end that is always recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pymongo
from bson.errors import BSONError
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from ..errors import InterruptedRunError, LeaseLostError, MigrationError
from ..ledger import lease as leases
from ..ledger import runs
from ..ledger.batches import Settings, Writer
from ..ledger.fence import Fence
from ..ledger.lease import Lease
from ..ledger.runs import Run
from ..operations.reconcile import reconcile
from ..operations.registry import open_journal
from ..pace.pacer import Source, pacing
from ..server import connection, obstacles
from ..support import commands, listing, retry
from ..support.progress import Meter, Sink
from ..support.stop import StopSignal
from . import undecodable
from .authority import Authority

T = TypeVar("T")

_NOTE_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a process works with, whatever it works at.

    Args:
        client: connected to the deployment.
        database: the database to migrate.
        settings: how.
        change: ticket, approver and the like, for the changelog.
        operator: user, host and pid of this process.
        progress: told of every batch.
        stop: asks for an end at the next batch boundary.
        load: where the throttle sees the server's load, if not on the server.
    """

    client: MongoClient[dict[str, Any]]
    database: str
    settings: Settings
    change: Mapping[str, Any]
    operator: Mapping[str, Any]
    progress: Sink
    stop: StopSignal
    load: Source | None = None

    @property
    def db(self) -> Database[dict[str, Any]]:
        """The database."""
        return self.client[self.database]

    @contextmanager
    def lease(self, purpose: str) -> Iterator[Lease]:
        """Hold the lease of the database."""
        with leases.hold(
            self.db,
            purpose=purpose,
            holder=dict(self.operator),
            seconds=self.settings.lease_seconds,
            patience=self.settings.patience(self.stop, self.progress, "lease"),
        ) as held:
            yield held

    def newest(self, migration: str, run: str | None = None) -> dict[str, Any] | None:
        """Return the newest run of *migration*, or the one named *run*, as a majority knows it."""
        return self.before_work(lambda: runs.latest(self.db, migration, run, sure=True))

    def before_work(self, attempt: Callable[[], T]) -> T:
        """Return what *attempt* returns, again and again while a majority or a primary is missing.

        Args:
            attempt: what comes before the first batch; it may be done twice.
        """
        return self.settings.patience(self.stop, self.progress, "begin").retry(
            attempt,
            otherwise="No document was written. When that is settled, run the same command again.",
            obstacle=obstacles.namer(self.client),
        )


@dataclass(frozen=True, kw_only=True)
class Stint:
    """What is to be done in this process's time at work.

    Args:
        phase: for the progress: migrate or rollback.
        total: documents in all.
        done: documents done by earlier attempts.
        writers_stopped: nobody else writes, so nobody waits for us.
    """

    phase: str
    total: int
    done: int
    writers_stopped: bool


@contextmanager
def at_work(
    job: Job, run: Run, lease: Lease, stint: Stint, authority: Authority
) -> Iterator[Writer]:
    """Yield the writer of *run*'s batches; how the work ends early is recorded in the run.

    Args:
        job: what to work with.
        run: the run, adopted.
        lease: held.
        stint: what is to be done.
        authority: says which entries of the journal the run may have.

    Raises:
        MigrationError: what ended the work early, with the run, its phase and the next command.
    """
    bounds = job.settings.bounds()
    if stint.phase == "rollback":
        # The journal's entries are the batches: only the pause can give way.
        bounds = bounds.changed({"batch_size": job.settings.batch_size})
    with (
        pacing(
            job.client,
            bounds,
            adaptive=job.settings.limits is not None and not stint.writers_stopped,
            documents=stint.total - stint.done,
            stop=job.stop,
            source=job.load,
        ) as pacer,
        recording_failure(run),
    ):
        fence = Fence(lease)
        yield Writer(
            database=job.db,
            server=connection.inspect(job.client),
            run=run,
            journal=open_journal(job.db, run.id, require=authority.step, fence=fence),
            lease=lease,
            fence=fence,
            stop=job.stop,
            settings=replace(job.settings, writers_stopped=stint.writers_stopped),
            meter=Meter(job.progress, phase=stint.phase, total=stint.total, done=stint.done),
            pacer=pacer,
            validated=_validated(job.db),
        )


def keep_trying(writer: Writer, job: Job, attempt: Callable[[], None], *, phase: str) -> None:
    """Do *attempt* until it ends, through failovers, from wherever the database says it is."""

    def recover() -> None:
        writer.run.reload()
        reconcile(writer)
        writer.seq = writer.run.document["seq"]

    retry.retry_until_deadline(
        attempt,
        # Grows with every batch, there and back.
        progressed=lambda: writer.run.document["counts"]["batches"],
        recover=recover,
        seconds=writer.settings.retry_seconds,
        stop=writer.stop,
        waiting=lambda reason: job.progress({"phase": phase, "waiting": reason}),
        obstacle=obstacles.namer(job.client),
    )


@contextmanager
def recording_failure(run: Run) -> Iterator[None]:
    """Write whatever ends the block early into the run document before it is raised.

    Raises:
        MigrationError: with the run, its phase and the next command.
    """
    try:
        yield
    except LeaseLostError:
        raise  # the run is another process's now
    except InterruptedRunError as error:
        raise _recorded(run, "interrupted", error) from error
    except MigrationError as error:
        raise _recorded(run, "failed", error) from error
    except PyMongoError as error:
        said = MigrationError(f"MongoDB: {str(error).split(', full error:')[0]}")
        raise _recorded(run, "failed", said) from error
    except BSONError as error:
        said = undecodable.named(run.database, error)
        raise _recorded(run, "failed", said) from error
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        # Of a document that no code of ours foresaw: the run has to say so, like any other end.
        said = MigrationError(
            f"Unexpected error while handling a document: {type(error).__name__}: {error}"
        )
        raise _recorded(run, "failed", said) from error


def _recorded(run: Run, phase: str, error: MigrationError) -> MigrationError:
    # What is half rolled back stays that, whatever ended it. Where the server is gone, the first
    # error is the one to tell, and soon.
    with suppress(PyMongoError, MigrationError), pymongo.timeout(_NOTE_SECONDS):
        run.reload()
        if run.phase in (*runs.UNFINISHED, "planned"):
            run.enter(phase, error=error.message)
    return explained(run, error)


def explained(run: Run, error: MigrationError) -> MigrationError:
    """Return *error* with the run, its phase and the next command."""
    migration = run.document["migration"]
    back = commands.roll_back(migration)
    resume = back
    if run.phase != runs.ROLLING_BACK:
        resume = commands.carry_out(migration, run.document["name"])
    way = f"Resume: {resume}; or undo: {back}"
    if run.phase == runs.ROLLED_BACK:
        way = f"Nothing is left to resume or to undo: {commands.STATUS}"
    counts = run.document["counts"]
    removed = f" and {counts['deleted']:,} removed" if counts.get("deleted") else ""
    return type(error)(
        f"{error.message}\nRun {run.id} is {run.phase}: {counts['modified']:,} modified and "
        f"{counts['inserted']:,} inserted{removed}, all in the journal. {way}",
        **{
            **error.details,
            "run": run.id,
            "phase": run.phase,
            "migration": migration,
            "counts": counts,
            "next": resume,
        },
    )


def _validated(database: Database[dict[str, Any]]) -> frozenset[str]:
    """Return the collections that have a validator."""
    return frozenset(
        item["name"]
        for item in listing.collections(database)
        if "validator" in item.get("options", {})
    )
