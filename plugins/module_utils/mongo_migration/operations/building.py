"""Waiting for an index build: with its progress from the server, and without deafness to a stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from pymongo.errors import PyMongoError

from ..ledger.batches import Writer

_LOOK_SECONDS = 0.5


def wait_for(build: Callable[[], object], writer: Writer, *, collection: str, index: str) -> None:
    """Call *build*, which returns when the server has built *index*, and show how far it is.

    When a stop is asked for, the server is left building; the resumed run finds the index finished
    or joins the build.

    Raises:
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
    while not over.wait(_LOOK_SECONDS):
        writer.attend()
        seen = _look(writer)
        writer.meter.report(
            phase="index",
            collection=collection,
            detail=index,
            done=seen.get("done", 0),
            total=seen.get("total", 0),
            unit="documents",
        )
    if failed:
        raise failed[0]


def _look(writer: Writer) -> dict[str, Any]:
    """Return the server's count of a build that carries our comment; empty if it shows none."""
    pipeline: list[dict[str, Any]] = [
        {"$currentOp": {"allUsers": True}},
        {"$match": {"command.comment": writer.comment, "progress": {"$exists": True}}},
        {"$project": {"progress": 1}},
    ]
    try:
        rows = list(writer.database.client.admin.aggregate(pipeline))
    except PyMongoError:
        return {}  # not allowed to look, or no primary now: the build itself says what is wrong
    return dict(rows[0]["progress"]) if rows else {}
