"""Metrics held to their limits: what is well, what is a warning, what is critical."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import Collector, MigrationError
from .catalog import ABOVE, BELOW, METRICS, Metric

OK, WARN, CRITICAL = LEVELS = ("ok", "warn", "critical")
_KEYS = frozenset({"warn", "critical"})


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One metric beyond a limit."""

    metric: str
    level: str
    value: float
    limit: float
    text: str
    advice: str

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as plain values."""
        return dict(vars(self))


def limits(given: Mapping[str, Any]) -> dict[str, Metric]:
    """Return all metrics, with the limits *given* in place of the defaults.

    Args:
        given: ``{metric: {warn: number or null, critical: number or null}}``; null in place of
            the limits switches both off.

    Raises:
        MigrationError: an unknown metric, or limits that make no sense; all of them at once.
    """
    problems = Collector(MigrationError)
    made = dict(METRICS)
    for name, asked in given.items():
        known = METRICS.get(name)
        if known is None:
            near = difflib.get_close_matches(str(name), METRICS, n=1)
            hint = f"do you mean {near[0]}?" if near else f"known are {', '.join(METRICS)}"
            problems.add(f"{name}: there is no such metric; {hint}")
            continue
        problem = _problem(known, asked)
        if problem:
            problems.add(f"{name}: {problem}")
            continue
        made[name] = replace(known, **(dict.fromkeys(_KEYS) if asked is None else dict(asked)))
        if problem := _order(made[name]):
            problems.add(f"{name}: {problem}")
    problems.raise_if_any("monitor_thresholds of the inventory are wrong:")
    return made


def judge(values: Mapping[str, float], metrics: Mapping[str, Metric]) -> list[Finding]:
    """Return what is beyond its limit, the worst first."""
    found = [
        finding
        for name, metric in metrics.items()
        if name in values and (finding := _judge(metric, values[name])) is not None
    ]
    return sorted(found, key=lambda finding: -LEVELS.index(finding.level))


def worst(findings: Iterable[Finding]) -> str:
    """Return the worst level among *findings*."""
    return max((finding.level for finding in findings), key=LEVELS.index, default=OK)


def amount(value: float, unit: str) -> str:
    """Return a number with its unit, for people."""
    if unit == "ratio":
        return f"{100 * value:.1f} %"
    text = f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:,.1f}"
    return f"{text} {unit}".rstrip()


def _judge(metric: Metric, value: float) -> Finding | None:
    for level in (CRITICAL, WARN):
        limit = metric.critical if level == CRITICAL else metric.warn
        if limit is None or not _beyond(value, limit, metric.worse):
            continue
        word = "at least" if metric.worse == ABOVE else "at most"
        return Finding(
            metric=metric.name,
            level=level,
            value=value,
            limit=limit,
            text=f"{metric.label}: {amount(value, metric.unit)} "
            f"({level} from {word} {amount(limit, metric.unit)} on)",
            advice=metric.advice,
        )
    return None


def _beyond(value: float, limit: float, worse: str) -> bool:
    return value >= limit if worse == ABOVE else value <= limit if worse == BELOW else False


def _problem(metric: Metric, asked: Any) -> str:
    if asked is None:
        return ""
    if not isinstance(asked, Mapping) or not set(asked) <= _KEYS or not asked:
        return "give {warn: number, critical: number}, one of them, or null for no limits"
    if not metric.worse:
        return "it is neither good nor bad, so it takes no limits"
    for key, value in asked.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            return f"{key} must be a number or null, not {value!r}"
    return ""


def _order(metric: Metric) -> str:
    if metric.warn is None or metric.critical is None or metric.warn == metric.critical:
        return ""
    if _beyond(metric.critical, metric.warn, metric.worse):
        return ""
    return (
        f"{metric.worse} its limits it is worse, so critical ({metric.critical:g}) can't come "
        f"before warn ({metric.warn:g})"
    )
