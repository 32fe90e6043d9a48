"""One small transaction, tried again only where the server itself says that nothing happened."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from pymongo import ReadPreference
from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from .runs import MAJORITY

T = TypeVar("T")

_PRIMARY_ALONE = WriteConcern(1)
# Conflicts with other writers pass in milliseconds; what lasts longer is for the caller, who
# reads where the work stands and has a deadline.
_SECONDS = 10
_LONGEST_PAUSE_SECONDS = 0.2


def run(
    session: ClientSession,
    body: Callable[[ClientSession], T],
    guard: Callable[[], None],
    *,
    majority: bool = True,
    seconds: float | None = None,
) -> T:
    """Return what *body* returns, once it is committed, by a majority unless told otherwise.

    The driver's own helper goes on for two minutes when there is no primary, deaf to a stop and to
    our deadline, and repeats commits of which it doesn't know what became. Here an error of the
    network or of the commit ends the attempt: the database is asked what happened.

    Args:
        session: always the same one: starting its next transaction ends the last one, should that
            still be open on the server.
        body: does the work; it may be called several times.
        guard: raises where nothing may be written any more; asked before each attempt.
        majority: whether to wait until a majority has it.
        seconds: how long conflicts are tried again.
    """
    began, pause = time.monotonic(), 0.005
    seconds = _SECONDS if seconds is None else seconds
    while True:
        guard()
        session.start_transaction(
            read_concern=ReadConcern("snapshot"),
            write_concern=MAJORITY if majority else _PRIMARY_ALONE,
            read_preference=ReadPreference.PRIMARY,
        )
        try:
            done = body(session)
        except BaseException as error:
            session.abort_transaction()
            if not _conflict(error) or time.monotonic() - began > seconds:
                raise
        else:
            session.commit_transaction()
            return done
        time.sleep(random.uniform(pause / 2, pause))
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


def _conflict(error: BaseException) -> bool:
    """Return whether the server refused a statement, so that the whole transaction is undone."""
    return isinstance(error, OperationFailure) and error.has_error_label(
        "TransientTransactionError"
    )
