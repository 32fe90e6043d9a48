"""One batch: journal entry, writes and checkpoint, together or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
)

from ..errors import MigrationError
from ..pace.pacer import Pacer
from ..pace.throttle import Limits, Pace
from ..server.connection import Server
from ..support import retry
from ..support.progress import Meter, Sink
from ..support.stop import StopSignal
from . import control, transaction
from .capacity import DIVISIBLE_SECONDS, Capacity, SmallerBatchError, is_too_much
from .fence import Fence, Statement
from .journal import Journal
from .lease import Lease
from .runs import Run

# Writes a batch and returns what it adds to the run's counts.
Write = Callable[[ClientSession | None], Mapping[str, int]]
# Reads in a transaction, if there is one, what a batch is about to write.
Told = Callable[[ClientSession | None], Mapping[str, Any]]
Also = Callable[[ClientSession | None], None]

_LARGER = "With what the migration writes, a document would be larger than MongoDB's 16 MB."
_ROOM = "The plan (--check) names it: make it smaller, or leave it out with `where`. "
# What a refused write means by the server's code, and what to do.
_MEANINGS = {
    121: (
        "The collection's validator rejects what the migration writes.",
        "Change the validator or the data first. ",
    ),
    11000: ("A unique index rejects what the migration writes.", ""),
    10334: (_LARGER, _ROOM),
    17419: (_LARGER, _ROOM),
}
# Counts of documents that a batch wrote.
_DOCUMENTS = ("modified", "inserted", "deleted", "restored", "removed", "copied")
# While writers are stopped, how often a majority has to have all that was written.
_AGREE_SECONDS = 1.0
# How often a paused run looks whether it may go on.
_LOOK_SECONDS = 1.0


class StaleBatchError(Exception):
    """Documents changed between reading and writing the batch: nothing was written, read again."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a run behaves.

    Args:
        writers_stopped: nobody else writes, so whole collections can be compared before and after.
        batch_size: documents a batch, where no *limits* are given.
        lease_seconds: life of the lease.
        retry_seconds: how long to wait for a primary before giving up.
        pause_seconds: pause after each batch, where no *limits* are given.
        limits: lets the throttle choose size and pause within them.
        secrets: values of the environment variables that commands ask for, by name; kept nowhere.
    """

    writers_stopped: bool = False
    batch_size: int = 1000
    lease_seconds: int = 30
    retry_seconds: int = 300
    pause_seconds: float = 0.0
    limits: Limits | None = None
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, params: Mapping[str, Any], **more: Any) -> Settings:
        """Return the settings that :data:`argument_specs.RUN_OPTIONS` ask for, and *more*."""
        given = {**(params["throttle"] or {}), "batch_size": params["batch_size"]}
        chosen = {key: value for key, value in given.items() if value is not None}
        return cls(
            lease_seconds=params["lease_seconds"],
            retry_seconds=params["retry_seconds"],
            limits=Limits(**chosen),
            secrets={name: str(value) for name, value in (params["secrets"] or {}).items()},
            **more,
        )

    def patience(self, stop: StopSignal, progress: Sink, phase: str) -> retry.Patience:
        """Return how long to wait for a primary, a majority or a lock, and who is told."""
        return retry.Patience.telling(progress, phase, self.retry_seconds, stop)

    def bounds(self) -> Limits:
        """Return what size and pause are bound by, also where they are fixed."""
        return self.limits or Limits(batch_size=self.batch_size, pause_seconds=self.pause_seconds)


@dataclass(kw_only=True)
class Writer:
    """Writes the batches of one run, in order."""

    database: Database[dict[str, Any]]
    server: Server
    run: Run
    journal: Journal
    lease: Lease
    fence: Fence
    stop: StopSignal
    settings: Settings
    meter: Meter
    pacer: Pacer
    #: Collections whose validator may refuse what was right when it was written.
    validated: frozenset[str] = frozenset()
    seq: int = field(default=0)
    capacity: Capacity = field(default_factory=Capacity, init=False)
    _agreed: float = field(default=float("-inf"), init=False)

    def __post_init__(self) -> None:
        self._set_pace(self.pacer.first)

    @property
    def comment(self) -> str:
        """What server operations carry, so that they can be found and killed."""
        return f"migration-playbooks {self.run.id}"

    def write(
        self,
        collection: Collection[dict[str, Any]],
        statements: Sequence[Statement],
        session: ClientSession | None,
        *,
        back: bool = False,
        ordered: bool = True,
        bypass: bool = False,
    ) -> int:
        """Write documents; return how many were matched, deleted or inserted.

        The one way to the data: in the batch's transaction, or so that the server refuses it once
        the lease is over (:mod:`.fence`).

        Args:
            collection: of the documents.
            statements: of which none depends on another.
            session: of the transaction, if there is one.
            back: puts back what was there, whatever a validator says. What a migration has written
                may be what a validator demands by now, and the state before it what it refuses:
                the way back must not depend on that.
            ordered: whether the first refused one ends it.
            bypass: as *back*, into a collection of ours that is new.
        """
        options: dict[str, Any] = {"comment": self.comment, "ordered": ordered}
        if bypass or (back and collection.name in self.validated):
            options["bypass_document_validation"] = True
        if session is None:
            return self.fence.write(collection, statements, **options)
        done = collection.bulk_write(statements, session=session, **options)
        return done.matched_count + done.deleted_count + done.inserted_count

    def commit(
        self,
        entry: Mapping[str, Any] | Told,
        write: Write,
        *,
        position: Mapping[str, Any],
        documents: int = 1,
    ) -> None:
        """Journal *entry*, do *write*, and checkpoint *position*.

        Args:
            entry: what is to be written; a function reads it in the batch's own transaction.
            write: writes the batch.
            position: where the next one begins.
            documents: how many it writes, where it could as well be fewer.

        Raises:
            SmallerBatchError: the server can't take so many *documents* at once.
            StaleBatchError: *write* found other documents than were read; nothing was written.
            InterruptedRunError: a stop was asked for; nothing of this batch was written.
            LeaseLostError: another process works now; nothing was written.
        """
        seq = self.seq + 1
        self._transact(
            before=lambda session: self.journal.write(
                {**(entry(session) if callable(entry) else entry), "seq": seq},
                session,
                alone=documents == 1,
            ),
            write=write,
            position=position,
            seq=seq,
            documents=documents,
        )
        self.seq = seq

    def revert(
        self,
        entry: Mapping[str, Any],
        write: Write,
        *,
        facts: Callable[[], Mapping[str, Any]],
        documents: int = 1,
        whole: bool = True,
    ) -> None:
        """Do *write*, which undoes *entry*, and mark the entry as undone, with its *facts*.

        Args:
            entry: of the journal.
            write: undoes it, or *documents* of it.
            facts: what the entry keeps of its undoing, once it is done.
            documents: how many are written, where it could as well be fewer.
            whole: whether nothing of the entry is left to undo after that.

        Raises:
            SmallerBatchError: the server can't take so many *documents* at once.
        """
        self._transact(
            # Marked last where there is no transaction: an entry half undone is undone again.
            after=lambda session: self.journal.mark_reverted(
                entry["seq"], session, whole=whole, **facts()
            ),
            write=write,
            position=self.run.document["position"],
            seq=self.run.document["seq"],
            documents=documents,
        )

    def copy(self, write: Write) -> None:
        """Do *write*, into a collection that is ours alone and needs no journal; checkpoint it."""
        document = self.run.document
        self._transact(write=write, position=document["position"], seq=document["seq"])

    def move(self, position: Mapping[str, Any], counts: Mapping[str, int] | None = None) -> None:
        """Checkpoint a position between batches."""
        self._ensure_may_write()
        self.run.accept(self.run.checkpoint(position, counts or {}, seq=self.seq))

    def _transact(
        self,
        *,
        write: Write,
        position: Mapping[str, Any],
        seq: int,
        before: Also | None = None,
        after: Also | None = None,
        documents: int = 1,
    ) -> None:
        self._ensure_may_write()
        worked, counts, began = 0.0, {"batches": 1}, time.monotonic()

        def body(session: ClientSession | None) -> dict[str, Any]:
            nonlocal worked, counts, began
            began = time.monotonic()
            if before is not None:
                before(session)
            counts = {**write(session), "batches": 1}
            if after is not None:
                after(session)
            # Last: the document that all batches touch is locked for as short as can be.
            done = self.run.checkpoint(position, counts, seq=seq, session=session)
            worked = time.monotonic() - began
            return done

        try:
            if self.server.transactions:
                written = transaction.run(
                    self.lease.session,
                    body,
                    self._ensure_may_write,
                    majority=self._majority_is_due(),
                    seconds=DIVISIBLE_SECONDS if documents > 1 else None,
                )
            else:
                written = body(None)
        except DuplicateKeyError as error:
            # Of the journal: data are written in bulk. Someone else wrote this number, so that the
            # run is theirs and reading it says so; or we did, and were never told.
            self.run.reload()
            raise AutoReconnect("the journal is ahead of this process") from error
        except (BulkWriteError, OperationFailure) as error:
            if documents > 1 and is_too_much(self.database.client, error, time.monotonic() - began):
                self._take_less(documents)
                raise SmallerBatchError from error
            if (meaning := refused(error)) is error:
                raise
            raise meaning from error
        self._go_on(written, counts, worked)

    def _go_on(self, written: Mapping[str, Any], counts: Mapping[str, int], seconds: float) -> None:
        """Take the checkpoint of a batch over, do what it asks for, and choose the next pace."""
        self.run.accept(written)
        self.capacity.fitted()
        document = self._apply_control(written)
        self._set_pace(
            self.pacer.after(
                document.get("limits") or {},
                documents=sum(counts.get(key, 0) for key in _DOCUMENTS),
                seconds=seconds,
            )
        )
        if self.settings.pause_seconds:
            self.stop.wait(self.settings.pause_seconds)

    def _take_less(self, documents: int) -> None:
        most = self.capacity.refused(documents)
        self._set_pace(
            Pace(size=self.settings.batch_size, pause=self.settings.pause_seconds, reason="")
        )
        self.meter.note(throttle=f"at most {most:,} documents at once: the server takes no more")

    def _majority_is_due(self) -> bool:
        """Return whether to wait for a majority after this batch.

        While others write, always: it is the best brake on lag. While they are stopped, once a
        second: what a failover takes back is whole batches with their entries and checkpoints, and
        the run's next phase waits for all of them.
        """
        if not self.settings.writers_stopped:
            return True
        due = time.monotonic() - self._agreed >= _AGREE_SECONDS
        if due:
            self._agreed = time.monotonic()
        return due

    def check_control(self) -> None:
        """End here if that was asked for, while the server does something that has no batches."""
        self._ensure_may_write()
        if asked := control.asked(self.run.look()):
            asked.refuse_abort()

    def _ensure_may_write(self) -> None:
        self.stop.check()
        self.lease.check()

    def with_control_checks(self, report: Sink) -> Sink:
        """Return *report* for long reading: it also ends here if that was asked for."""
        looked = time.monotonic()

        def heed(event: dict[str, Any]) -> None:
            nonlocal looked
            report(event)
            self._ensure_may_write()
            if time.monotonic() - looked > _LOOK_SECONDS:
                looked = time.monotonic()
                self.check_control()

        return heed

    def _set_pace(self, pace: Pace) -> None:
        size = self.capacity.at_once(pace.size)
        self.settings = replace(self.settings, batch_size=size, pause_seconds=pace.pause)
        self.meter.note(throttle=pace.reason or None, **self.pacer.seen())

    def _apply_control(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do what another terminal wrote into the run document; return it as it is then."""
        while asked := control.asked(document):
            asked.refuse_abort()
            self.meter.report(paused=str(asked))
            self.stop.wait(_LOOK_SECONDS)
            self._ensure_may_write()
            try:
                document = self.run.look()
            except PyMongoError as error:
                if not retry.is_retryable(error):
                    raise
                # A failover finds us at rest: there is nothing to repeat, only to look again.
        return document


def refused(error: OperationFailure) -> Exception:
    """Return what a refused write means, or *error* itself where a retry may help."""
    if error.has_error_label("TransientTransactionError"):
        return error
    details: dict[str, Any] = {}
    code, message = error.code, str(error).split(", full error:")[0]
    if isinstance(error, BulkWriteError):
        problems = error.details.get("writeErrors", [])
        if not problems:
            return error  # a write concern error: the deadline loop looks what really happened
        first = problems[0]
        code, message = first.get("code"), first.get("errmsg", message)
        details = {"server_message": message, "code": code}
    if retry.is_retryable(error):
        return error
    if (meaning := _MEANINGS.get(code or 0)) is None:
        if not details:
            return error
        meaning = "The server refuses what the migration writes.", ""
    what, remedy = meaning
    said = f"Nothing of this batch was written. {remedy}The server said: {message}"
    return MigrationError(f"{what} {said}", **details)
