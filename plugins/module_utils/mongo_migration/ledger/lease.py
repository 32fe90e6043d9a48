"""The lease: one process at a time may change a database, proved at every write.

``_migrations`` holds one document ``{_id: "lease"}``. It is taken and renewed in single statements
that compare with the server's clock (``$$NOW``), so clocks of controllers don't matter. Each taking
increments the fencing token; every checkpoint must match it (see :mod:`runs`), and taking it also
takes every run from whoever had it. A process that was paused and lost its lease therefore finds
its next transaction refused, whatever the new holder works at.
"""

from __future__ import annotations

import datetime
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pymongo
from pymongo import ReturnDocument
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError
from pymongo.write_concern import WriteConcern

from ..document.collections import STATE
from ..errors import LeaseHeldError, LeaseLostError
from ..server import members, obstacles
from ..support import commands, majority, neutral, retry
from ..values.abridged import abridge
from . import runs, shapes, state_format

LEASE_ID = "lease"
# The classic ratio: two renewals may fail before the lease is lost.
_RENEWALS_PER_LIFE = 3
_LONGEST = 24 * 3600  # seconds
_LONGEST_TEXT = 200  # of a holder or purpose, where it is shown
_HOLDER: shapes.Shape = {
    "user": shapes.optional(str),
    "host": shapes.optional(str),
    "pid": shapes.optional(shapes.count),
}
# What the lease is; a longer one isn't ours, and would keep everybody out.
_SHAPE: shapes.Shape = {
    "token": shapes.count,
    "expires": shapes.optional(datetime.datetime),
    "since": shapes.optional(datetime.datetime),
    "seconds": shapes.optional(lambda value: shapes.seconds(value) and 0 < value <= _LONGEST),
    "holder": shapes.optional(shapes.shaped(_HOLDER)),
    "purpose": shapes.optional(str),
    "proofs": shapes.optional(shapes.count),
}
# Giving the lease back is a courtesy: it isn't worth waiting for a primary.
_RELEASE_SECONDS = 5


def read(database: Database[dict[str, Any]], place: str = STATE) -> dict[str, Any] | None:
    """Return who holds the lease now; None if nobody does, or a process known to be dead."""
    rows = list(
        database[place].aggregate(
            [
                {"$match": {"_id": LEASE_ID}},
                {"$match": {"$nor": [{"expires": None}, {"$expr": _is_over()}]}},
            ]
        )
    )
    held = _checked(database[place], rows[0] if rows else None)
    return held if held and not _is_dead_here(held["holder"]) else None


def last_token(database: Database[dict[str, Any]], place: str = STATE) -> int:
    """Return what the token of the next taking is greater than by one.

    Raises:
        StateError: what is there isn't the lease as we write it.
    """
    newest = _checked(database[place], database[place].find_one({"_id": LEASE_ID}))
    return max(int(newest["token"]) if newest else 0, runs.newest_number(database))


def _checked(
    state: Collection[dict[str, Any]], found: dict[str, Any] | None
) -> dict[str, Any] | None:
    held = state_format.checked(
        found, _SHAPE, place=f"{state.database.name}.{state.name}", what="a lease"
    )
    if held is None:
        return None
    known = {key: value for key, value in held.items() if value is not None}
    # For people alone, and on the lines of our messages: nobody else's text makes one of its own.
    holder = dict(known.get("holder", {}))
    holder |= {key: _shown(holder[key]) for key in ("user", "host") if holder.get(key)}
    purpose = _shown(known.get("purpose", "something unnamed"))
    more = {"holder": holder, "purpose": purpose, "expires": held.get("expires")}
    return {"since": None, **known, **more}


def _shown(text: str) -> str:
    return neutral.line(abridge(text, _LONGEST_TEXT))


class Lease:
    """A held lease. Use :func:`hold`."""

    def __init__(
        self,
        collection: Collection[dict[str, Any]],
        token: int,
        seconds: float,
        *,
        session: ClientSession,
        asked: float,
    ) -> None:
        self._collection = collection
        self.token = token
        #: The session of all our transactions: who takes over ends it, with what it left open.
        self.session = session
        self._seconds = seconds
        self._valid_until = asked + seconds
        self._expires: datetime.datetime | None = None  # by the server's clock
        self._lost = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Make sure that the lease is still ours.

        Raises:
            LeaseLostError: another process took it.
            PyMongoError: that can't be told, because there is no primary to ask.
        """
        # A process that slept, or was cut off, finds its own clock past the end. If nobody took
        # the lease meanwhile, nobody wrote either, and it is still ours to renew.
        if not self._lost and _now() >= self._valid_until:
            self._renew()
        if self._lost:
            raise LeaseLostError(
                "This process lost its lease (it was paused or cut off for longer than "
                f"{self._seconds:g} s) to another one; it wrote nothing since. Run "
                f"{commands.STATUS} to see who works now, then the same command again to resume.",
                token=self.token,
                next=commands.STATUS,
            )

    def deadline(self) -> datetime.datetime:
        """Return until when by the server's clock nobody else may take the lease.

        Raises:
            LeaseLostError, PyMongoError: as :meth:`check`.
        """
        self.check()
        if self._expires is None:
            self._renew()
            self.check()
        if self._expires is None:
            raise AssertionError("a renewal tells the end, or that the lease is lost")
        return self._expires

    def server_now(self) -> datetime.datetime:
        """Return the server's clock, to compare with :meth:`deadline`."""
        options = self._collection.codec_options
        hello = self._collection.database.client.admin.command("hello", codec_options=options)
        return hello["localTime"]  # type: ignore[no-any-return]

    def refuse_if_taken(self) -> None:
        """Ask the server whether the lease is still ours.

        Raises:
            LeaseLostError: it isn't.
        """
        mine = {"_id": LEASE_ID, "token": self.token}
        self._lost = self._lost or self._collection.find_one(mine, {"_id": 1}) is None
        self.check()

    def prove(self, session: ClientSession) -> None:
        """Make a transaction stand only if the lease is still ours when it is committed.

        Raises:
            LeaseLostError: it isn't.
        """
        # A write, so that another one's taking conflicts with it; without the concern of the
        # collection, which must not be given inside a transaction.
        state = self._collection.with_options(write_concern=WriteConcern())
        mine = {"_id": LEASE_ID, "token": self.token}
        if not state.update_one(mine, {"$inc": {"proofs": 1}}, session=session).matched_count:
            self._lost = True
            self.check()

    def release(self) -> None:
        """Give the lease back; the next taker doesn't have to wait."""
        self._stop.set()
        self._thread.join(timeout=self._seconds)
        # Where that fails it expires by itself.
        with suppress(PyMongoError), pymongo.timeout(_RELEASE_SECONDS):
            self._collection.update_one(
                {"_id": LEASE_ID, "token": self.token}, {"$set": {"expires": None}}
            )

    def _beat(self) -> None:
        while not self._stop.wait(self._seconds / _RENEWALS_PER_LIFE):
            # A failover: the next beat may succeed, otherwise check() says so.
            with suppress(PyMongoError):
                self._renew()
            if self._lost:
                return

    def _renew(self) -> None:
        asked = _now()
        found = self._collection.find_one_and_update(
            {"_id": LEASE_ID, "token": self.token},
            [{"$set": {"expires": _after(self._seconds)}}],
            projection={"expires": 1},
            return_document=ReturnDocument.AFTER,
        )
        if found is None:
            self._lost = True
            return
        self._expires = found["expires"]
        # Counted from before the question: the server's clock can only be later.
        self._valid_until = max(self._valid_until, asked + self._seconds)


@contextmanager
def hold(
    database: Database[dict[str, Any]],
    *,
    purpose: str,
    holder: dict[str, Any],
    seconds: float,
    patience: retry.Patience | None = None,
    place: str = STATE,
) -> Iterator[Lease]:
    """Hold the lease of *database* for the time of a ``with`` block.

    A holder that no longer lives is waited for until its lease runs out, at most *seconds*; one
    that was on this machine and is dead is replaced at once. Fencing makes either safe.

    Args:
        database: the database that will be changed.
        purpose: what for, such as ``migrate 004``; others are shown it.
        holder: user, host and pid of this process.
        seconds: the life of the lease.
        patience: how long to wait for a primary or a majority that isn't there.
        place: the collection that the lease lies in.

    Raises:
        LeaseHeldError: another process holds it and lives.
        ConnectionFailedError: there is no majority that could confirm a write.
        InterruptedRunError: a stop was asked for while that was waited for.
    """
    collection = database[place].with_options(write_concern=majority.WRITE_CONCERN)
    patience = patience or retry.Patience(seconds=seconds)

    def take(evict: int | None) -> Lease | dict[str, Any]:
        identity = {**holder, **_machine()}
        return patience.retry(
            lambda: _take(collection, purpose, identity, seconds, evict=evict, session=session),
            otherwise="Nothing but the lease was written, which ends by itself.",
            obstacle=obstacles.namer(database.client),
        )

    last_token(
        database, place
    )  # refused here if it isn't a lease: the taking would fail in the server
    # The lease is the first write of whatever is going to be done.
    members.await_majority(
        database.client, seconds=patience.seconds, stop=patience.stop, waiting=patience.waiting
    )
    with database.client.start_session() as session:
        held = take(None)
        if isinstance(held, dict):
            held = _wait_or_refuse(held, take, seconds, patience)
        token = held.token
        try:
            patience.retry(
                lambda: _take_runs(collection, token),
                otherwise="Nothing but the lease was written, which ends by itself.",
                obstacle=obstacles.namer(database.client),
            )
            yield held
        finally:
            held.release()


def _wait_or_refuse(
    other: dict[str, Any],
    take: Callable[[int | None], Lease | dict[str, Any]],
    seconds: float,
    patience: retry.Patience,
) -> Lease:
    evict = other["token"] if _is_dead_here(other["holder"]) else None
    deadline = time.monotonic() + other.get("seconds", seconds) + 1
    while True:
        held = take(evict)
        if isinstance(held, Lease):
            return held
        renewed = held["token"] != other["token"] or held["expires"] != other["expires"]
        if renewed or time.monotonic() > deadline:
            raise _refusal(held)
        who = f"{other['holder'].get('user')}@{other['holder'].get('host')}"
        patience.waiting(f"waiting for the lease of {who}, who may have died")
        patience.stop.wait(min(0.5, seconds / _RENEWALS_PER_LIFE))
        patience.stop.check()


def _take(
    collection: Collection[dict[str, Any]],
    purpose: str,
    identity: dict[str, Any],
    seconds: float,
    *,
    evict: int | None,
    session: ClientSession,
) -> Lease | dict[str, Any]:
    """Try once; return the lease or the document of who holds it."""
    free: list[dict[str, Any]] = [
        {"expires": None},
        {"$expr": _is_over()},
    ]
    if evict is not None:
        free.append({"token": evict})
    # An upsert can't compare with the server's clock ($expr): first the document, then the taking.
    with suppress(DuplicateKeyError):
        collection.update_one(
            {"_id": LEASE_ID}, {"$setOnInsert": {"token": 0, "expires": None}}, upsert=True
        )
    _end_abandoned_transaction(collection, free)
    # Greater than the number of any run, also where somebody has removed the lease.
    number = runs.newest_number(collection.database)
    asked = _now()
    before = collection.find_one_and_update(
        {"_id": LEASE_ID, "$or": free},
        [
            {
                "$set": {
                    "token": {"$add": [{"$max": ["$token", number]}, 1]},
                    "holder": {"$literal": identity},
                    "purpose": {"$literal": purpose},
                    "session": {"$literal": session.session_id["id"]},
                    "since": "$$NOW",
                    "seconds": seconds,
                    "expires": _after(seconds),
                }
            }
        ],
        return_document=ReturnDocument.BEFORE,
    )
    if before is None:
        held = _checked(collection, collection.find_one({"_id": LEASE_ID}))
        return held or {"token": 0, "holder": {}, "expires": None}
    if before["expires"] is not None and "session" in before:
        _end_transaction(collection.database, before["session"])
    token = max(before["token"], number) + 1
    return Lease(collection, token, seconds, session=session, asked=asked)


def _end_abandoned_transaction(
    collection: Collection[dict[str, Any]], free: list[dict[str, Any]]
) -> None:
    """End the transaction of a holder whose lease is over: it may hold the lease's own document.

    Until it ended, taking the lease would wait for it.
    """
    abandoned = {"_id": LEASE_ID, "expires": {"$ne": None}, "$or": free}
    found = collection.find_one(abandoned, {"session": 1})
    if found and "session" in found:
        _end_transaction(collection.database, found["session"])


def _take_runs(collection: Collection[dict[str, Any]], token: int) -> None:
    """Take every run from whoever had it; whoever works at one next adopts it.

    Finished ones, too: who was about to roll one back, and slept, must not begin after that.
    """
    nobody = 0
    collection.update_many(
        {"kind": "run", "token": {"$gt": nobody, "$lt": token}}, {"$set": {"token": nobody}}
    )


def _end_transaction(database: Database[dict[str, Any]], session: Any) -> None:
    """End what a holder that didn't give its lease back may have left open.

    A transaction outlives its process for a minute, and until then its documents can't be written.
    """
    # Another user's session needs a privilege that we may lack; then writing waits that minute.
    with suppress(OperationFailure):
        database.client.admin.command("killSessions", [{"id": session}])


def _now() -> float:
    """Return seconds that also pass while the machine sleeps, where the system can tell them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _is_over() -> dict[str, Any]:
    """Return an expression: the lease has run out, or runs for longer than any that we take."""
    return {"$or": [{"$lte": ["$expires", "$$NOW"]}, {"$gt": ["$expires", _after(_LONGEST)]}]}


def _after(seconds: float) -> dict[str, Any]:
    return {"$add": ["$$NOW", int(seconds * 1000)]}


def _machine() -> dict[str, Any]:
    """Return what tells this machine and its process numbers from any other's."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = str(Path("/proc/self/ns/pid").readlink())
        started = _started(os.getpid())
    except OSError:  # not Linux: a dead holder is then waited for
        return {}
    return {"boot": boot, "pid_space": space, "pid_started": started}


def _is_dead_here(holder: dict[str, Any]) -> bool:
    """Return whether *holder* was a process of this machine and is no more."""
    here = _machine()
    if not here or any(holder.get(key) != here[key] for key in ("boot", "pid_space")):
        return False
    if holder.get("pid") is None:
        return False
    try:
        return _started(holder["pid"]) != holder.get("pid_started")
    except OSError:
        return True


def _started(pid: int) -> int:
    """Return when process *pid* started, in clock ticks since boot: proc(5), stat, field 22."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if fields[0] == "Z":
        raise ProcessLookupError(f"process {pid} is dead and not yet reaped")
    return int(fields[19])


def _refusal(held: dict[str, Any]) -> LeaseHeldError:
    holder = held.get("holder", {})
    who = f"{holder.get('user')}@{holder.get('host')} (pid {holder.get('pid')})"
    since = held["since"].strftime("%Y-%m-%d %H:%M:%S UTC") if held.get("since") else "just now"
    return LeaseHeldError(
        f"{who} holds the lease of this database since {since}, for: {held.get('purpose')}. "
        f"Wait until it ends ({commands.STATUS} shows how far it is), or stop it there; a holder "
        f"that died loses the lease after {held.get('seconds', 0):g} s.",
        holder=holder,
        since=held.get("since"),
        purpose=held.get("purpose"),
        expires=held.get("expires"),
    )
