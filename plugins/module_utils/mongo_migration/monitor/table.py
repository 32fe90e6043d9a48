"""An observation for people: aligned lines in sections, what is wrong first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..support import neutral
from .catalog import METRICS, SECTIONS
from .thresholds import amount

_MARKS = {"critical": "!!", "warn": "! ", "ok": "  "}
_HEADINGS = {"database": "DATABASE", "application": "APPLICATION", "integrity": "DATA INTEGRITY"}
_MOST_OPERATIONS = 5


def lines(observation: Mapping[str, Any]) -> list[str]:
    """Return the table, without colours, each line as wide as it needs."""
    levels = {item["metric"]: item["level"] for item in observation["findings"]}
    shown = [_title(observation), *_findings(observation)]
    for section in SECTIONS:
        body = _metrics(observation, section, levels)
        if section == "database":
            body += _lists(observation)
        elif section == "application":
            body += _applications(observation["applications"])
        else:
            body += _collections(observation["collections"])
        if body:
            shown += ["", _HEADINGS[section], *body]
    if observation["gaps"]:
        shown += ["", "NOT SEEN", *(f"  {gap}" for gap in observation["gaps"])]
    return [neutral.line(line.rstrip()) for line in shown]


def _title(observation: Mapping[str, Any]) -> str:
    server = observation["server"]
    version = f", MongoDB {server['version']}" if server["version"] else ""
    host = f" on {server['host']}" if server["host"] else ""
    run = observation["migration"]
    progress = ""
    if run.get("total"):
        share = 100 * run["done"] / run["total"]
        progress = f"  run at work: {run['done']:,} of {run['total']:,} ({share:.1f} %)"
    return (
        f"{observation['time']:%Y-%m-%d %H:%M:%S} UTC  {observation['database']}{host}{version}  "
        f"{observation['level'].upper()}{progress}"
    )


def _findings(observation: Mapping[str, Any]) -> list[str]:
    shown = []
    for item in observation["findings"]:
        shown += [f"{_MARKS[item['level']]} {item['text']}", f"   -> {item['advice']}"]
    return shown


def _metrics(observation: Mapping[str, Any], section: str, levels: Mapping[str, str]) -> list[str]:
    """Return the numbers of a section."""
    return _beside(
        [
            f"{_MARKS[levels.get(name, 'ok')]}{METRICS[name].label:<24}"
            f"{amount(value, METRICS[name].unit):>11}"
            for name, value in observation["metrics"].items()
            if METRICS[name].section == section
        ]
    )


def _beside(cells: Sequence[str]) -> list[str]:
    """Return *cells* two beside each other, so that 80 columns and 40 lines are enough."""
    half = (len(cells) + 1) // 2
    rest = [*cells[half:], ""]
    return [f"{left:<40}{right}" for left, right in zip(cells[:half], rest, strict=False)]


def _lists(observation: Mapping[str, Any]) -> list[str]:
    shown = []
    for item in observation["index_builds_at_work"]:
        shown.append(
            f"  index build   {item['namespace']}: {item['what']}, {100 * item['ratio']:.1f} %"
        )
    for item in observation["operations"][:_MOST_OPERATIONS]:
        waits = ", waits for a lock" if item["waiting"] else ""
        plan = f" {item['plan']}" if item["plan"] else ""
        shown.append(
            f"  long          {item['seconds']:,.0f} s {item['op']} {item['namespace']}{plan}, "
            f"opid {item['opid']}, {item['user'] or 'no user'} from {item['client']}{waits}"
        )
    more = len(observation["operations"]) - _MOST_OPERATIONS
    if more > 0:
        shown.append(f"                and {more} more")
    shown += [
        f"  slow          {item['milliseconds']:,} ms {item['op']} {item['namespace']} "
        f"{item['plan']}"
        for item in observation["slow_queries"]
    ]
    if observation["busiest"]:
        busy = ", ".join(
            f"{item['collection']} (r {item['reads_ms']:,.0f} w {item['writes_ms']:,.0f} ms)"
            for item in observation["busiest"][:3]
        )
        shown.append(f"  busiest       {busy}")
    if observation["server"]["profiler"] == 0:
        shown.append("  slow queries  not seen: the profiler is off; long operations are listed")
    return shown


def _applications(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    shown = [f"  {'instance':<26}{'response':>11}{'errors':>9}{'answers/s':>11}{'log':>7}  "]
    for row in rows:
        response = amount(row["response_ms"], "ms") if "response_ms" in row else "-"
        errors = amount(row["error_ratio"], "ratio") if "error_ratio" in row else "-"
        rate = f"{row['requests_per_second']:,.1f}" if "requests_per_second" in row else "-"
        log = f"{row['log_matches']:,}" if "log_matches" in row else "-"
        shown.append(
            f"  {row['name']:<26}{response:>11}{errors:>9}{rate:>11}{log:>7}  "
            f"{row.get('error', '')}"
        )
    return shown


def _collections(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the collections, and below them those that are not as they should be."""
    cells, notes = [], []
    for row in rows:
        name = row["collection"]
        if row.get("missing"):
            notes.append(f"! {name}: named in mongo_collections, and not there")
            continue
        cells.append(f"  {name:<20}{row['documents']:>11,}{row.get('indexes', '-'):>3} ix")
        if row.get("unfinished"):
            notes.append(f"  {name}: still building {', '.join(row['unfinished'])}")
        if row.get("invalid"):
            notes.append(f"! {name}: its validator refuses {row['invalid']:,} documents")
    return [*_beside(cells), *notes]
