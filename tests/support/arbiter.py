"""Two members with data and an arbiter: without the second one there is a primary, no majority."""

from __future__ import annotations

import threading
from typing import Any

from mongo_migration.server import members
from pymongo import MongoClient

from embedded.mongod import ReplicaSet


class WithArbiter(ReplicaSet):
    """Two members with data, and one that only votes."""

    def _role(self, number: int) -> dict[str, Any]:
        return {"arbiterOnly": True} if number == 2 else {}

    @property
    def secondary(self) -> int:
        """The number of the one that isn't the primary."""
        return 1 - self.wait_for_primary()


def lose_majority(servers: WithArbiter, client: MongoClient[dict[str, Any]]) -> str:
    """Take the secondary away, and return its address."""
    number = servers.secondary
    servers.kill(number)
    for _ in range(100):
        seen = members.read(client)
        assert seen is not None
        if not seen.has_majority:
            break
        threading.Event().wait(0.1)
    return servers.members[number].address
