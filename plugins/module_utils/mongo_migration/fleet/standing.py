"""How far each database is with every migration; read only."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..ledger import lease, partial_restore, runs
from ..procedures import status
from ..support import commands, neutral
from ..values.abridged import abridge
from . import outcomes
from .fleet import Client, Fleet, result
from .lanes import Lane
from .outcomes import Outcome, Tally

QUIET, AT_WORK = outcomes.DONE, outcomes.HELD
_HALF_WAY = (*runs.UNFINISHED, "applied", runs.ROLLING_BACK)


def describe(client: Client, fleet: Fleet) -> dict[str, Any]:
    """Return what ``status.describe`` returns, with the databases counted by phase."""
    found = status.describe(
        client=client, database=fleet.home, definition=None, copies_of=[fleet.home, *fleet.names]
    )
    tally = Tally()
    fleet.each(_look, fleet.names, tally, phase="look")
    told = result(fleet, tally)
    table: dict[str, Counter[str]] = {}
    for key, count in tally.numbers.items():
        migration, phase = key.rsplit(" ", 1)
        table.setdefault(migration, Counter())[phase] += count
    told["fleet"] |= {"migrations": table, "databases": len(fleet.names)}
    told["fleet_text"] = _lines(fleet, table, tally)
    advice = [*_advice(table), *status.advise_on_copies(found["copies"])]
    return {**found, **told, "changelog": [], "next": advice, "lease": None, "at_work": ""}


def _look(lane: Lane, name: str) -> Outcome:
    db = lane.client[name]
    partial_restore.refuse(db)
    newest = {run["migration"]: run for run in runs.newest_of_each(db)}
    numbers = {f"{each} {run['phase']}": 1 for each, run in newest.items()}
    facts = {"migrations": [status.entry(run) for run in newest.values()]}
    if held := lease.read(db):
        holder = held["holder"]
        reason = f"{holder.get('user')}@{holder.get('host')}: {held['purpose']}"
        return outcomes.of(name, outcomes.HELD, facts, reason=reason, numbers=numbers)
    for each, run in newest.items():
        if run["phase"] in _HALF_WAY:
            reason = (
                f"{each} is {run['phase'].replace('_', ' ')}: {abridge(run.get('error') or '')}"
            )
            return outcomes.of(
                name, outcomes.INTERRUPTED, facts, reason=reason.rstrip(": "), numbers=numbers
            )
    return outcomes.of(name, outcomes.DONE, facts, numbers=numbers)


def _lines(fleet: Fleet, table: dict[str, Counter[str]], tally: Tally) -> list[str]:
    total = len(fleet.names)
    shown = []
    for migration, phases in sorted(table.items()):
        words = [f"{count:,} {phase.replace('_', ' ')}" for phase, count in phases.most_common()]
        if without := total - sum(phases.values()):
            words.append(f"{without:,} without a run")
        shown.append(f"  {neutral.line(migration)}  {', '.join(map(neutral.line, words))}")
    if not table:
        shown.append("  no migration was applied to any of them")
    if tally.attention:
        shown += ["", *outcomes.attention_lines(tally.as_dict()["attention"])]
    return shown


def _advice(table: dict[str, Counter[str]]) -> list[dict[str, str]]:
    advice = []
    for migration, phases in sorted(table.items()):
        if count := sum(phases[phase] for phase in _HALF_WAY):
            advice += [
                {
                    "why": f"{migration} stopped half-way in {count:,} databases: go on",
                    "command": commands.carry_out(migration, ""),
                },
                {
                    "why": "or undo exactly what it did",
                    "command": commands.roll_back(migration),
                },
            ]
    return advice
