"""The phases of a run, as its log tells them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .plots import time_of

# Phases that a role runs within itself and that a reader wants to see; see the role's tasks.
_TELLING = frozenset({"recover"})
_FAILED = frozenset({"failed", "unreachable"})


@dataclass
class Phase:
    """One phase.

    Args:
        name: as on the screen.
        inner: whether it is a part of the one before it.
        began: when.
        seconds: how long it took.
        start: where it begins, in per cent of the whole.
        width: how much of the whole it took, in per cent.
        failed: whether a task in it failed.
        failure: what that task said.
    """

    name: str
    inner: bool
    began: datetime
    seconds: float = 0.0
    start: float = 0.0
    width: float = 0.0
    failed: bool = False
    failure: str = ""


def phases(lines: Iterable[Mapping[str, Any]]) -> list[Phase]:
    """Return the phases in their order, with their share of the time."""
    found: list[Phase] = []
    ended: datetime | None = None
    for line in lines:
        moment = time_of(line.get("time"))
        if moment is None:
            continue
        ended = moment
        if line.get("status") == "phase":
            within = line.get("within")
            if within is None or within in _TELLING:
                found.append(Phase(str(line.get("phase")), within is not None, moment))
        elif line.get("status") in _FAILED and found:
            found[-1].failed = True
            found[-1].failure = str((line.get("result") or {}).get("msg") or "")
    if not found or ended is None:
        return []
    whole = max((ended - found[0].began).total_seconds(), 0.001)
    ends = [phase.began for phase in found[1:]] + [ended]
    for phase, end in zip(found, ends, strict=True):
        phase.seconds = (end - phase.began).total_seconds()
        phase.start = round(100 * (phase.began - found[0].began).total_seconds() / whole, 2)
        phase.width = round(100 * phase.seconds / whole, 2)
    return found


def proofs(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return where a write was refused: the proof that writers were stopped."""
    found = []
    for line in lines:
        proof = (line.get("result") or {}).get("proof")
        if isinstance(proof, dict):
            found.append({"time": line.get("time"), **proof})
    return found
