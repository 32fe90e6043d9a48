"""Lines over time as SVG that needs no script, no font and no network.

All plots of a page share one time axis, on which the phases of the run are shaded, so that what
happened at the same moment stands at the same place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from itertools import groupby

# None ends a line: what comes next is another one.
Point = tuple[datetime, float | None]
Series = Mapping[str, Sequence[Point]]

# A plot of more points only gets slower to draw.
MOST_POINTS = 240
COLOURS = 5
_WIDTH, _HEIGHT = 900, 120
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 8, 8, 18


@dataclass(frozen=True)
class Axis:
    """The time that every plot of a page shows.

    Args:
        began: its left end.
        ended: its right end.
        shaded: phases: name, begin and end.
    """

    began: datetime
    ended: datetime
    shaded: tuple[tuple[str, datetime, datetime], ...] = ()

    def x(self, moment: datetime) -> float:
        """Return where *moment* is, within the picture."""
        whole = max((self.ended - self.began).total_seconds(), 0.001)
        share = (moment - self.began).total_seconds() / whole
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * min(1.0, max(0.0, share)), 1)


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


def plot(title: str, unit: str, series: Series, axis: Axis) -> Plot | None:
    """Return a plot of *series* on *axis*; ``None`` where there is nothing to see."""
    drawn = {name: _thin(_sorted(points)) for name, points in series.items() if len(points) > 1}
    values = [value for points in drawn.values() for _at, value in points if value is not None]
    if not values:
        return None
    summary = (
        f"{title}, {unit}: between {number(min(values))} and {number(max(values))}, "
        f"on average {number(sum(values) / len(values))}."
    )
    top = _round_up(max(values))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(summary)}">',
        *_shades(axis),
        *_guides(axis, top),
        *(
            part
            for index, points in enumerate(drawn.values())
            for part in _line(points, axis, top, index)
        ),
        "</svg>",
    ]
    return Plot(title, unit, tuple(drawn), summary, "".join(parts))


def number(value: float) -> str:
    """Return *value* for people."""
    if value and abs(value) < 10:
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    return f"{value:,.0f}"


def _shades(axis: Axis) -> Iterator[str]:
    for count, (_name, began, ended) in enumerate(axis.shaded):
        left, right = axis.x(began), axis.x(ended)
        yield (
            f'<rect class="phase phase-{count % 2}" x="{left}" y="{_TOP}" '
            f'width="{max(0.5, right - left):.1f}" height="{_HEIGHT - _TOP - _BOTTOM}"/>'
        )


def _guides(axis: Axis, top: float) -> Iterator[str]:
    for share in (0.0, 0.5, 1.0):
        y = _y(top * share, top)
        yield f'<path class="guide" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>'
        yield _tick(_LEFT - 6, y + 4, "end", number(top * share))
    whole = axis.ended - axis.began
    pattern = "%H:%M:%S" if whole.total_seconds() > 10 else "%H:%M:%S.%f"
    for step, anchor in enumerate(("start", "middle", "middle", "middle", "end")):
        moment = axis.began + whole * step / 4
        words = moment.strftime(pattern)[: 8 if pattern == "%H:%M:%S" else 10]
        yield _tick(axis.x(moment), _HEIGHT - 3, anchor, words)


def _tick(x: float, y: float, anchor: str, words: str) -> str:
    return f'<text class="tick" x="{x}" y="{y}" text-anchor="{anchor}">{words}</text>'


def _line(points: Sequence[Point], axis: Axis, top: float, index: int) -> Iterator[str]:
    colour = index % COLOURS + 1
    for is_gap, group in groupby(points, key=lambda point: point[1] is None):
        if is_gap:
            continue
        places = [f"{axis.x(at)} {_y(value or 0.0, top)}" for at, value in group]
        if len(places) == 1:
            x, y = places[0].split()
            yield f'<circle class="dot dot-{colour}" cx="{x}" cy="{y}" r="1.8"/>'
        else:
            yield f'<path class="series series-{colour}" d="M{"L".join(places)}"/>'


def _y(value: float, top: float) -> float:
    return round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - min(1.0, max(0.0, value / top))), 1)


def _round_up(value: float) -> float:
    """Return the next number of one digit, or of 1.5 and 2.5, that is no smaller."""
    if value <= 0:
        return 1.0
    size = 10 ** math.floor(math.log10(value))
    return float(
        next(step * size for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if step * size >= value)
    )


def _sorted(points: Sequence[Point]) -> list[Point]:
    return sorted(points, key=lambda point: point[0])


def _thin(points: Sequence[Point]) -> list[Point]:
    """Return means of neighbours where there are more points than a plot can show."""
    together = -(-len(points) // MOST_POINTS)
    thinned: list[Point] = []
    for start in range(0, len(points), together):
        group = points[start : start + together]
        values = [value for _at, value in group if value is not None]
        thinned.append((group[-1][0], sum(values) / len(values) if values else None))
    return thinned
