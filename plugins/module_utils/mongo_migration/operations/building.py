"""Waiting for an index build: with its progress from the server, and without deafness to a stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pymongo.errors import OperationFailure, PyMongoError

from ..errors import ConnectionFailedError
from ..ledger.batches import Writer
from ..server import members
from ..support.retry import RESUMES
from .locks import TRY_SECONDS, LockBusyError

_LOOK_SECONDS = 0.5
# How often the members are looked at, which the end of a build waits for.
_MEMBERS_SECONDS = 5.0
_INTERRUPTED = 11601
# The server's thread that builds; the command itself only waits for it.
_BUILDER = "IndexBuildsCoordinator"


def wait_for(build: Callable[[], object], writer: Writer, *, collection: str, index: str) -> None:
    """Call *build*, which returns when the server has built *index*, and show how far it is.

    When a stop is asked for, the server is left building; the resumed run finds the index finished
    or joins the build. A build that can't begin, because somebody holds the collection, is taken
    back after a moment.

    Raises:
        LockBusyError: it was taken back.
        ConnectionFailedError: no majority of the members for as long as a run may wait.
        InterruptedRunError: a stop was asked for.
        LeaseLostError: another process works now.
        PyMongoError: what *build* raised.
    """
    over = threading.Event()
    failed: list[Exception] = []

    def work() -> None:
        try:
            build()
        except Exception as error:  # raised again below, where somebody can answer it
            failed.append(error)
        finally:
            over.set()

    threading.Thread(target=work, name="createIndexes", daemon=True).start()
    watch = _Watch(writer, collection)
    while not over.wait(_LOOK_SECONDS):
        writer.check_control()
        seen = watch.look()
        writer.meter.report(
            phase="index",
            collection=collection,
            detail=index,
            done=seen.get("done", 0),
            total=seen.get("total", 0),
            unit="documents",
            **watch.lacking(),
        )
    if failed:
        if watch.taken_back and getattr(failed[0], "code", None) == _INTERRUPTED:
            raise LockBusyError from failed[0]
        raise failed[0]


class _Watch:
    """What the server shows of one build of ours."""

    def __init__(self, writer: Writer, collection: str) -> None:
        self._writer = writer
        self._client = writer.database.client
        self._place = f"{writer.database.name}.{collection}"
        self._locked_since: float | None = None
        self._looked = self._lacking_since = time.monotonic()
        self.taken_back = False

    def look(self) -> dict[str, Any]:
        """Return the server's count; take the build back if it waits for its lock for too long."""
        rows = self._operations()
        begun = any(str(row.get("desc", "")).startswith(_BUILDER) for row in rows)
        waiting = [row for row in rows if row.get("waitingForLock") and "opid" in row]
        now = time.monotonic()
        if begun or not waiting:
            self._locked_since = None
        elif self._locked_since is None:
            self._locked_since = now
        elif now - self._locked_since >= TRY_SECONDS - _LOOK_SECONDS:
            self.taken_back = True
            with suppress(PyMongoError):  # it has ended meanwhile, or a failover ends it
                # Its own operations every user may end.
                self._client.admin.command("killOp", op=waiting[0]["opid"])
        counts = [row["progress"] for row in rows if "progress" in row]
        return dict(counts[0]) if counts else {}

    def lacking(self) -> dict[str, str]:
        """Return what to say where no majority of the members could finish the build.

        Raises:
            ConnectionFailedError: for as long as a run may wait.
        """
        now = time.monotonic()
        if now - self._looked < _MEMBERS_SECONDS:
            return {}
        self._looked = now
        seen = members.look(self._client)
        if seen is None or seen.has_majority:
            self._lacking_since = now
            return {}
        waited = now - self._lacking_since
        patience = self._writer.settings.retry_seconds
        if waited > patience:
            raise ConnectionFailedError(
                f"The index can't be finished: for {patience:g} s there was no majority, "
                f"{', '.join(seen.missing)}. {RESUMES}"
            )
        left = patience - waited
        return {"waiting": f"waiting for a majority, {left:.0f} s left: {', '.join(seen.missing)}"}

    def _operations(self) -> list[dict[str, Any]]:
        """Return the operations that carry our comment, and the thread that builds for them."""
        wanted: list[dict[str, Any]] = [
            {
                "$match": {
                    "$or": [
                        {"command.comment": self._writer.comment},
                        {"desc": {"$regex": f"^{_BUILDER}"}, "ns": self._place},
                    ]
                }
            },
            {"$project": {"progress": 1, "waitingForLock": 1, "opid": 1, "desc": 1}},
        ]
        for everybody in (True, False):  # everybody's need a privilege, our own don't
            try:
                stage = {"$currentOp": {"allUsers": everybody}}
                return list(self._client.admin.aggregate([stage, *wanted]))
            except OperationFailure:
                continue
            except PyMongoError:
                break  # no primary now: the build itself says what is wrong
        return []
