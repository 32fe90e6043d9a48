"""The members of a replica set, by what they are for: which ones a majority write can count on.

A hidden or delayed member is there on purpose, an arbiter holds no data, one without a vote isn't
asked: none of them is a fault, and none makes up for a member that is down.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pymongo
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from ..errors import ConnectionFailedError
from ..support.stop import StopSignal

PRIMARY, SECONDARY, ARBITER = 1, 2, 7
_LOOK_SECONDS = 1.0
# A look is a courtesy to the reader: it must not become a wait of its own.
_PATIENCE_SECONDS = 3


@dataclass(frozen=True, kw_only=True)
class Member:
    """One member, as the configuration means it and as the primary sees it."""

    name: str
    state: int
    healthy: bool
    votes: int = 1
    arbiter: bool = False
    hidden: bool = False
    delay_seconds: float = 0.0
    written: datetime.datetime | None = None

    @property
    def is_up(self) -> bool:
        """Whether it does what it is for."""
        return self.healthy and self.state in (PRIMARY, SECONDARY, ARBITER)

    @property
    def serves(self) -> bool:
        """Whether it is one of those that others read from and that may become the primary."""
        return self._counts and not self.hidden and not self.delay_seconds

    @property
    def acknowledges(self) -> bool:
        """Whether a majority write can count on it now."""
        return self._counts and self.is_up and not self.delay_seconds

    @property
    def _counts(self) -> bool:
        return self.votes > 0 and not self.arbiter

    def missing(self) -> str:
        """Return why a majority write can't count on it though it should; empty if it can."""
        if self._counts and not self.is_up:
            return f"{self.name} is down"
        if self._counts and self.delay_seconds:
            return f"{self.name} is delayed by {self.delay_seconds:,.0f} s"
        return ""


@dataclass(frozen=True, kw_only=True)
class ReplicaSet:
    """The members, and how many of them a majority write needs."""

    members: tuple[Member, ...]
    needed: int

    @property
    def has_majority(self) -> bool:
        """Whether a majority can acknowledge a write now."""
        return sum(member.acknowledges for member in self.members) >= self.needed

    @property
    def missing(self) -> list[str]:
        """Which members a majority lacks, in words."""
        return [text for member in self.members if (text := member.missing())]

    @property
    def down(self) -> list[str]:
        """Which members that serve are down."""
        return [member.name for member in self.members if member.serves and not member.is_up]

    @property
    def lag_seconds(self) -> float | None:
        """How far the slowest member that serves is behind; None without a primary."""
        primary = next((one.written for one in self.members if one.state == PRIMARY), None)
        if primary is None:
            return None
        behind = [
            (primary - one.written).total_seconds()
            for one in self.members
            if one.serves and one.state == SECONDARY and one.written is not None
        ]
        return max([0.0, *behind])

    def __str__(self) -> str:
        there = sum(member.acknowledges for member in self.members)
        lacking = f": {', '.join(self.missing)}" if self.missing else ""
        return f"{there} of the {self.needed} members that a majority takes{lacking}"


def read(client: MongoClient[dict[str, Any]]) -> ReplicaSet | None:
    """Return the replica set; None where there is none, or this user may not see it.

    Raises:
        PyMongoError: the server can't be asked.
    """
    try:
        status = client.admin.command("replSetGetStatus")
        configuration = client.admin.command("replSetGetConfig")["config"]
    except OperationFailure:
        return None
    return of(status, configuration)


def of(status: Mapping[str, Any], configuration: Mapping[str, Any]) -> ReplicaSet:
    """Return the replica set that the server's answers describe.

    Args:
        status: of ``replSetGetStatus``.
        configuration: of ``replSetGetConfig``; empty where that can't be seen.
    """
    meant = {item["_id"]: item for item in configuration.get("members", ())}
    members = tuple(_member(item, meant.get(item["_id"], {})) for item in status["members"])
    voting = sum(member.votes > 0 for member in members)
    bearing = sum(member.votes > 0 and not member.arbiter for member in members)
    return ReplicaSet(members=members, needed=min(voting // 2 + 1, bearing))


def await_majority(
    client: MongoClient[dict[str, Any]],
    *,
    seconds: float,
    stop: StopSignal | None = None,
    waiting: Callable[[str], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Return once a majority can acknowledge writes, or at once where that can't be seen.

    Args:
        client: connected to the deployment.
        seconds: how long to wait.
        stop: ends the waiting, too.
        waiting: told what is waited for.
        clock: seconds that only grow.

    Raises:
        ConnectionFailedError: there is no majority within *seconds*; names the members that lack.
        InterruptedRunError: a stop was asked for.
    """
    stop = stop or StopSignal()
    began = clock()
    while (seen := look(client)) is not None and not seen.has_majority:
        left = seconds - (clock() - began)
        if left <= 0:
            raise ConnectionFailedError(
                f"The replica set has {seen}. Nothing was written: it could never be confirmed, "
                "and a failover would take it back. Bring these members back (rs.status() shows "
                "them), then run the same command again.",
                missing=seen.missing,
            )
        if waiting is not None:
            waiting(f"waiting for a majority, {left:.0f} s left: {', '.join(seen.missing)}")
        stop.wait(min(_LOOK_SECONDS, left))
        stop.check()


def look(client: MongoClient[dict[str, Any]]) -> ReplicaSet | None:
    """Return the replica set; None also where nobody answers within a moment."""
    try:
        with pymongo.timeout(_PATIENCE_SECONDS):
            return read(client)
    except PyMongoError:
        return None


def _member(seen: Mapping[str, Any], meant: Mapping[str, Any]) -> Member:
    # Before MongoDB 5.0 the delay had another name.
    delay = meant.get("secondaryDelaySecs", meant.get("slaveDelay", 0))
    return Member(
        name=str(seen.get("name")),
        state=int(seen.get("state", -1)),
        healthy=bool(seen.get("health")),
        votes=int(meant.get("votes", 1)),
        hidden=bool(meant.get("hidden")),
        arbiter=bool(meant.get("arbiterOnly", seen.get("state") == ARBITER)),
        delay_seconds=float(delay),
        written=seen.get("optimeDate"),
    )
