"""What a majority of a replica set's members must have: the one definition of it.

Without a majority the server accepts a write and then waits, by default for ever, for members
that are down. So every wait has an end here, after which the caller says what it waits for, hears
a stop, and asks again (:mod:`.retry`).
"""

from __future__ import annotations

from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError, WTimeoutError
from pymongo.write_concern import WriteConcern

#: How long the server waits for other members before it answers, and thus a stop at most.
WAIT_SECONDS = 5
WRITE_CONCERN = WriteConcern("majority", wtimeout=WAIT_SECONDS * 1000)
#: For raw commands, to which the driver adds nothing.
AS_DOCUMENT = WRITE_CONCERN.document

# WriteConcernFailed, UnsatisfiableWriteConcern
_CODES = {64, 100}


def quorum(client: MongoClient[Any]) -> dict[str, Any]:
    """Return the option of ``createIndexes`` that lets a build end without members that are down.

    By default it is finished when every voting member has it. A standalone server knows no such
    option.
    """
    servers = client.topology_description.server_descriptions().values()
    alone = {"Standalone", "Unknown"}
    kinds = {server.server_type_name for server in servers}
    return {} if kinds <= alone else {"commitQuorum": "majority"}


def is_missing(error: PyMongoError) -> bool:
    """Return whether *error* says that a majority doesn't have the write yet."""
    if isinstance(error, WTimeoutError):
        return True
    details = getattr(error, "details", None) or {}
    concern = details.get("writeConcernError") or {}
    codes = {getattr(error, "code", None), concern.get("code")}
    codes |= {item.get("code") for item in details.get("writeConcernErrors", ())}
    return bool(codes & _CODES)
