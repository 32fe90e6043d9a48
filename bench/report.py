"""How benchmarks tell their results: a table for people, build/bench.json for machines.

python -m bench.report        all results in build/bench.json, as the table of docs/benchmarks.md
"""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from os import cpu_count
from pathlib import Path
from typing import Any

PATH = Path("build/bench.json")


@dataclass(frozen=True, kw_only=True)
class Result:
    """One ratio: its median, its spread, and whether it meets its goal."""

    name: str
    ratio: float
    min: float
    max: float
    goal: str
    met: bool | None

    @classmethod
    def of(
        cls,
        name: str,
        values: Sequence[float],
        *,
        at_most: float | None = None,
        at_least: float | None = None,
    ) -> Result:
        """Return the result of *values*, one per round, against a goal if there is one."""
        ratio = statistics.median(values)
        goal, met = "", None
        if at_most is not None:
            goal, met = f"≤ {at_most:g}", ratio <= at_most
        elif at_least is not None:
            goal, met = f"≥ {at_least:g}", ratio >= at_least
        return cls(name=name, ratio=ratio, min=min(values), max=max(values), goal=goal, met=met)


def publish(suite: str, results: Sequence[Result], *, note: str) -> None:
    """Print *results* and merge them into build/bench.json, by suite and name."""
    rows = [
        {"suite": suite, "note": note, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        | asdict(result)
        for result in results
    ]
    kept = [row for row in _read()["results"] if row["suite"] != suite]
    PATH.parent.mkdir(exist_ok=True)
    machine = f"{platform.system()} {platform.machine()}, {cpu_count()} cores"
    PATH.write_text(json.dumps({"machine": machine, "results": kept + rows}, indent=2) + "\n")
    print(f"\n{suite}: {note}; {machine}\n")
    print(f"  {'':<42} {'median':>8} {'min':>8} {'max':>8}   goal")
    for result in results:
        mark = {True: "met", False: "MISSED", None: ""}[result.met]
        print(
            f"  {result.name:<42} {result.ratio:>8.2f} {result.min:>8.2f} {result.max:>8.2f}   "
            f"{result.goal:<8} {mark}"
        )


def _read() -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(PATH.read_text())
    except (OSError, ValueError):
        return {"results": []}
    return found


def markdown() -> str:
    """Return all results as a table."""
    lines, suite = ["| | ratio | spread | goal | |", "| --- | --- | --- | --- | --- |"], ""
    for row in _read()["results"]:
        if row["suite"] != suite:
            suite = row["suite"]
            lines.append(f"| **{suite}**: {row['note']}, {row['at'][:10]} | | | | |")
        met = {True: "met", False: "missed", None: ""}[row["met"]]
        spread = f"{row['min']:.2f} to {row['max']:.2f}"
        lines.append(f"| {row['name']} | {row['ratio']:.2f} | {spread} | {row['goal']} | {met} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown())
