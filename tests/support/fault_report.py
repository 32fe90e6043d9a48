"""What the fault suite found, as build/torture.json and as a table at the end of its run."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .playbooks import ROOT

FILE = ROOT / "build" / "torture.json"


@dataclass
class Row:
    """One fault during one operation."""

    fault: str
    during: str
    outcome: str  # went on | stopped, and the same command went on
    stopped_by: str
    seconds_to_go_on: float
    acknowledged: int
    lost: int
    notes: dict[str, Any] = field(default_factory=dict)


def write(rows: list[Row], version: str, file: Path = FILE) -> None:
    """Write the rows; those of an earlier run that this one didn't repeat stay."""
    known: dict[tuple[str, str], dict[str, Any]] = {}
    if file.exists():
        earlier = json.loads(file.read_text())
        known = {(row["fault"], row["during"]): row for row in earlier["rows"]}
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    known |= {(row.fault, row.during): {**asdict(row), "at": now} for row in rows}
    file.parent.mkdir(parents=True, exist_ok=True)
    table = {
        "server": version,
        "survived": len(known),
        "lost": sum(row["lost"] for row in known.values()),
        "rows": list(known.values()),
    }
    file.write_text(json.dumps(table, indent=2) + "\n")


def table(rows: list[Row]) -> list[str]:
    """Return the rows as lines to read."""
    lines = [
        f"{'fault':<16}{'during':<14}{'it':<10}{'s to go on':>11}{'acknowledged':>14}{'lost':>6}"
    ]
    for row in sorted(rows, key=lambda one: (one.fault, one.during)):
        lines.append(
            f"{row.fault:<16}{row.during:<14}{row.outcome:<10}{row.seconds_to_go_on:>11.1f}"
            f"{row.acknowledged:>14,}{row.lost:>6}"
            f"{'  ' + row.stopped_by if row.stopped_by else ''}"
        )
    return lines
