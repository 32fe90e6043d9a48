"""Trying again: what is worth it, for how long, and what the waiting is for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    ConnectionFailure,
    CursorNotFound,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from ..errors import ConnectionFailedError
from . import majority
from .progress import Sink
from .stop import StopSignal

T = TypeVar("T")

RESUMES = (
    "What was written stands, with its journal. When that is settled, run the same command: it "
    "resumes."
)

_FIRST_DELAY_SECONDS = 0.25
_LONGEST_DELAY_SECONDS = 5.0
# The server's names for "not now": elections, shutdowns, killed cursors, conflicts.
# https://github.com/mongodb/specifications/blob/master/source/retryable-writes/retryable-writes.md
_RETRYABLE_CODES = {6, 7, 43, 89, 91, 112, 134, 175, 189, 237, 262, 9001, 10058, 10107}
_RETRYABLE_CODES |= {11600, 11602, 13435, 13436}
# TransactionTooLargeForCache: of what the server takes by itself, others leave too little room.
NO_ROOM_IN_CACHE = 388
_RETRYABLE_CODES.add(NO_ROOM_IN_CACHE)
# Somebody else has the lock, or the document: LockTimeout, WriteConflict.
_CONFLICT_CODES = {24, 112}
# Of the server, and about no document: not allowed, interrupted, out of time or memory, gone.
_NO_EXPRESSION = (13, 18, 26, 50, 11600, 11601, 11602, 112, 251, 146, 292)
_NO_SESSIONS = "Sessions are not supported"
_RETRYABLE_LABELS = (
    "TransientTransactionError",
    "UnknownTransactionCommitResult",
    "RetryableWriteError",
)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait for what stands in the way, who is told, and what ends it earlier.

    Args:
        seconds: how long to go on without any progress.
        stop: ends the waiting.
        waiting: told what is waited for.
    """

    seconds: float
    stop: StopSignal = field(default_factory=StopSignal)
    waiting: Callable[[str], None] = lambda _words: None

    @classmethod
    def telling(cls, progress: Sink, phase: str, seconds: float, stop: StopSignal) -> Patience:
        """Return patience that shows on the progress of *phase* what is waited for."""
        return cls(
            seconds=seconds,
            stop=stop,
            waiting=lambda words: progress({"phase": phase, "waiting": words}),
        )

    def retry(
        self, attempt: Callable[[], T], *, otherwise: str, obstacle: Callable[[PyMongoError], str]
    ) -> T:
        """Return what *attempt* returns, which may be done twice.

        See :func:`retry_until_deadline`.
        """
        return retry_until_deadline(
            attempt,
            progressed=lambda: 0,
            recover=lambda: None,
            seconds=self.seconds,
            stop=self.stop,
            waiting=self.waiting,
            otherwise=otherwise,
            obstacle=obstacle,
        )


def is_retryable(error: PyMongoError) -> bool:
    """Return whether the same request may succeed a little later."""
    if isinstance(
        error, (AutoReconnect, ConnectionFailure, CursorNotFound, ServerSelectionTimeoutError)
    ):
        return True
    if majority.is_missing(error):
        return True  # the primary has it, and may yet pass it on
    if isinstance(error, ConfigurationError):
        # All servers have sessions, but a member says so only once it can be read: what connected
        # to one that was just starting takes that for its last word. See `connection`.
        return str(error).startswith(_NO_SESSIONS)
    if any(error.has_error_label(label) for label in _RETRYABLE_LABELS):
        return True
    if isinstance(error, OperationFailure):
        details = error.details or {}
        concerns = [details.get("writeConcernError") or {}, *details.get("writeConcernErrors", ())]
        found = codes(error) | {item.get("code") for item in concerns}
        return bool(found & _RETRYABLE_CODES)
    return False


def is_conflict(error: PyMongoError) -> bool:
    """Return whether *error* says that somebody else holds what is to be written."""
    return bool(codes(error) & _CONFLICT_CODES)


def codes(error: PyMongoError) -> set[int | None]:
    """Return the server's code of *error*, and those of a bulk write's statements."""
    details = getattr(error, "details", None) or {}
    found = {getattr(error, "code", None)}
    return found | {item.get("code") for item in details.get("writeErrors", ())}


def a_primary(error: PyMongoError) -> str:
    """Return what is waited for where nobody looks any closer."""
    return "a majority" if majority.is_missing(error) else "a primary"


def retry_until_deadline(
    attempt: Callable[[], T],
    *,
    progressed: Callable[[], int],
    recover: Callable[[], None],
    seconds: float,
    stop: StopSignal,
    waiting: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    otherwise: str = RESUMES,
    obstacle: Callable[[PyMongoError], str] = a_primary,
) -> T:
    """Return what *attempt* returns, trying again while something stands in its way that passes.

    Args:
        attempt: the work; it must begin where the database says it is.
        progressed: a number that grows with the work; growth starts the deadline anew.
        recover: reads where the work is, before each attempt.
        seconds: how long to go on without any progress.
        stop: ends the waiting, too.
        waiting: told what is waited for.
        clock: seconds that only grow.
        otherwise: for the error: what state things are in, and how to go on.
        obstacle: says what an error means that is waited for.

    Raises:
        ConnectionFailedError: no progress within *seconds*.
    """
    seen, since, delay = progressed(), clock(), _FIRST_DELAY_SECONDS
    astray = True
    while True:
        try:
            if astray:
                recover()
                astray = False
            return attempt()
        except PyMongoError as error:
            if not is_retryable(error):
                raise
            astray = True
            if progressed() != seen:
                seen, since, delay = progressed(), clock(), _FIRST_DELAY_SECONDS
            left = seconds - (clock() - since)
            reason = str(error).split(", Timeout:")[0].split(", full error:")[0][:200]
            if left <= 0:
                raise ConnectionFailedError(
                    f"No progress for {seconds:g} s, waiting for {obstacle(error)}: {reason}. "
                    f"{otherwise}"
                ) from error
            waiting(f"waiting for {obstacle(error)}, {left:.0f} s left: {reason}")
            stop.wait(min(delay, left))
            stop.check()
            delay = min(delay * 2, _LONGEST_DELAY_SECONDS)


def is_about_a_document(error: OperationFailure) -> bool:
    """Return whether *error* is of an expression that fails for some document."""
    return not (
        error.code in _NO_EXPRESSION
        or is_retryable(error)
        or error.has_error_label("TransientTransactionError")
    )
