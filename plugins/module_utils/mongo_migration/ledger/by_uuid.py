"""Dropping and renaming the very collection that is meant, whenever the command arrives.

No transaction holds such a command, and the lease is looked at right before. A process that falls
asleep just then finds, when it wakes, that the server refuses: whoever took over and made another
collection of that name (a restore does, and so does a migration that is done again) made one of
another UUID.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pymongo.database import Database
from pymongo.errors import OperationFailure, WriteConcernError

from ..support import listing, majority

# CollectionUUIDMismatch: https://github.com/mongodb/mongo/blob/r6.0.5/src/mongo/base/error_codes.yml
_GONE = (listing.NAMESPACE_NOT_FOUND, 361)

Db = Database[dict[str, Any]]
Check = Callable[[], None]
Send = Callable[[Mapping[str, Any]], object]


def drop(database: Db, name: str, check: Check, send: Send | None = None) -> None:
    """Drop the collection that *name* is now; what another process put there meanwhile stays.

    Args:
        database: that it is in.
        name: its name.
        check: raises where nothing may be written any more.
        send: runs the command, where it isn't sent just so.

    Raises:
        WriteConcernError: a majority hasn't done it yet.
    """
    _bound(database, name, {"drop": name}, check, send or _sender(database))


def rename(database: Db, name: str, to: str, check: Check) -> None:
    """Rename the collection that *name* is now to *to*, which must be free.

    Raises:
        WriteConcernError: a majority hasn't done it yet.
    """
    space = database.name
    command = {"renameCollection": f"{space}.{name}", "to": f"{space}.{to}"}
    _bound(database, name, command, check, _sender(database.client.admin))


def _bound(database: Db, name: str, command: Mapping[str, Any], check: Check, send: Send) -> None:
    found = listing.collection(database, name)
    if not found:
        return
    check()
    # Views and time series have none.
    uuid = found["info"].get("uuid")
    try:
        send({**command, "collectionUUID": uuid} if uuid is not None else command)
    except OperationFailure as error:
        if error.code not in _GONE:
            raise
        check()


def _sender(database: Db) -> Send:
    def send(command: Mapping[str, Any]) -> None:
        reply = database.command({**command, "writeConcern": majority.AS_DOCUMENT})
        if concern := reply.get("writeConcernError"):  # the driver doesn't say so
            raise WriteConcernError(concern["errmsg"], concern["code"], concern)

    return send
