"""A collection's exclusive lock, tried for a moment at a time.

Whoever asks for it queues behind an open transaction, and everybody else behind the one who asks:
a process that hangs in its transaction would stand the whole application still. So the request is
taken back after a moment, the others pass, and it is made again, as gh-ost does at its cut-over.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pymongo.errors import ExecutionTimeout

from ..errors import ConnectionFailedError
from ..ledger.batches import Writer
from ..server import transactions
from ..support.retry import RESUMES

#: For how long others may stand behind our request.
TRY_SECONDS = 1.0
_FIRST_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 10.0


class LockBusyError(Exception):
    """The lock wasn't had within a moment, and the request for it was taken back."""


def tried_shortly(attempt: Callable[[], None], writer: Writer, *, collection: str) -> None:
    """Do *attempt* until it has had the lock of *collection*.

    Args:
        attempt: raises :class:`LockBusyError`, or runs into the server's time limit.
        writer: of the run; its stop, its controls and its ``retry_seconds`` end the tries.
        collection: whose lock, for people.

    Raises:
        ConnectionFailedError: the lock wasn't had within ``retry_seconds``; names who holds it.
        InterruptedRunError, LeaseLostError: as from any batch.
    """
    began, pause = time.monotonic(), _FIRST_PAUSE_SECONDS
    while True:
        try:
            attempt()
        except (LockBusyError, ExecutionTimeout) as error:
            left = writer.settings.retry_seconds - (time.monotonic() - began)
            holder = _holder(writer)
            if left <= 0:
                raise ConnectionFailedError(
                    f"{collection}: its lock couldn't be had for "
                    f"{writer.settings.retry_seconds:g} s, because of {holder}. {RESUMES}"
                ) from error
            writer.meter.report(
                waiting=f"waiting for the lock of {collection}, {left:.0f} s left: {holder}"
            )
            writer.stop.wait(min(pause, left))
            writer.check_control()
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        else:
            return


def _holder(writer: Writer) -> str:
    held = transactions.look(writer.database.client)
    if not held:
        return "an operation of somebody else that holds it"
    return f"{held[0]}{held[0].ending}"
