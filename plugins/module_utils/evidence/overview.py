"""``index.html`` beside the folders: all evidence of one place, searched without a network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mongo_migration.support import neutral

from . import bundle, record, report, seal
from .plots import time_of

PAGE = "index.html"
_SCRIPT = "overview.js"
# What a reader narrows the list down by, each with the values that there are.
FILTERS = ("action", "migration", "deployment", "ticket", "outcome", "seal")


@dataclass(frozen=True)
class Entry:
    """One folder, as a row shows it.

    Args:
        folder: its name.
        report: whether it has one.
        facts: what it can be searched by.
        problems: what isn't as it was sealed.
        tone: of the outcome: good, safe or bad.
    """

    folder: str
    report: bool
    facts: Mapping[str, str]
    problems: tuple[str, ...]
    tone: str

    @property
    def text(self) -> str:
        """All that a search looks at."""
        return " ".join([self.folder, *self.facts.values(), *self.problems]).lower()


def write(root: Path, missing: Sequence[str] = ()) -> Path:
    """Write the page of all folders in *root*, the newest first; return where it is.

    Args:
        root: the folder of folders.
        missing: what is wrong with them taken together.

    Raises:
        OSError: it can't be written.
    """
    entries = [_entry(folder) for folder in reversed(bundle.folders_in(root))]
    record.write_text(root / PAGE, render(entries, missing))
    return root / PAGE


def render(entries: Sequence[Entry], missing: Sequence[str]) -> str:
    """Return the page; every value in it is escaped, and its script is our own alone."""
    script = (report.TEMPLATES / _SCRIPT).read_text(encoding="utf-8")
    choices = {
        name: sorted({entry.facts[name] for entry in entries if entry.facts[name]})
        for name in FILTERS
    }
    template = report.page("overview.html.j2")
    page = template.render(
        entries=entries,
        missing=missing,
        choices={name: values for name, values in choices.items() if len(values) > 1},
        script=script,
        # The browser runs the script of this very hash, and no other.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return str(page)


def _entry(folder: Path) -> Entry:
    run, gate = record.read(folder), record.read_json(folder / "gate.json")
    outcome = str(run.get("outcome") or "unknown")
    sealed = seal.is_sealed(folder)
    problems = tuple(seal.verify(folder, neighbours=False)) if sealed else ()
    began = time_of(run.get("started"))
    facts: dict[str, Any] = {
        "began": f"{began:%Y-%m-%d %H:%M}" if began else "",
        "action": str(run.get("action") or "").replace("-", " "),
        "migration": run.get("migration"),
        "deployment": run.get("deployment"),
        "database": run.get("database"),
        "ticket": gate.get("ticket"),
        "operator": gate.get("operator"),
        "run": run.get("run"),
        "outcome": outcome.replace("_", " ") + (" (check)" if run.get("check_mode") else ""),
        "seal": "changed" if problems else "intact" if sealed else "not sealed",
    }
    return Entry(
        folder=folder.name,
        report=(folder / bundle.REPORT).is_file(),
        facts={name: neutral.line(value or "") for name, value in facts.items()},
        problems=problems,
        tone=report.tone(outcome),
    )
