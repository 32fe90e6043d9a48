"""Waiting for a primary: what is worth another try, and for how long."""

from __future__ import annotations

import time
from collections.abc import Callable
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
from .stop import StopSignal

T = TypeVar("T")

RESUMES = (
    "What was written stands, with its journal. When the replica set has a primary again, run the "
    "same command: it resumes."
)

_FIRST_DELAY_SECONDS = 0.25
_LONGEST_DELAY_SECONDS = 5.0
# The server's names for "not now": elections, shutdowns, killed cursors, conflicts.
# https://github.com/mongodb/specifications/blob/master/source/retryable-writes/retryable-writes.md
_RETRYABLE_CODES = {6, 7, 43, 89, 91, 112, 134, 175, 189, 237, 262, 9001, 10058, 10107}
_RETRYABLE_CODES |= {11600, 11602, 13435, 13436}
_NO_SESSIONS = "Sessions are not supported"
_RETRYABLE_LABELS = (
    "TransientTransactionError",
    "UnknownTransactionCommitResult",
    "RetryableWriteError",
)


def is_retryable(error: PyMongoError) -> bool:
    """Return whether the same request may succeed a little later."""
    if isinstance(
        error, (AutoReconnect, ConnectionFailure, CursorNotFound, ServerSelectionTimeoutError)
    ):
        return True
    if isinstance(error, ConfigurationError):
        # All servers have sessions, but a member says so only once it can be read: what connected
        # to one that was just starting takes that for its last word. See `connection`.
        return str(error).startswith(_NO_SESSIONS)
    if any(error.has_error_label(label) for label in _RETRYABLE_LABELS):
        return True
    if isinstance(error, OperationFailure):
        concern = (error.details or {}).get("writeConcernError") or {}
        codes = {error.code, concern.get("code")}
        for kind in ("writeConcernErrors", "writeErrors"):
            codes |= {item.get("code") for item in (error.details or {}).get(kind, ())}
        return bool(codes & _RETRYABLE_CODES)
    return False


def persist(
    attempt: Callable[[], T],
    *,
    progressed: Callable[[], int],
    recover: Callable[[], None],
    seconds: float,
    stop: StopSignal,
    waiting: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    otherwise: str = RESUMES,
) -> T:
    """Return what *attempt* returns, trying again while the server has no primary.

    Args:
        attempt: the work; it must begin where the database says it is.
        progressed: a number that grows with the work; growth starts the deadline anew.
        recover: reads where the work is, before each attempt.
        seconds: how long to go on without any progress.
        stop: ends the waiting, too.
        waiting: told what is waited for.
        clock: seconds that only grow.
        otherwise: for the error: what state things are in, and how to go on.

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
                    f"No progress for {seconds:g} s: {reason}. {otherwise}"
                ) from error
            waiting(f"waiting for a primary, {left:.0f} s left: {reason}")
            stop.wait(min(delay, left))
            stop.check()
            delay = min(delay * 2, _LONGEST_DELAY_SECONDS)
