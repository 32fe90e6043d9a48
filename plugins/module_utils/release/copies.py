"""Whether a migration was rehearsed on a copy of the very data, by one command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from mongo_migration.support import plain_files

from .rehearsal import ACTIONS as _TURNS
from .rehearsal import MODULES, UP, WANTED, Verify, moment, passed, succeeded, unlike

ACTION = "rehearse"
MODULE = "mongo_rehearse"


@dataclass(frozen=True, kw_only=True)
class Repair:
    """A repair that was made on the copy.

    Args:
        id: of its document.
        name: as ``-e repair=`` takes it.
    """

    id: str
    name: str
    digest: str
    variables: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A rehearsal on a copy of the data.

    Args:
        ended: when it ended.
        of: the instant of the data.
        seconds: of its migration, verification and rollback.
        repairs: that were made on the copy before; what it proves is true once they are made here.
    """

    deployment: str
    database: str
    ended: datetime
    of: datetime
    documents: int
    seconds: Mapping[str, float]
    folder: Path
    variables: Mapping[str, Any] | None
    repairs: tuple[Repair, ...] = ()


def newest(
    *,
    root: Path,
    digest: str,
    deployment: str,
    database: str,
    days: float,
    now: datetime,
    verify: Verify,
    variables: Mapping[str, Any] | None = None,
) -> tuple[Copy | None, list[str]]:
    """Return the newest rehearsal on a copy of *database*, and why others don't count.

    Args:
        root: the folder that holds one folder for each run.
        digest: of the migration document, or of a repair that was rehearsed before one.
        deployment: the one whose data were copied.
        database: the one that was copied.
        days: how old the rehearsal may be, and its data: what it proves is about them.
        now: the time.
        verify: returns why a folder proves nothing.
        variables: of the document, with the values that it is to have now.
    """
    since = now - timedelta(days=days)
    found, problems = list[Copy](), list[str]()
    for path in sorted(root.glob(f"*-{ACTION}-*/run.json")):
        copy = _read(path, digest)
        if copy is None or copy.deployment != deployment or copy.ended < since:
            continue
        wrong = unlike(copy.database, copy.variables, databases=[database], variables=variables)
        if copy.of < since:
            wrong.append(f"its data are those of {copy.of:%Y-%m-%d}: rehearse on a newer backup")
        wrong += [
            f"it was after repair={one.name}, which was not made here since: make it first"
            for one in copy.repairs
            if not _made(root, one, copy, verify)
        ]
        wrong = wrong or verify(path.parent, (MODULE,))
        if wrong:
            problems.append(f"{path.parent.name} doesn't count: {'; '.join(wrong)}")
        else:
            found.append(copy)
    return max(found, key=lambda copy: copy.ended, default=None), problems


def _read(path: Path, digest: str) -> Copy | None:
    """Return what one folder says; None for anything but a whole rehearsal on a copy."""
    try:
        run: dict[str, Any] = plain_files.read_json(path)
        told: dict[str, Any] = plain_files.read_json(path.parent / "rehearsal.json")
        repairs = [_repair(one) for one in told.get("repairs") or ()]
        digests = [one.digest for one in repairs]
        if not (
            run["action"] == ACTION
            and succeeded(run, run["digest"])
            and digest in (run["digest"], *digests)
            and _whole(told, run)
        ):
            return None
        variables = run.get("variables")
        if digest != run["digest"]:
            # Of a repair that went before: what went before that one.
            at = digests.index(digest)
            variables, repairs = repairs[at].variables, repairs[:at]
        return Copy(
            deployment=str(run["deployment"]),
            database=str(run["database"]),
            ended=moment(run["ended"]),
            of=moment(told["snapshot_time"]),
            documents=int(told["documents"]),
            seconds={str(name): float(each) for name, each in told["seconds"].items()},
            folder=path.parent,
            variables=variables if isinstance(variables, dict) else None,
            repairs=tuple(repairs),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _repair(told: Mapping[str, Any]) -> Repair:
    return Repair(
        id=str(told["id"]),
        name=str(told["repair"]),
        digest=str(told["digest"]),
        variables=dict(told["variables"]),
    )


def _made(root: Path, repair: Repair, copy: Copy, verify: Verify) -> bool:
    """Return whether *repair* was made in earnest since the data were copied, and still stands."""
    found = []
    for path in sorted(root.glob(f"*-{repair.id}-*/run.json")):
        try:
            run: dict[str, Any] = plain_files.read_json(path)
            ended, action = moment(run["ended"]), run["action"]
            here = (run["deployment"], run["database"]) == (copy.deployment, copy.database)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if here and action in _TURNS and ended > copy.of and run.get("migration") == repair.id:
            found.append((ended, action, run, path.parent))
    if not found:
        return False
    # Whatever came last, well or badly ended: an undoing, even half of one, takes it back.
    _ended, action, run, folder = max(found, key=lambda each: each[0])
    return bool(
        _TURNS[action] == UP
        and succeeded(run, repair.digest)
        and not unlike(
            copy.database,
            run.get("variables"),
            databases=[copy.database],
            variables=repair.variables,
        )
        and not verify(folder, MODULES[UP])
    )


def _whole(told: Mapping[str, Any], run: Mapping[str, Any]) -> bool:
    """Return whether all turns were made and verified, and the copy was as before in between."""
    return bool(
        told["passed"] is True
        and told["digest"] == run["digest"]
        and told["database"] == run["database"]
        and told["compared"]["problems"] == []
        and told["compared"]["collections"] > 0
        and _directions(told) == list(WANTED)
        and all(passed(turn) for turn in told["turns"])
    )


def _directions(told: Mapping[str, Any]) -> list[str]:
    return [turn["direction"] for turn in told["turns"]]
