"""What a backup may ask of the server for its time: more past, or no writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from ..errors import ArchiveError
from ..server import fsync_lock

_WINDOW = "minSnapshotHistoryWindowInSeconds"


def window(client: MongoClient[dict[str, Any]]) -> int | None:
    """Return the server's snapshot history window in seconds; None if we may not ask."""
    try:
        reply = client.admin.command({"getParameter": 1, _WINDOW: 1})
    except OperationFailure:
        return None
    return int(reply[_WINDOW])


@contextmanager
def longer_history(client: MongoClient[dict[str, Any]], seconds: int | None) -> Iterator[None]:
    """Give the server a snapshot history window of *seconds*, and afterwards the one of before.

    Raises:
        ArchiveError: this user may not.
    """
    if seconds is None:
        yield
        return
    try:
        before = client.admin.command({"getParameter": 1, _WINDOW: 1})[_WINDOW]
        client.admin.command({"setParameter": 1, _WINDOW: seconds})
    except OperationFailure as error:
        raise ArchiveError(
            f"snapshot_window needs the privileges getParameter and setParameter on the cluster: "
            f"{error}. Grant them, or set {_WINDOW} yourself and leave the option out."
        ) from error
    try:
        yield
    finally:
        client.admin.command({"setParameter": 1, _WINDOW: before})


def require_unlocked(client: MongoClient[dict[str, Any]]) -> None:
    """Refuse to work on a server that every write would wait for.

    Raises:
        ArchiveError: somebody locked it, and never unlocked it.
    """
    if fsync_lock.is_on(client):
        raise ArchiveError(fsync_lock.EXPLANATION, next=fsync_lock.UNLOCK)


@contextmanager
def still(client: MongoClient[dict[str, Any]], *, wanted: bool) -> Iterator[None]:
    """Block all writes of the server, if *wanted*.

    Raises:
        ArchiveError: this user may not.
    """
    if not wanted:
        yield
        return
    require_unlocked(client)
    try:
        client.admin.command("fsync", lock=True)
    except OperationFailure as error:
        raise ArchiveError(
            f"fsync_lock needs the privileges fsync and unlock on the cluster: {error}. Grant "
            "them, or stop the writers and leave the option out."
        ) from error
    try:
        yield
    finally:
        client.admin.command("fsyncUnlock")
