"""What is plotted of a run: which series, from which files, on the one time axis of the page."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from statistics import median
from typing import Any

from . import drawing
from .drawing import Axis, Plot, Point

# Title, unit, source, and which metrics: their names end with their units, see docs/evidence.md.
_METRICS = (
    ("Latency of the server", "ms", "server", re.compile(r"latency.*_ms$")),
    ("Replication lag", "s", "server", re.compile(r"lag.*seconds$")),
    ("Operations of the server", "per second", "server", re.compile(r"^operations_per_second$")),
    ("Answers of the application", "ms", "app", re.compile(r"response.*_ms$|^response_ms$")),
    ("Errors of the application", "of all answers", "app", re.compile(r"error_ratio$")),
)
# Between two batches, so many times the usual time and at least so many seconds isn't a slow batch:
# the run stood still, by a pause or because it was stopped and resumed.
_STANDSTILL_TIMES, _STANDSTILL_SECONDS = 10, 5.0


def of_run(
    batches: Sequence[Mapping[str, Any]], metrics: Iterable[Mapping[str, Any]], axis: Axis | None
) -> list[Plot]:
    """Return the plots of a run, all on *axis*; without one, on the span of what there is."""
    series = {**_of_journal(batches), **_of_metrics(metrics)}
    moments = [point[0] for lines in series.values() for line in lines.values() for point in line]
    if axis is None and moments:
        axis = Axis(began=min(moments), ended=max(moments))
    if axis is None:
        return []
    made = [drawing.plot(*named, lines, axis) for named, lines in series.items()]
    return [each for each in made if each is not None]


def standstills(batches: Sequence[Mapping[str, Any]]) -> list[tuple[datetime, datetime]]:
    """Return the times in which the run wrote nothing between two batches."""
    moments = sorted(filter(None, (time_of(row.get("at")) for row in _writing(batches))))
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(moments)]
    if len(gaps) < 2:
        return []
    least = max(_STANDSTILL_SECONDS, _STANDSTILL_TIMES * median(gaps))
    return [pair for pair, gap in zip(pairwise(moments), gaps, strict=True) if gap >= least]


def _writing(batches: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in batches if row.get("kind") != "create_index"]


def _of_journal(
    batches: Sequence[Mapping[str, Any]],
) -> dict[tuple[str, str], dict[str, list[Point]]]:
    rows = [(at, row) for row in _writing(batches) if (at := time_of(row.get("at"))) is not None]
    if len(rows) < 3:
        return {}  # nothing that a line could show
    still = set(standstills(batches))
    rates: list[Point] = []
    times: list[Point] = []
    for (before, _), (moment, row) in pairwise(rows):
        seconds = (moment - before).total_seconds()
        if (before, moment) in still:
            # It wrote nothing: said as that, and no batch of so long.
            rates += [(before, 0.0), (moment, 0.0)]
            times.append((moment, None))
        elif seconds > 0:
            rates.append((moment, row["documents"] / seconds))
            times.append((moment, 1000 * seconds / row["batches"]))
    return {
        ("Documents written", "per second"): {"documents": rates},
        ("Time for a batch", "ms"): {"batch": times},
    }


def _of_metrics(
    lines: Iterable[Mapping[str, Any]],
) -> dict[tuple[str, str], dict[str, list[Point]]]:
    """Return what was sampled while the run went on, from ``metrics.jsonl``."""
    found: dict[str, dict[str, list[Point]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        moment, values = time_of(line.get("time")), line.get("values")
        if moment is None or not isinstance(values, dict):
            continue
        for name, value in values.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            for title, _unit, source, names in _METRICS:
                if line.get("source") == source and names.search(str(name)):
                    label = str(line.get("host") or name)
                    found[title][_words(label)].append((moment, float(value)))
    return {(title, unit): found[title] for title, unit, *_rest in _METRICS if title in found}


def time_of(value: Any) -> datetime | None:
    """Return the time that a file of the evidence holds, in any of its forms."""
    if isinstance(value, dict):
        value = value.get("$date")
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value / 1000, UTC)
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _words(name: str) -> str:
    return re.sub(r"_(ms|seconds|ratio|per_second)$", "", name).replace("_", " ")
