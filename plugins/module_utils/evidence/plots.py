"""Plots of a run over time, as SVG that needs no script, no font and no network."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as Xml

Point = tuple[datetime, float]
Series = Mapping[str, Sequence[Point]]

# A plot of more points only gets slower to draw.
MOST_POINTS = 240
_WIDTH, _HEIGHT = 560, 200


@dataclass(frozen=True)
class Plot:
    """One plot.

    Args:
        title: what is shown.
        unit: of its values.
        names: of its lines, in the order of their colours.
        summary: the same in words, for those who don't see it.
        svg: the picture.
    """

    title: str
    unit: str
    names: tuple[str, ...]
    summary: str
    svg: str


# Title, unit, source, and which metrics: their names end with their units, see docs/evidence.md.
_METRICS = (
    ("Latency of the server", "ms", "server", re.compile(r"latency.*_ms$")),
    ("Replication lag", "s", "server", re.compile(r"lag.*seconds$")),
    ("Operations of the server", "per second", "server", re.compile(r"^operations_per_second$")),
    ("Answers of the application", "ms", "app", re.compile(r"response.*_ms$|^response_ms$")),
    ("Errors of the application", "of all answers", "app", re.compile(r"error_ratio$")),
)


def of_journal(batches: Sequence[Mapping[str, Any]]) -> list[Plot]:
    """Return throughput and time per batch of a run, from its journal."""
    rows = [
        (moment, row)
        for row in batches
        if row.get("kind") != "create_index" and (moment := time_of(row.get("at"))) is not None
    ]
    if len(rows) < 3:
        return []  # nothing that a line could show
    rates, times = [], []
    for (before, _), (moment, row) in pairwise(rows):
        seconds = (moment - before).total_seconds()
        if seconds > 0:
            rates.append((moment, row["documents"] / seconds))
            times.append((moment, 1000 * seconds / row["batches"]))
    made = [
        plot("Documents written", "per second", {"documents": rates}),
        plot("Time for a batch", "ms", {"batch": times}),
    ]
    return [each for each in made if each is not None]


def of_metrics(lines: Iterable[Mapping[str, Any]]) -> list[Plot]:
    """Return the plots of what was sampled while the run went on, from ``metrics.jsonl``."""
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
    made = [
        plot(title, unit, found[title])
        for title, unit, _source, _names in _METRICS
        if title in found
    ]
    return [each for each in made if each is not None]


def plot(title: str, unit: str, series: Series) -> Plot | None:
    """Return a plot of *series* over time; ``None`` where there is nothing to see."""
    import pygal

    drawn = {name: _thin(sorted(points)) for name, points in series.items() if len(points) > 1}
    if not drawn:
        return None
    values = [value for points in drawn.values() for _moment, value in points]
    chart = pygal.DateTimeLine(
        width=_WIDTH,
        height=_HEIGHT,
        style=_style(),
        js=(),
        show_legend=False,
        dots_size=1.6 if max(map(len, drawn.values())) < 40 else 0,
        fill=len(drawn) == 1,
        margin=2,
        margin_right=30,
        spacing=8,
        range=(0, max(values) or 1),
        min_scale=3,
        max_scale=5,
        show_x_guides=False,
        x_value_formatter=_clock(drawn),
        value_formatter=number,
    )
    chart.x_labels = _ticks(drawn)
    for name, points in drawn.items():
        chart.add(name, points)
    summary = (
        f"{title}, {unit}: between {number(min(values))} and {number(max(values))}, "
        f"on average {number(sum(values) / len(values))}."
    )
    return Plot(title, unit, tuple(drawn), summary, _bare(chart, title, summary))


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


def number(value: float) -> str:
    """Return *value* for people."""
    if value and abs(value) < 10:
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    return f"{value:,.0f}"


def _words(name: str) -> str:
    return re.sub(r"_(ms|seconds|ratio|per_second)$", "", name).replace("_", " ")


def _thin(points: Sequence[Point]) -> list[Point]:
    """Return means of neighbours where there are more points than a plot can show."""
    together = -(-len(points) // MOST_POINTS)
    groups = [points[i : i + together] for i in range(0, len(points), together)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def _ticks(series: Series) -> list[datetime]:
    """Return five times, evenly along the plot."""
    moments = [moment for points in series.values() for moment, _value in points]
    first, last = min(moments), max(moments)
    return [first + (last - first) * step / 4 for step in range(5)]


def _clock(series: Series) -> Callable[[datetime], str]:
    """Return how a time is written; within seconds, with their tenths."""
    moments = [moment for points in series.values() for moment, _value in points]
    if max(moments) - min(moments) > timedelta(seconds=10):
        return lambda moment: moment.strftime("%H:%M:%S")
    return lambda moment: moment.strftime("%H:%M:%S.%f")[:-5]


def _style() -> Any:
    """Return colours that the page decides on, so that they suit light, dark and paper."""
    from pygal.style import Style

    return Style(
        background="transparent",
        plot_background="transparent",
        foreground="var(--soft)",
        foreground_strong="var(--ink)",
        foreground_subtle="var(--rule)",
        colors=tuple(f"var(--line-{index})" for index in range(1, 6)),
        font_family="inherit",
        label_font_size=11,
        major_label_font_size=11,
        opacity=".14",
        opacity_hover=".14",
        stroke_width=1.8,
        transition="0s",
        guide_stroke_dasharray="0",
        major_guide_stroke_dasharray="0",
    )


def _bare(chart: Any, title: str, summary: str) -> str:
    """Return the picture without the scripts that pygal adds for its tooltips."""
    chart.uuid = re.sub(r"\W+", "-", title.lower())
    root = Xml.fromstring(chart.render(is_unicode=True, disable_xml_declaration=True))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("script", "title", "desc"):
                parent.remove(child)
    root.set("role", "img")
    root.set("aria-label", summary)
    Xml.register_namespace("", "http://www.w3.org/2000/svg")
    return Xml.tostring(root, encoding="unicode")
