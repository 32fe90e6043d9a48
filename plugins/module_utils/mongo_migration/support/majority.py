"""What a majority of a replica set's members must have: the one definition of it.

Without a majority the server accepts a write and then waits, by default for ever, for members
that are down. So every wait has an end here, after which the caller says what it waits for, hears
a stop, and asks again (:mod:`.retry`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import ExecutionTimeout, PyMongoError, WriteConcernError, WTimeoutError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

#: How long the server waits for other members before it answers, and thus a stop at most.
WAIT_SECONDS = 5
WRITE_CONCERN = WriteConcern("majority", wtimeout=WAIT_SECONDS * 1000)
#: For raw commands, to which the driver adds nothing.
AS_DOCUMENT = WRITE_CONCERN.document

# WriteConcernFailed, UnsatisfiableWriteConcern
_CODES = {64, 100}
# MaxTimeMSExpired: of a command that is done, it ended the wait for the others.
_OUT_OF_TIME = 50


def is_set(client: MongoClient[Any]) -> bool:
    """Return whether *client* has reached members of a replica set, or a router before them."""
    servers = client.topology_description.server_descriptions().values()
    return not {server.server_type_name for server in servers} <= {"Standalone", "Unknown"}


def confirmed(
    collection: Collection[dict[str, Any]],
    read: Callable[[Collection[dict[str, Any]], int], dict[str, Any] | None],
) -> dict[str, Any] | None:
    """Return what *read* finds in *collection*, once a majority agrees that it is the newest.

    A member that was the primary, and doesn't know yet that it no longer is, would otherwise say
    what was. A server that is not a member answers by itself.

    Args:
        collection: to read from.
        read: finds a document, and takes the time that this may take, in milliseconds.

    Raises:
        WTimeoutError: there is no majority.
    """
    if not is_set(collection.database.client):
        return read(collection, 0)
    sure = collection.with_options(read_concern=ReadConcern("linearizable"))
    try:
        return read(sure, WAIT_SECONDS * 1000)
    except ExecutionTimeout as error:
        raise WTimeoutError("a majority hasn't confirmed what was read", 64) from error


def quorum(client: MongoClient[Any]) -> dict[str, Any]:
    """Return the option of ``createIndexes`` that lets a build end without members that are down.

    By default it is finished when every voting member has it. A standalone server knows no such
    option.
    """
    return {"commitQuorum": "majority"} if is_set(client) else {}


def is_missing(error: PyMongoError) -> bool:
    """Return whether *error* says that a majority doesn't have the write yet."""
    if isinstance(error, WTimeoutError):
        return True
    details = getattr(error, "details", None) or {}
    concerns = [details.get("writeConcernError") or {}, *details.get("writeConcernErrors", ())]
    waits = {item.get("code") for item in concerns}
    if isinstance(error, WriteConcernError):
        waits.add(error.code)
    return bool(waits & {*_CODES, _OUT_OF_TIME} or getattr(error, "code", None) in _CODES)
