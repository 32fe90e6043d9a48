"""Whether ``fsync`` has locked the server, so that every write waits without a word."""

from __future__ import annotations

from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure

#: What ends such a lock; locked twice, it has to be unlocked twice.
UNLOCK = "db.fsyncUnlock()"
EXPLANATION = (
    "The server is locked against writes (fsync): every write waits, and so would this one. A "
    "backup with fsync_lock that was killed leaves it so, or somebody who takes a snapshot of the "
    "disk is at it right now. If nobody is, end it in mongosh, as often as it was locked: "
    f"{UNLOCK}"
)


def is_on(client: MongoClient[dict[str, Any]]) -> bool:
    """Return whether the server is locked; False if we may not ask."""
    try:
        # Of its operations only our own are wanted: the lock is told beside them.
        reply = client.admin.command({"currentOp": 1, "$ownOps": True})
    except OperationFailure:
        return False
    return bool(reply.get("fsyncLock"))
