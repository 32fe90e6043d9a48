"""Open transactions of others: an idle one holds its locks and documents as firmly as a busy one.

A process that hangs, or was killed, between two statements leaves its transaction open until the
server's ``transactionLifetimeLimitSeconds`` (a minute by default) is over. Meanwhile an index build
on one of its collections waits for its lock, and everybody else behind that build. What is said
here about the server's answers was seen on MongoDB 6.0.5.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pymongo
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from .connection import APP_NAME

Document = dict[str, Any]

# What the servers of a deployment call themselves when they speak with each other.
_SERVERS = ("NetworkInterfaceTL", "MongoDB Internal Client")
_PATIENCE_SECONDS = 3


@dataclass(frozen=True, kw_only=True)
class Open:
    """One open transaction of somebody else."""

    who: str
    open_seconds: float
    idle_seconds: float
    #: As the server names it; a session of another user takes both to be ended.
    session: bytes | None = None
    user: bytes | None = None

    def __str__(self) -> str:
        idle = f", idle for {self.idle_seconds:.0f} s" if self.idle_seconds else ""
        return f"a transaction of {self.who}, open for {self.open_seconds:.0f} s{idle}"

    @property
    def ending(self) -> str:
        """How it is ended, as the end of a sentence; empty where that isn't known."""
        return f"; an administrator ends it with {self.remedy}" if self.remedy else ""

    @property
    def remedy(self) -> str:
        """The command for mongosh that ends it; empty where its session isn't shown."""
        if self.session is None or self.user is None:
            return ""
        session, user = uuid.UUID(bytes=self.session), base64.b64encode(self.user).decode()
        pattern = f'{{lsid: {{id: UUID("{session}"), uid: BinData(0, "{user}")}}}}'
        return f"db.adminCommand({{killAllSessionsByPattern: [{pattern}]}})"


def read(client: MongoClient[Document]) -> list[Open]:
    """Return the open transactions of others, the oldest first.

    Raises:
        PyMongoError: this user may not see them (it lacks ``inprog``), or nobody answers.
    """
    stage = {"allUsers": True, "idleSessions": True, "idleConnections": False}
    found = [
        one
        for operation in client.admin.aggregate([{"$currentOp": stage}])
        if is_foreign(operation) and (one := _of(operation)) is not None
    ]
    return sorted(found, key=lambda one: -one.open_seconds)


def look(client: MongoClient[Document]) -> list[Open]:
    """Return the open transactions of others; none where they can't be seen within a moment."""
    try:
        with pymongo.timeout(_PATIENCE_SECONDS):
            return read(client)
    except PyMongoError:
        return []


def is_open(operation: Mapping[str, Any]) -> bool:
    """Return whether *operation* belongs to a transaction of several statements."""
    # Retryable writes have a transaction's number, too, but commit by themselves.
    parameters = (operation.get("transaction") or {}).get("parameters") or {}
    return not parameters.get("autocommit", True)


def is_foreign(operation: Mapping[str, Any]) -> bool:
    """Return whether it is a client's *operation*, and not one of ours or of the server itself."""
    if not (operation.get("client") or operation.get("client_s")):
        return False
    driver = (operation.get("clientMetadata") or {}).get("driver") or {}
    return (
        operation.get("appName") != APP_NAME
        and driver.get("name") not in _SERVERS
        and "$currentOp" not in str((operation.get("command") or {}).get("pipeline", ""))
    )


def who(operation: Mapping[str, Any], *, port: bool = True) -> str:
    """Return which program, from where and as which user, is at *operation*."""
    address = str(operation.get("client") or operation.get("client_s"))
    if not port:
        address = address.rpartition(":")[0]
    users = [f"{user['user']}@{user['db']}" for user in operation.get("effectiveUsers") or ()]
    name = operation.get("appName") or "a client without a name"
    return " ".join([str(name), f"({', '.join([address, *users])})"])


def _of(operation: Mapping[str, Any]) -> Open | None:
    if not is_open(operation):
        return None
    transaction, lsid = operation["transaction"], operation.get("lsid") or {}
    return Open(
        who=who(operation),
        open_seconds=transaction.get("timeOpenMicros", 0) / 1e6,
        idle_seconds=0.0 if operation.get("active") else _idle(transaction),
        session=_bytes(lsid.get("id")),
        user=_bytes(lsid.get("uid")),
    )


def _bytes(value: Any) -> bytes | None:
    if isinstance(value, uuid.UUID):
        return value.bytes
    return None if value is None else bytes(value)


def _idle(transaction: Mapping[str, Any]) -> float:
    return float(transaction.get("timeInactiveMicros", 0) / 1e6)
