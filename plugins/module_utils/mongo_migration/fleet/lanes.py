"""Lanes: processes that work on one database after the other, each with a client of its own.

A lane is forked, so that it needs nothing but what its parent has in memory, and doesn't touch the
parent's clients. It is told one name at a time; what it sends back is small. Where its parent is
gone, it ends at the next batch: nobody would know of what it does.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection as pipes
from typing import Any

from bson.errors import BSONError
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from ..errors import InterruptedRunError, MigrationError
from ..procedures import undecodable
from ..server import connection
from ..support import stop as stops
from ..support.progress import Sink
from ..support.stop import StopSignal
from . import outcomes
from .outcomes import Outcome

Client = MongoClient[dict[str, Any]]

_POLL_SECONDS = 0.2
_TELL_SECONDS = 0.5
# What a lane that was asked to stop may need for its batch, and a failover in it.
_PATIENCE_SECONDS = 330


@dataclass(frozen=True)
class Lane:
    """What the work on one database gets.

    Args:
        client: of this lane.
        stop: asks for an end at the next batch boundary.
        progress: told of every batch.
    """

    client: Client
    stop: StopSignal
    progress: Sink


Work = Callable[[Lane, str], Outcome]


@dataclass(frozen=True, kw_only=True)
class Crew:
    """How lanes are opened.

    Args:
        connect: makes a client.
        lanes: how many.
        stop: of the parent; handed on.
        tell: told of (name, event) while there is something to tell.
    """

    connect: Callable[[], Client]
    lanes: int
    stop: StopSignal
    tell: Callable[[str, dict[str, Any]], None]


def run(
    crew: Crew, names: Iterable[str], work: Work, go_on: Callable[[], bool]
) -> Iterator[Outcome]:
    """Yield the outcome of *work* on each of *names*, as they end.

    Args:
        crew: how.
        names: in the order in which they are begun.
        work: what is done with each, in a lane.
        go_on: asked before each begins; what has begun comes to its end.
    """
    at_work = _AtWork(crew, names, work, go_on)
    try:
        while at_work.fill():
            yield from at_work.hear()
    finally:
        at_work.end()


class _AtWork:
    """The lanes that are open, and the names that wait for one."""

    def __init__(
        self, crew: Crew, names: Iterable[str], work: Work, go_on: Callable[[], bool]
    ) -> None:
        self._crew = crew
        self._names = iter(names)
        self._work = work
        self._go_on = go_on
        self._open: dict[Any, _Process] = {}
        self._told = False

    def fill(self) -> bool:
        """Open lanes while there are names for them; return whether one is open."""
        while len(self._open) < self._crew.lanes and (name := self._next()) is not None:
            lane = _Process(self._crew, self._work, list(self._open))
            lane.begin(name)
            self._open[lane.pipe] = lane
        if self._crew.stop.asked() and not self._told:
            self._told = True
            self._ask_all_to_stop()
        return bool(self._open)

    def hear(self) -> Iterator[Outcome]:
        """Yield what has ended by now, and give those lanes the next names."""
        for pipe in pipes.wait(list(self._open), timeout=_POLL_SECONDS):
            lane = self._open[pipe]
            outcome = lane.hear()
            if outcome is None:
                continue
            # Counted first: whether another one begins may depend on it.
            yield outcome
            name = self._next() if lane.alive else None
            if name is not None:
                lane.begin(name)
            else:
                del self._open[pipe]
                lane.dismiss()

    def end(self) -> None:
        """Leave no lane behind, whatever ended the command."""
        self._ask_all_to_stop()
        for lane in self._open.values():
            lane.dismiss()

    def _next(self) -> str | None:
        if self._crew.stop.asked() or not self._go_on():
            return None
        return next(self._names, None)

    def _ask_all_to_stop(self) -> None:
        for lane in self._open.values():
            lane.ask_to_stop()


class _Process:
    """One lane, as its parent sees it."""

    def __init__(self, crew: Crew, work: Work, others: Iterable[Any]) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self._tell = crew.tell
        self._name = ""
        # A lane that kept the parent's ends, would never see them close.
        inherited = [*others, self.pipe]
        self._process = context.Process(
            target=_lane, args=(theirs, inherited, crew.connect, work), name="lane", daemon=True
        )
        self._process.start()
        theirs.close()
        self.alive = True

    def begin(self, name: str) -> None:
        """Give it the next database."""
        self._name = name
        with suppress(OSError):  # it is gone, which its silence will say
            self.pipe.send(name)

    def hear(self) -> Outcome | None:
        """Return the outcome, if that is what it said."""
        try:
            what, said = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join(_PATIENCE_SECONDS)
            self.alive = False
            return outcomes.of(
                self._name,
                outcomes.LOST,
                {"exit_code": self._process.exitcode},
                reason="the process that worked on it was killed; the same command goes on there",
                changed=True,
            )
        if what == "outcome":
            found: Outcome = said
            return found
        self._tell(self._name, said)
        return None

    def ask_to_stop(self) -> None:
        """Let it end at its next batch."""
        self._process.terminate()

    def dismiss(self) -> None:
        """End it; it has nothing to do."""
        with suppress(OSError):
            self.pipe.send(None)
        self._process.join(_PATIENCE_SECONDS)
        self.pipe.close()


def _lane(pipe: Any, inherited: Iterable[Any], connect: Callable[[], Client], work: Work) -> None:
    """Work in the child until there is nothing more."""
    for each in inherited:
        each.close()
    asked = stops.listen()
    last = 0.0

    def tell(event: dict[str, Any]) -> None:
        nonlocal last
        if time.monotonic() - last < _TELL_SECONDS:
            return
        last = time.monotonic()
        try:
            pipe.send(("progress", event))
        except OSError:
            asked.ask("the command that it belongs to is gone")

    client: Client | None = None
    with suppress(EOFError, OSError):
        while (name := pipe.recv()) is not None:
            try:
                client = client or connect()
                outcome = _guarded(work, Lane(client, asked, tell), name)
            except MigrationError as error:  # there is no client
                outcome = outcomes.of_error(name, outcomes.FAILED, error)
            pipe.send(("outcome", outcome))
    if client is not None:
        client.close()


def _guarded(work: Work, lane: Lane, name: str) -> Outcome:
    """Return what came of *work*; no error of one database ends the others."""
    try:
        return work(lane, name)
    except InterruptedRunError as error:
        return outcomes.of_error(name, outcomes.INTERRUPTED, error, changed=True)
    except MigrationError as error:
        return outcomes.of_error(name, outcomes.FAILED, error)
    except PyMongoError as error:
        said = MigrationError(connection.explain(error))
        return outcomes.of_error(name, outcomes.FAILED, said)
    except BSONError as error:
        said = undecodable.named(lane.client[name], error)
        return outcomes.of_error(name, outcomes.FAILED, said)
    except Exception as error:
        said = MigrationError(f"Unexpected error: {type(error).__name__}: {error}")
        return outcomes.of_error(name, outcomes.FAILED, said)
