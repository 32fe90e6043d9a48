"""What a migration would do to each database, and to all of them; read only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..document import lint
from ..document.definition import Definition
from ..ledger import runs
from ..procedures import cutover, status
from ..support import commands, neutral
from . import outcomes
from .fleet import STOP, Client, Fleet, result
from .lanes import Lane
from .outcomes import Outcome, Tally

_SHOWN_NAMES = 3
# Of a plan that is refused, as many problems as a screen holds.
_SHOWN_PROBLEMS = 10
# What is said of one database has no meaning for all of them.
_NOT_OF_ONE: Mapping[str, Any] = {
    **{"changelog": [], "adopted": [], "lease": None, "restore": None, "next": []},
    "at_work": "",
}


def describe(client: Client, fleet: Fleet, definition: Definition) -> dict[str, Any]:
    """Return what ``status.describe`` returns, of all databases together.

    ``problems`` are empty while no more databases need attention than the fleet allows: the others
    can be migrated.
    """
    found = status.describe(client=client, database=fleet.home, definition=None)
    tally, now = Tally(), set(fleet.this_time)

    def look(lane: Lane, name: str) -> Outcome:
        return _look(lane, name, definition, {"begins": int(name in now)})

    fleet.each(look, fleet.names, tally, phase="plan")
    told = result(fleet, tally)
    refused = tally.failures > fleet.failures_allowed
    counts = tally.counts
    left = counts[outcomes.TO_MIGRATE] + counts[outcomes.UNFINISHED]
    begins = bool(tally.numbers["begins"]) or refused
    migration = {
        **definition.as_dict(),
        "state": "pending" if left or refused else "verified",
        "run": None,
        "backup": None,
        "command": commands.carry_out(definition.id, definition.name),
        # Canaries that are done leave the rest to the command that says that they were looked at.
        "todo": "migrate" if begins else "idle" if left else "nothing",
        "changes": bool(tally.numbers["begins"]),
        "cutover": cutover.choose(definition)["kind"],
    }
    told["fleet"]["later"] = len(fleet.names) - len(now) if left else 0
    return {
        **found,
        **_NOT_OF_ONE,
        **told,
        "changed": False,
        "migration": migration,
        "lint": [str(item) for item in lint.findings(definition.text, definition.source)],
        "problems": [*found["problems"], *(_problems(tally) if refused else [])],
        "plan_text": _text(fleet, definition, told),
    }


def _look(lane: Lane, name: str, definition: Definition, numbers: Mapping[str, int]) -> Outcome:
    found = status.describe(client=lane.client, database=name, definition=definition)
    migration, made = found["migration"], found.get("plan")
    facts = {"migration": migration, "plan": made, "problems": found["problems"]}
    if made is None or found["problems"]:
        return outcomes.of(name, outcomes.REFUSED, facts, reason="; ".join(found["problems"]))
    if migration["todo"] != "migrate":
        return outcomes.of(name, outcomes.DONE, facts)
    if found["lease"]:
        return outcomes.of(name, outcomes.HELD, facts, reason=found["at_work"])
    sums = {**numbers, **made["totals"], "warnings": len(made["warnings"])}
    sums |= {f"estimate_{key}": round(value) for key, value in made["estimate"].items()}
    begun = migration["state"] not in ("pending", "planned", runs.ROLLED_BACK)
    state = outcomes.UNFINISHED if begun else outcomes.TO_MIGRATE
    return outcomes.of(name, state, facts, numbers=sums)


def _problems(tally: Tally) -> list[str]:
    """Return who needs attention, for the error that ends the command."""
    found = sorted(tally.attention, key=lambda each: each["database"])
    shown = [f"{each['database']}: {each['reason']}" for each in found[:_SHOWN_PROBLEMS]]
    if more := len(found) - len(shown):
        shown.append(f"{more:,} more databases: each has its page in the evidence")
    return shown


def _text(fleet: Fleet, definition: Definition, told: Mapping[str, Any]) -> list[str]:
    numbers = told["fleet"]["numbers"]

    def number(name: str) -> str:
        return f"{numbers.get(name, 0):,}"

    names = fleet.names
    shown = ", ".join(map(neutral.line, names[:_SHOWN_NAMES]))
    if len(names) > _SHOWN_NAMES:
        shown = f"{shown}, … {neutral.line(names[-1])}"
    text = [
        f"Migration {definition.id} {definition.name} on {len(names):,} "
        f"database{'' if len(names) == 1 else 's'} (downtime {definition.downtime})",
        f"{shown}",
        "",
        *told["fleet_text"],
        "",
        f"documents  {number('documents')}, of which {number('to_change')} are changed, "
        f"{number('to_insert')} inserted, {number('to_remove')} removed; "
        f"indexes built: {number('indexes_to_build')}",
        f"lanes      {fleet.crew_size}; no other database is begun once "
        f"{_need_attention(fleet.failures_allowed + 1)}",
    ]
    if numbers.get("warnings"):
        text.append(f"warnings   {number('warnings')}: on the pages of their databases")
    return text + _canary_lines(fleet.canaries, fleet.then, alone=not fleet.rest)


def _need_attention(count: int) -> str:
    return "one needs attention" if count == 1 else f"{count:,} need attention"


def _canary_lines(canaries: Sequence[str], then: str, *, alone: bool) -> list[str]:
    if not canaries:
        return []
    shown = ", ".join(map(neutral.line, canaries[: outcomes.SHOWN]))
    if alone:
        return [f"canary     {shown}: there are no others"]
    after = (
        "the command ends when they are verified; -e canary=passed does the rest"
        if then == STOP
        else "the rest follows when they are verified"
    )
    return [f"canary     {shown}: first; {after}"]
