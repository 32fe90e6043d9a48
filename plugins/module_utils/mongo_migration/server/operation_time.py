"""The time of a replica set, as its primary gives it with every reply.

For the first seconds of a set, and now and then after a failover, a reply carries none: the
members have no keys yet by which they sign it. Then it is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bson.timestamp import Timestamp
from pymongo import MongoClient

from ..errors import ConnectionFailedError

WAIT_SECONDS = 30.0
_AGAIN_SECONDS = 0.25


def present(
    client: MongoClient[dict[str, Any]],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Timestamp:
    """Return the newest time that the primary knows.

    Args:
        client: connected to a replica set.
        clock: seconds.
        sleep: waits so many seconds.

    Raises:
        ConnectionFailedError: it gives none for so long.
    """
    until = clock() + WAIT_SECONDS
    while True:
        found: Timestamp | None = client.admin.command("ping").get("operationTime")
        if found is not None:
            return found
        if clock() > until:
            raise ConnectionFailedError(
                "The replica set has given no time with its replies for "
                f"{WAIT_SECONDS:.0f} s. Look at rs.status(), then run the same command again."
            )
        sleep(_AGAIN_SECONDS)
