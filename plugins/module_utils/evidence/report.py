"""``report.html``: what happened, on one page that needs nothing but itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from mongo_migration.support import neutral

from . import first_page, plots, record, timeline
from .drawing import Axis
from .lines import read_lines
from .log_writer import LOG

TEMPLATES = Path(__file__).parent / "templates"
METRICS = "metrics.jsonl"

# How an outcome looks: as it should be, a way out that worked, or a case for a person.
_GOOD = frozenset({"success"})
_SAFE = frozenset({"rolled_back", "nothing_written", "running", "at_work"})
_CUT = frozenset({"interrupted", "killed"})
_ORDER = {"failed": 0, "warning": 1, "passed": 2}
# Documents before and after that the plan shows: of each step, and in all.
_PREVIEWS, _MOST_PREVIEWS = 2, 12
# What takes less is listed by its number alone, unless it failed.
_SHORT_PHASE = 1.0
# What Ansible adds to results, and what stands elsewhere in the report.
_NOISE = frozenset({"changed", "failed", "manifest", "cleaned", "latest"})


@dataclass(frozen=True)
class Checked:
    """The result of a check of the seal, to be shown at the top.

    Args:
        when: the time of the check.
        problems: what isn't as it was sealed.
    """

    when: str
    problems: tuple[str, ...]


def render(folder: Path, *, checked: Checked | None = None) -> str:
    """Return the report of *folder*, made of nothing but its files.

    Every value is escaped, and its control and invisible characters are shown: names of collections
    and messages of servers are anybody's text.
    """
    facts = {**collect(folder), "checked": checked}
    return str(page("report.html.j2").render(facts))


def page(name: str) -> Any:
    """Return the template of a page, in which every value is escaped and made visible."""
    from jinja2 import ChainableUndefined, Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_shown,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(duration=duration, moment=moment, short=short, amount=amount)
    return environment.get_template(name)


def tone(outcome: str) -> str:
    """Return how an outcome looks: good, safe (a way out that worked), or bad."""
    return "good" if outcome in _GOOD else "safe" if outcome in _SAFE else "bad"


def _shown(value: Any) -> Any:
    """Return what an expression of the template gave; escaping it comes after this."""
    # What is marked as safe is our own markup, made of escaped parts.
    plain = isinstance(value, str) and not hasattr(value, "__html__")
    return neutral.terminal(value) if plain else value


def collect(folder: Path) -> dict[str, Any]:
    """Return what the template shows, from the files of *folder*; any of them may be missing."""
    files = {
        name: record.read_json(folder / f"{name}.json")
        for name in (
            *("conclusion", "gate", "plan", "state", "result", "verification", "rollback"),
            *("restore", "rehearsal", "backup", "journal", "versions"),
        )
    }
    run = record.read(folder)
    lines = list(read_lines(folder / LOG))
    journal = files["journal"]
    of_run = journal.get("run") or {}
    outcome = str(run.get("outcome") or record.RUNNING)
    phases = timeline.phases(lines)
    batches = journal.get("batches") or []
    facts = {
        **files,
        "folder": folder.name,
        "run": run,
        "of_run": of_run,
        "outcome": outcome,
        "tone": tone(outcome),
        "headline": files["conclusion"].get("headline") or _headline(run),
        "cut": outcome in _CUT,
        "seconds": _seconds(run),
        "phases": [phase for phase in phases if phase.failed or phase.seconds >= _SHORT_PHASE],
        "short_phases": sum(not phase.failed and phase.seconds < _SHORT_PHASE for phase in phases),
        "standstills": plots.standstills(batches),
        "proofs": timeline.proofs(lines),
        "checks": _checks([files["verification"], *_turns(files["rehearsal"])]),
        "copied": [_mapping(one) for one in files["rehearsal"].get("phases") or []],
        "left_alone": [
            _mapping(one)
            for name in ("verification", "rehearsal")
            for one in files[name].get("left_alone") or []
        ],
        "collections": of_collections(files["plan"], journal),
        "previews": _previews(files["plan"]),
        "policies": of_run.get("variables") or {},
        "plots": plots.of_run(batches, read_lines(folder / METRICS), _axis(phases)),
        "backup_facts": _scalars(files["backup"]),
        "drill": _scalars(_mapping(files["backup"].get("drill"))),
        "manifest": _mapping(files["backup"].get("manifest")),
        "file_names": sorted(path.name for path in folder.iterdir() if path.is_file()),
    }
    return {**facts, "first_page": first_page.rows(facts, first_page.stop_of(lines))}


def _axis(phases: list[timeline.Phase]) -> Axis | None:
    if not phases:
        return None
    spans = [
        (each.name, each.began, each.began + timedelta(seconds=each.seconds)) for each in phases
    ]
    return Axis(began=spans[0][1], ended=spans[-1][2], shaded=tuple(spans))


def duration(seconds: float | None) -> str:
    """Return a time span for people."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return str(timedelta(seconds=round(seconds)))


def moment(value: Any) -> str:
    """Return a time for people, in UTC."""
    found = plots.time_of(value)
    return f"{found:%Y-%m-%d %H:%M:%S} UTC" if found else "-"


def amount(value: Any) -> str:
    """Return a number with its thousands apart, and anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-" if value is None else short(value, 120)
    return f"{value:,}"


def short(value: Any, limit: int = 2000) -> str:
    """Return *value* as text: JSON where it is not text, cut where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else f"{text[:limit]}…"


def _headline(run: Mapping[str, Any]) -> str:
    what = f"{run.get('action') or 'run'} {run.get('migration') or ''}".strip().capitalize()
    outcome = str(run.get("outcome") or "unknown")
    early = " before its conclusion" if outcome in _CUT or outcome == record.RUNNING else ""
    return f"{what}: {outcome.replace('_', ' ')}{early}"


def _seconds(run: Mapping[str, Any]) -> float | None:
    began, ended = plots.time_of(run.get("started")), plots.time_of(run.get("ended"))
    return (ended - began).total_seconds() if began and ended else None


def _turns(rehearsal: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [_mapping(turn) for turn in rehearsal.get("turns") or []]


def _checks(verifications: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the checks, what needs attention first, and how many there are of each kind."""
    checks = [
        check
        for verification in verifications
        for check in verification.get("checks") or []
        if isinstance(check, dict)
    ]
    rows = sorted(checks, key=lambda check: _ORDER.get(str(check.get("status")), 3))
    passed = [
        check for check in rows if check.get("status") == "passed" and not check.get("detail")
    ]
    telling = [check for check in rows if check not in passed]
    failed = sum(check.get("status") == "failed" for check in rows)
    all_passed = sum(check.get("status") == "passed" for check in rows)
    return {
        "rows": rows,
        "telling": telling,
        "quiet": passed,
        "passed": all_passed,
        "failed": failed,
        "other": len(rows) - all_passed - failed,
    }


def _planned(step: Mapping[str, Any], name: str, real: str) -> int:
    """Return how many documents of a collection a step was to write."""
    amounts = _mapping(step.get("amounts"))
    # What a step changes elsewhere than in its own collection stands beside it.
    also = _mapping(step.get("also"))
    elsewhere = int(also.get(real) or 0)
    if step.get("collection") != name:
        return elsewhere
    changes = 0 if also else int(amounts.get("changes") or 0)
    return elsewhere + changes + int(amounts.get("inserts") or 0) + int(amounts.get("removes") or 0)


def _written(row: Mapping[str, Any], name: str, real: str) -> tuple[int, int] | None:
    """Return how many documents of a collection a row of the journal wrote, in how many batches.

    Until 1.0 a row said only how many documents of its own collection it was about.
    """
    if row.get("kind") == "create_index":
        return None
    count = int(row.get("batches") or 1)
    if "written" in row:
        written = _mapping(row["written"])
        return (int(written[real]), count) if real in written else None
    return (row.get("documents") or 0, count) if row.get("collection") in (name, real) else None


def of_collections(plan: Mapping[str, Any], journal: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return for each collection what there was, what was to be written, and what there is."""
    before = _mapping(plan.get("before"))
    after = _mapping(journal.get("counts"))
    names = list(dict.fromkeys([*before, *after]))
    real = {step.get("collection"): step.get("real_name") for step in plan.get("steps") or []} | {
        name: name for name in names if name not in before
    }
    rows = []
    for name in names:
        planned = sum(_planned(step, name, str(real.get(name))) for step in plan.get("steps") or [])
        batches = [
            found
            for row in journal.get("batches") or []
            if (found := _written(row, name, str(real.get(name, name)))) is not None
        ]
        difference = None
        if before.get(name) is not None and after.get(name) is not None:
            difference = after[name] - before[name]
        rows.append(
            {
                "name": name,
                "before": before.get(name),
                "planned": planned,
                "written": sum(written for written, _batches in batches),
                "batches": sum(count for _written, count in batches),
                "after": after.get(name),
                "difference": difference,
            }
        )
    return rows


def _previews(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return some documents of the plan as they were and as they would be, a few of each step."""
    return [
        {"collection": step.get("real_name"), **shown}
        for step in plan.get("steps") or []
        for shown in (step.get("preview") or [])[:_PREVIEWS]
        if isinstance(shown, dict) and "before" in shown
    ][:_MOST_PREVIEWS]


def _scalars(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key.replace("_", " "): value
        for key, value in values.items()
        if key not in _NOISE and isinstance(value, str | int | float | bool) and value != ""
    }


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
