"""Whether a sealed folder can be what it says it is, before anything is allowed because of it.

A seal is a sum that anybody can make, so its content is held against itself: name, times, log and
results of a real command agree with one another. That finds what was typed or copied; what was
forged with care is found by the signature alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from . import record, seal, signature
from .lines import read_lines

# Clocks differ, and a folder has its name a moment before its record.
_TOLERANCE = timedelta(minutes=2)
_STAMP = re.compile(r"\d{8}-\d{6}")


def problems(
    folder: Path, modules: Iterable[str] = (), *, now: datetime, public_key: str = ""
) -> list[str]:
    """Return why *folder* proves nothing, one sentence each; empty if it does.

    Args:
        folder: sealed evidence of one command.
        modules: that must have succeeded on the deployment while the command ran.
        now: the time.
        public_key: of Ed25519 in PEM; then the seal must be signed with its private half.

    Raises:
        ValueError: *public_key* is none.
    """
    found = seal.verify(folder)
    if public_key and seal.is_sealed(folder):
        found += signature.verify(folder, public_key)
    if found:
        return found
    run = record.read(folder)
    found = [*_identity(folder, run), *_times(folder, run, now), *_log(folder, run)]
    return found or [
        f"by its log, {module} didn't succeed on {run['deployment']}"
        for module in _unsuccessful(folder, run, modules)
    ]


def _unsuccessful(folder: Path, run: Mapping[str, Any], modules: Iterable[str]) -> list[str]:
    began, ended = when(run.get("started")), when(run.get("ended"))
    if began is None or ended is None:
        return [*modules]
    seen = set()
    for line in read_lines(folder / seal.LOG):
        moment = when(line.get("time"))
        within = moment and began - _TOLERANCE <= moment <= ended + _TOLERANCE
        good = line.get("status") in ("ok", "changed") and line.get("host") == run.get("deployment")
        if within and good:
            seen.add(str(line.get("action", "")).rpartition(".")[2])
    return [module for module in modules if module not in seen]


def when(value: Any) -> datetime | None:
    """Return the moment that a file of the evidence names; None for anything else."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _identity(folder: Path, run: Mapping[str, Any]) -> list[str]:
    """The folder is called by what its record says."""
    empty = [
        name
        for name in ("action", "deployment", "database", "started", "ended")
        if not isinstance(run.get(name), str) or not run[name].strip()
    ]
    if empty:
        return [f"{record.RUN} names no {' and no '.join(empty)}"]
    parts = [str(run["action"]), str(run.get("migration") or ""), str(run["deployment"])]
    stamp, rest = folder.name[:15], folder.name[16:]
    about = "-".join(filter(None, parts))
    names = (rest, re.sub(r"-\d{1,2}$", "", rest))
    if not _STAMP.fullmatch(stamp) or about not in names:
        return [f"the folder's name isn't the one that a command gives ({record.RUN}: {about})"]
    return []


def _times(folder: Path, run: Mapping[str, Any], now: datetime) -> list[str]:
    """They follow one another, and none lies ahead."""
    sealed = record.read_json(folder / seal.SEAL).get("sealed")
    named = {
        "started": when(run.get("started")),
        "ended": when(run.get("ended")),
        "sealed": when(sealed),
    }
    unknown = [name for name, moment in named.items() if moment is None]
    if unknown:
        return [f"'{unknown[0]}' is not a time"]
    order = [moment for moment in named.values() if moment is not None]
    found = [f"{name} lies ahead" for name, at in named.items() if at and at > now + _TOLERANCE]
    if order != sorted(order):
        found.append("it ended before it began, or was sealed before it ended")
    stamp = _STAMP.match(folder.name)
    if stamp:
        at = datetime.strptime(stamp.group(), "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
        if abs(at - order[0]) > _TOLERANCE:
            found.append("the time in the folder's name isn't that of its begin")
    return found


def _log(folder: Path, run: Mapping[str, Any]) -> list[str]:
    """There is one, of this command: of the time, of the host, to the end."""
    moments = [at for at in _moments(folder) if at]
    if not moments:
        return [f"it has no log ({seal.LOG}): nothing shows what the command did"]
    ended = when(run.get("ended"))
    if moments != sorted(moments):
        return [f"the lines of {seal.LOG} aren't in the order of their times"]
    if ended and abs(moments[-1] - ended) > timedelta(hours=1):
        return [f"{seal.LOG} is of another time than {record.RUN}"]
    return []


def _moments(folder: Path) -> Iterator[datetime | None]:
    for line in read_lines(folder / seal.LOG):
        yield when(line.get("time"))
