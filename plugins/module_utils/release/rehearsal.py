"""Whether a migration was rehearsed: up, verified, down, and up again, with sealed evidence.

Here by three commands on another deployment; :mod:`.copies` is about one on a copy of the data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mongo_migration.support import plain_files

UP, DOWN = "up", "down"
WANTED = (UP, DOWN, UP)

# Of a command that wrote: which way it went.
ACTIONS = {"migrate": UP, "rollback": DOWN, "emergency-rollback": DOWN}
# What must have succeeded for a turn to be one. What is live first is verified by the process that
# migrates; what was found stands in verification.json either way.
MODULES = {UP: ("mongo_migrate",), DOWN: ("mongo_rollback", "mongo_verify")}
# Returns why a folder proves nothing, or doesn't prove that these modules succeeded.
Verify = Callable[[Path, Sequence[str]], list[str]]
# What run.json says of a command that ended well.
_SUCCESS = "success"


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One run of a rehearsal that succeeded and was verified."""

    direction: str
    deployment: str
    database: str
    ended: datetime
    folder: Path
    variables: Mapping[str, Any] | None


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
    verify: Verify,
    variables: Mapping[str, Any] | None = None,
    but_not: str = "",
    deployments: Sequence[str] = (),
    databases: Sequence[str] = (),
) -> Rehearsal:
    """Look for a rehearsal of the migration with *digest* in the evidence below *root*.

    Args:
        root: the folder that holds one folder for each run.
        digest: of the migration document; after an edit it must be rehearsed again.
        days: how old the oldest run may be.
        now: the time.
        verify: returns why a folder proves nothing.
        variables: of the document, with the values that it is to have now.
        but_not: the deployment that is to be changed now: its own runs are no rehearsal.
        deployments: where a rehearsal counts; empty for everywhere else.
        databases: names of databases in which it counts; empty for any.
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
        wrong = unlike(
            turn.database, turn.variables, databases=databases, variables=variables
        ) or verify(path.parent, MODULES[turn.direction])
        if wrong:
            problems.append(f"{path.parent.name} doesn't count: {'; '.join(wrong)}")
        else:
            turns.append(turn)
    turns.sort(key=lambda turn: turn.ended)
    for place in sorted({(turn.deployment, turn.database) for turn in turns}):
        chosen = _sequence([t for t in turns if (t.deployment, t.database) == place])
        if chosen:
            return Rehearsal(turns=chosen)
    return Rehearsal(problems=(_missing(turns, days), *problems))


def passed(verdict: Mapping[str, Any]) -> bool:
    """Return whether a verification passed, and really checked something."""
    checks = verdict["checks"]
    return bool(
        verdict["passed"] is True
        and checks
        and not any(check["status"] == "failed" for check in checks)
    )


def succeeded(run: Mapping[str, Any], digest: str) -> bool:
    """Return whether ``run.json`` says that a command with *digest* ended well, by itself."""
    return bool(
        run.get("digest") == digest
        and run.get("verified") is True
        and not run.get("check_mode")
        and run.get("outcome") == _SUCCESS
        and not run.get("finished_by")
    )


def moment(text: Any) -> datetime:
    """Return the time that *text* is; a ValueError if it is none."""
    moment = datetime.fromisoformat(str(text))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def unlike(
    database: str,
    known: Mapping[str, Any] | None,
    *,
    databases: Sequence[str],
    variables: Mapping[str, Any] | None,
) -> list[str]:
    """Return how a rehearsal differs from what is to be done now.

    Args:
        database: where it was.
        known: the variables that it had.
        databases: where it counts; empty for anywhere.
        variables: those that the migration has now.
    """
    wrong = []
    if databases and database not in databases:
        wrong.append(f"it was in the database '{database}', not in {' or '.join(databases)}")
    if variables and known is None:
        wrong.append("it doesn't say with which variables: rehearse it again")
    elif variables is not None and known is not None and _plain(known) != _plain(variables):
        names = sorted(
            name
            for name in {*known, *variables}
            if _plain(known.get(name)) != _plain(variables.get(name))
        )
        wrong.append(f"it had another value of {', '.join(names)}")
    return wrong


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _turn(path: Path, digest: str) -> Turn | None:
    """Return what one folder proves; None for another migration, a failure or a mere plan."""
    try:
        run: dict[str, Any] = plain_files.read_json(path)
        ended = moment(run["ended"])
        direction = ACTIONS[run["action"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not succeeded(run, digest) or not _proved(path.parent, run):
        return None
    variables = run.get("variables")
    return Turn(
        direction=direction,
        deployment=str(run.get("deployment") or ""),
        database=str(run.get("database") or ""),
        ended=ended,
        folder=path.parent,
        variables=variables if isinstance(variables, dict) else None,
    )


def _proved(folder: Path, run: Mapping[str, Any]) -> bool:
    """Return whether the verification beside the record says the same, of the same run."""
    try:
        found = plain_files.read_json(folder / "verification.json")
        return passed(found) and found.get("run") in (None, run.get("run"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


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
