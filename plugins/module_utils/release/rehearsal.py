"""Whether a migration was rehearsed: up, verified, down, and up again, with sealed evidence."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

UP, DOWN = "up", "down"
WANTED = (UP, DOWN, UP)

_ACTIONS = {"migrate": UP, "rollback": DOWN, "emergency-rollback": DOWN}
# What run.json says of a command that ended well.
_SUCCESS = "success"


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One run of a rehearsal that succeeded and was verified."""

    direction: str
    deployment: str
    ended: datetime
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What the evidence says of one digest.

    Args:
        turns: the three runs that make the rehearsal; empty if it isn't complete.
        problems: why it isn't, one sentence each.
    """

    turns: tuple[Turn, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return bool(self.turns)


def find(
    *,
    root: Path,
    digest: str,
    days: float,
    now: datetime,
    verify: Callable[[Path], list[str]],
    but_not: str = "",
    deployments: Sequence[str] = (),
) -> Rehearsal:
    """Look for a rehearsal of the migration with *digest* in the evidence below *root*.

    Args:
        root: the folder that holds one folder for each run.
        digest: of the migration document; after an edit it must be rehearsed again.
        days: how old the oldest run may be.
        now: the time.
        verify: returns what in a folder isn't as it was sealed.
        but_not: the deployment that is to be changed now: its own runs are no rehearsal.
        deployments: where a rehearsal counts; empty for everywhere else.
    """
    if not root.is_dir():
        return Rehearsal(problems=(f"there is no evidence: {root} doesn't exist",))
    since = now - timedelta(days=days)
    turns, problems = [], []
    for path in sorted(root.glob("*/run.json")):
        turn = _turn(path, digest)
        if turn is None or turn.ended < since or turn.deployment == but_not:
            continue
        if deployments and turn.deployment not in deployments:
            continue
        edited = verify(path.parent)
        if edited:
            problems.append(f"{path.parent.name} doesn't count: {'; '.join(edited)}")
        else:
            turns.append(turn)
    turns.sort(key=lambda turn: turn.ended)
    for deployment in sorted({turn.deployment for turn in turns}):
        chosen = _sequence([turn for turn in turns if turn.deployment == deployment])
        if chosen:
            return Rehearsal(turns=chosen)
    return Rehearsal(problems=(_missing(turns, days), *problems))


def _turn(path: Path, digest: str) -> Turn | None:
    """Return what one folder proves; None for another migration, a failure or a mere plan."""
    try:
        run: dict[str, Any] = json.loads(path.read_text())
        ended = datetime.fromisoformat(str(run["ended"]))
        direction = _ACTIONS[run["action"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    good = (
        run.get("digest") == digest
        and run.get("verified") is True
        and not run.get("check_mode")
        and run.get("outcome") == _SUCCESS
    )
    if not good:
        return None
    return Turn(
        direction=direction,
        deployment=str(run.get("deployment") or ""),
        ended=ended if ended.tzinfo else ended.replace(tzinfo=UTC),
        folder=path.parent,
    )


def _sequence(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """Return the newest runs that went up, down and up again; empty if there are none."""
    chosen: list[Turn] = []
    for turn in reversed(turns):
        if turn.direction == WANTED[-1 - len(chosen)]:
            chosen.append(turn)
        if len(chosen) == len(WANTED):
            return tuple(reversed(chosen))
    return ()


def _missing(turns: Sequence[Turn], days: float) -> str:
    done = " → ".join(turn.direction for turn in turns)
    seen = f"there is only {done}" if done else "there is none"
    return f"no rehearsal up → down → up, each verified, in the last {days:g} days; {seen}"
