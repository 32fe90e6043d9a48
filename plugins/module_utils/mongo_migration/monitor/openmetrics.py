"""The metrics as OpenMetrics text, for the textfile collector of node_exporter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.openmetrics.exposition import generate_latest

from ..support import neutral
from .catalog import METRICS
from .thresholds import LEVELS

_PREFIX = "mongo_migration"
# Labels and value, for each thing that a gauge is about.
Rows = list[tuple[dict[str, str], float]]


def text(observation: Mapping[str, Any]) -> str:
    """Return one observation as OpenMetrics text.

    All are gauges, which the older text format of Prometheus writes in the same way: every
    version of node_exporter reads the file.
    """
    registry = CollectorRegistry()
    where = {"database": str(observation["database"])}

    def gauge(name: str, help_text: str, rows: Rows) -> None:
        labels = sorted({key for more, _value in rows for key in (*where, *more)})
        made = Gauge(f"{_PREFIX}_{name}", help_text, labels, registry=registry)
        for more, value in rows:
            given = {**dict.fromkeys(labels, ""), **where, **more}
            made.labels(**{key: neutral.label(text) for key, text in given.items()}).set(value)

    for name, value in observation["metrics"].items():
        metric = METRICS[name]
        unit = f" ({metric.unit})" if metric.unit else ""
        gauge(name, f"{metric.label}{unit}", [({}, value)])
    levels = [
        ({"metric": item["metric"]}, float(LEVELS.index(item["level"])))
        for item in observation["findings"]
    ]
    if levels:
        gauge("finding_level", "metrics beyond a limit: 1 is a warning, 2 is critical", levels)
    gauge(
        "level", "0 is well, 1 is a warning, 2 is critical",
        [({}, float(LEVELS.index(observation["level"])))],
    )  # fmt: skip
    for name, help_text, rows in _things(observation):
        gauge(name, help_text, rows)
    gauge(
        "observed_timestamp_seconds", "when this was seen",
        [({}, observation["time"].timestamp())],
    )  # fmt: skip
    return str(generate_latest(registry).decode())  # type: ignore[no-untyped-call]


def _things(observation: Mapping[str, Any]) -> Iterator[tuple[str, str, Rows]]:
    """Yield the gauges of collections, instances and the run at work, where there are any."""
    there = [row for row in observation["collections"] if not row.get("missing")]
    for key, help_text in (
        ("documents", "documents of the collection"),
        ("indexes", "indexes of the collection"),
        ("bytes", "bytes of the collection's documents"),
    ):
        rows = [({"collection": row["collection"]}, row[key]) for row in there if key in row]
        if rows:
            yield f"collection_{key}", help_text, rows
    for key, help_text in (
        ("response_ms", "response time of the instance (ms)"),
        ("error_ratio", "health requests of the instance that failed (ratio)"),
    ):
        rows = [({"host": row["name"]}, row[key]) for row in observation["applications"]
                if row.get(key) is not None]  # fmt: skip
        if rows:
            yield f"app_host_{key}", help_text, rows
    if observation["migration"]:
        for key in ("done", "total"):
            done = float(observation["migration"][key])
            yield f"run_{key}", f"documents of the run at work, {key}", [({}, done)]
