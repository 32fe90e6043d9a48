"""Live first, then a short stop of the writers: the two halves of one run.

The first half works while the application writes: backfill and index builds with proof per batch,
again and again until little is left. What it leaves is a run that is ``caught_up``: as good as
before for every writer, and with hardly anything to do. Writers are stopped only for the second
half, which does what they have left behind, from the first step on.

Nothing that an old release does in between can be missed: what it wrote without the field is a
candidate of the second half. Both halves may be killed anywhere: a step that :meth:`runs_live` can
be repeated, so that a half that is resumed, or begun anew, finds what is still to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..document.definition import Definition
from ..errors import DefinitionError, MigrationError
from ..ledger import runs
from ..ledger.batches import Writer
from ..operations.base import Operation
from ..operations.registry import OPERATIONS
from ..support.progress import quiet
from ..values import ejson
from . import journal_pass
from .value_proof import ValueProof

LIVE, LIVE_FIRST, STOPPED = "live", "live_first", "stopped"
APPLIED, CAUGHT_UP = "applied", runs.CAUGHT_UP

# Documents that the writers have left during a pass: few enough for the second half.
SMALL = 1000
# Writers that are faster than the backfill are stopped for what is left, all the same.
MOST_PASSES = 5

_NOTHING_YET = {"kind": LIVE_FIRST, "passes": 0, "last": 0, "live": 0, "proved": 0}

# What the second half reads before and after it writes; orders of magnitude, from two cores.
_LOOKED_AT_PER_SECOND = 400_000
_STOP_SECONDS = 3


def choose(definition: Definition) -> dict[str, Any]:
    """Return how the migration cuts over, and where it can't be live first, why.

    Raises:
        DefinitionError: the document asks for what its steps can't do.
    """
    wanted = definition.cutover
    if definition.downtime == "none":
        return {"kind": LIVE, "why": ""}
    not_live = [
        f"steps[{step.index}].{step.kind}"
        for step in definition.steps
        if not OPERATIONS[step.kind].runs_live(step.options)
    ]
    why = f"{', '.join(not_live)}: can't be done beside writers" if not_live else ""
    if wanted == LIVE_FIRST and why:
        raise DefinitionError(
            f"{definition.source}: cutover: live_first, but {why}. Leave cutover out: then all of "
            "it is done while writers are stopped."
        )
    if wanted == STOPPED:
        return {"kind": STOPPED, "why": "the document says so"}
    return {"kind": STOPPED if why else LIVE_FIRST, "why": why}


def seconds_stopped(kind: str, *, seconds: float, documents: int) -> int:
    """Return about how long writes will be refused by the database.

    Args:
        kind: of the cut-over.
        seconds: that the whole work takes.
        documents: of the collections that are written to.
    """
    if kind == LIVE:
        return 0
    if kind == STOPPED:
        return round(seconds) + _STOP_SECONDS
    return round(documents / _LOOKED_AT_PER_SECOND) + _STOP_SECONDS


class Halves:
    """Which half of a run is at work.

    Args:
        writer: of the run.
        until: ``applied``, or ``caught_up`` for the live half.
    """

    def __init__(self, writer: Writer, until: str) -> None:
        self._writer = writer
        self._live = until == CAUGHT_UP
        self._begun = False

    @property
    def done(self) -> bool:
        """Whether the live half is done by this process, or there is none to do.

        A run that has begun with stopped writers has no halves: its digests are from then.
        """
        run = self._writer.run
        if self._begun:
            return self._live and run.phase == CAUGHT_UP
        begun = self._writer.seq or "baseline" in run.document
        return bool(self._live and begun and "cutover" not in run.document)

    def begin(self) -> bool:
        """Note which half begins, and where; return whether it is the live one."""
        run = self._writer.run
        known: Mapping[str, Any] | None = run.document.get("cutover")
        if self._live and known is None:
            known = dict(_NOTHING_YET)
        if known is None or self._begun:
            return self._live
        half = "live" if self._live else "final"
        if "final" in (half, known.get("half")):
            # From the first step: whoever wrote since has left something behind every position.
            self._writer.move({"step": 0})
        run.keep(cutover={**known, "half": half})
        self._begun = True
        return self._live


def catch_up(
    writer: Writer, operations: Callable[[], Iterable[Operation]], walk: Callable[[], None]
) -> None:
    """Do *walk* until it finds little, then prove what was written.

    Args:
        writer: of the run, in its live half.
        operations: the steps, built on the database as it is.
        walk: goes through all steps once, from the run's position on.

    Raises:
        MigrationError: a document doesn't hold what it should.
    """
    run = writer.run
    while True:
        before = runs.written(run.document)
        walk()
        known, live = run.document["cutover"], runs.written(run.document)
        wrote, passes = live - before, known["passes"] + 1
        run.keep(cutover={**known, "passes": passes, "last": wrote, "live": live})
        writer.move({"step": 0})
        if wrote <= SMALL or passes >= MOST_PASSES:
            break
    _prove(writer, list(operations()))


def _prove(writer: Writer, operations: Sequence[Operation]) -> None:
    """Look at every document that was written, while nobody waits for it."""
    run = writer.run
    known = run.document["cutover"]
    proof = ValueProof(writer.database, operations, compared=False, after=known["proved"])
    heed = writer.with_control_checks(quiet)
    journal_pass.read(writer.journal, [proof], lambda: heed({}))
    for check in proof.checks():
        writer.check_control()
        if not check.passed and check.severity == "error":
            raise MigrationError(
                f"{check.name}: expected {check.expected}, found {check.observed} of "
                f"{check.examined:,}, {ejson.short(check.samples)}"
            )
    run.keep(cutover={**known, "proved": run.document["seq"]})
