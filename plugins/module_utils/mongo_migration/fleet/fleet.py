"""A fleet: the databases that a command is about, and how it goes through them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pymongo import MongoClient

from ..support import neutral
from ..support.progress import Meter, Sink
from ..support.stop import StopSignal
from . import lanes, outcomes, selection
from .outcomes import Tally

Client = MongoClient[dict[str, Any]]

PASSED = "passed"
STOP, GO = "stop", "go"
_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Options:
    """What an inventory, and a command, say of many databases.

    Args:
        databases: a list, a pattern or a query.
        only: those that this command is about; all where it names none.
        canary: how many, or which, come first; ``passed`` when they were looked at.
        canary_then: ``stop`` ends the command when they are verified; ``go`` goes on.
        lanes: how many databases are worked on at the same time.
        failures_allowed: how many may need attention before no other one is begun.
    """

    databases: Any
    only: Sequence[str] = ()
    canary: Any = None
    canary_then: str = STOP
    lanes: int = 2
    failures_allowed: int = 0


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """The databases of a command.

    Args:
        names: all that are meant, in order.
        canaries: those that come first; empty where there are none, or no more.
        then: what follows when they are verified.
        home: the database that keeps the record of maintenance mode.
        crew_size: lanes.
        failures_allowed: see :class:`Options`.
        connect: makes a client for a lane.
        progress: told how far it is.
        stop: asks for an end.
        operator: who does it.
    """

    names: Sequence[str]
    canaries: Sequence[str]
    then: str
    home: str
    crew_size: int
    failures_allowed: int
    connect: Callable[[], Client]
    progress: Sink
    stop: StopSignal
    operator: Mapping[str, Any]

    @property
    def rest(self) -> Sequence[str]:
        """Those that come after the canaries."""
        first = set(self.canaries)
        return [name for name in self.names if name not in first]

    @property
    def this_time(self) -> Sequence[str]:
        """Those that this command gets to."""
        return self.canaries if self.canaries and self.then == STOP else self.names

    @property
    def later(self) -> int:
        """How many are left for the command that follows the canaries."""
        return len(self.names) - len(self.this_time)

    def each(
        self,
        work: lanes.Work,
        names: Sequence[str],
        tally: Tally,
        *,
        phase: str,
        allowed: int | None = None,
    ) -> None:
        """Do *work* on each of *names*, in lanes, and add what comes of it to *tally*.

        Args:
            work: on one database.
            names: in the order in which they begin.
            tally: of this command.
            phase: for the progress.
            allowed: how many may need attention before no other one is begun; all where it is
                None.
        """
        meter = Meter(self.progress, phase=phase, total=len(names), unit="databases")
        crew = lanes.Crew(
            connect=self.connect, lanes=self.crew_size, stop=self.stop, tell=partial(_tell, meter)
        )
        meter.advance(0)

        def go_on() -> bool:
            return allowed is None or tally.failures <= allowed

        for outcome in lanes.run(crew, names, work, go_on):
            tally.add(outcome)
            meter.advance(1, detail=outcome.database)


def assemble(
    client: Client,
    options: Options,
    *,
    home: str,
    connect: Callable[[], Client],
    progress: Sink,
    stop: StopSignal,
    operator: Mapping[str, Any],
) -> Fleet:
    """Return the fleet that *options* mean on this server.

    Raises:
        SelectionError: they name none, or what no database can be called.
    """
    source = selection.parse(options.databases)
    known = selection.resolve(client, source)
    names = selection.restrict(known, options.only)
    return Fleet(
        names=names,
        canaries=canaries(options.canary, names, known=known),
        then=options.canary_then,
        home=home,
        crew_size=max(1, min(options.lanes, len(names))),
        failures_allowed=options.failures_allowed,
        connect=connect,
        progress=progress,
        stop=stop,
        operator=operator,
    )


def canaries(
    given: Any, names: Sequence[str], *, known: Collection[str] | None = None
) -> list[str]:
    """Return those of *names* that come first, as ``canary`` says.

    Args:
        given: what it says.
        names: that the command is about.
        known: that ``mongo_databases`` names, of which the command may be about some; None before
            anything connects.

    Raises:
        SelectionError: it is neither a number, nor names of databases, nor ``passed``.
    """
    if given in (None, "", PASSED, 0, "0"):
        return []
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        return list(names[:given])
    if isinstance(given, str):
        if given.isdecimal():
            return list(names[: int(given)])
        given = [each.strip() for each in given.split(",")]
    if isinstance(given, Sequence) and all(isinstance(each, str) for each in given):
        first = set(given)
        if known is not None and (unknown := sorted(first.difference(known))):
            # Left out, there would be fewer canaries than somebody relies on, or none.
            shown = neutral.listed(unknown, most=_SHOWN)
            raise selection.SelectionError(
                f"canary names {shown}, which mongo_databases doesn't; nothing was written. It "
                f"names {len(known):,}: {neutral.listed(sorted(known), most=3)}."
            )
        # Of a command about some of them, those that it is about.
        return [name for name in names if name in first]
    raise selection.SelectionError(
        "canary: must be a number of databases, their names, or 'passed' when they were looked at, "
        f"not {str(given)[:80]!r}."
    )


def _tell(meter: Meter, name: str, event: dict[str, Any]) -> None:
    """Tell why a lane stands still; how far it is, the databases that are done say."""
    if reason := event.get("waiting") or event.get("paused"):
        meter.report(waiting=f"{name}: {reason}")


def result(fleet: Fleet, tally: Tally, *, of: Sequence[str] | None = None) -> dict[str, Any]:
    """Return what every module returns of a fleet.

    Args:
        fleet: which.
        tally: what came of it.
        of: the databases that the command gets to; those without an outcome weren't begun.
    """
    names = fleet.names if of is None else of
    if missing := len(names) - sum(tally.counts.values()):
        tally.counts[outcomes.NOT_BEGUN] += missing
    told = {
        **tally.as_dict(),
        "databases": len(fleet.names),
        "said": outcomes.said(tally.failures, len(fleet.names)),
        "canaries": list(fleet.canaries),
        # Left for the command that says that the canaries were looked at.
        "later": len(fleet.names) - len(names),
    }
    return {
        "changed": tally.changed,
        "fleet": told,
        "fleet_text": outcomes.lines(told),
        "pages": tally.pages.text(),
    }
