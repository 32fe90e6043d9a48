"""Look once, or again and again: observations for a screen, for files, and for the throttle."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from ..errors import MigrationError
from ..server.majority_lag import MajorityLag
from ..support.stop import StopSignal
from ..values import ejson
from . import apps, files, integrity, measure, snapshot, table
from . import thresholds as judge
from .catalog import METRICS
from .circuit_breaker import Trip
from .lifetime import Life
from .write_probe import WriteProbe

Document = dict[str, Any]

# Counting what validators refuse reads documents: not at every look.
_VALIDATE_EVERY_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to watch.

    Args:
        interval: seconds from one look to the next; rates are those between two looks.
        samples: how many observations; None until the end of its life.
        long_operation_seconds: from when on an operation is listed.
        thresholds: limits in place of the defaults.
        on_critical: what to do with the run while the server is critical.
        metrics_file: gets a line for each source and observation.
        output: always holds the newest observation, as JSON.
        openmetrics_file: always holds the newest observation, as OpenMetrics.
        max_seconds: the longest life.
        stop_file: a file whose appearance ends it.
        parent_pid: the process to end with.
    """

    interval: float
    samples: int | None
    long_operation_seconds: float
    thresholds: Mapping[str, Any]
    on_critical: str
    metrics_file: str | None
    output: str | None
    openmetrics_file: str | None
    max_seconds: float | None
    stop_file: str | None
    parent_pid: int | None

    def __post_init__(self) -> None:
        if self.interval <= 0:
            raise MigrationError(f"interval must be more than 0 seconds, not {self.interval:g}.")
        if self.samples is not None and self.samples < 1:
            raise MigrationError(f"samples must be at least 1, not {self.samples}.")


class Observer:
    """Makes observations; each one's rates are those since the one before."""

    def __init__(
        self,
        client: MongoClient[Document],
        database: str,
        *,
        collections: Mapping[str, str | None],
        applications: Sequence[apps.App],
        given: Sequence[Mapping[str, Any]],
        settings: Settings,
    ) -> None:
        self._client = client
        self.database = database
        self._collections = collections
        self._apps = applications
        self._given = given
        self._settings = settings
        self._limits = judge.limits(settings.thresholds)
        self._before: snapshot.Look | None = None
        self._lag = MajorityLag()
        self._validated: tuple[float, Document] | None = None
        self.findings: list[judge.Finding] = []

    def begin(self) -> None:
        """Take the look that the first rates refer to."""
        self._before = snapshot.take(self._client, self.database, lag=self._lag)

    def observe(self) -> Document:
        """Return what there is to see now.

        Raises:
            PyMongoError: the server can't be reached.
        """
        before = self._before
        now = snapshot.take(
            self._client,
            self.database,
            slow_since=before.time if before else None,
            lag=self._lag,
        )
        rows, gaps = self._integrity(now.at)
        instances = [*self._given, *(app.look() for app in self._apps)]
        values = {
            **measure.measure(now, before),
            **apps.measure(instances),
            **integrity.measure(rows),
        }
        long = measure.long_operations(now, self._settings.long_operation_seconds)
        builds = measure.index_builds(now)
        if now.operations_seen:
            values["long_operations"] = len(long)
            values["longest_operation_seconds"] = long[0]["seconds"] if long else 0.0
            values["index_builds"] = len(builds)
        if builds:
            values["index_build_ratio"] = min(build["ratio"] for build in builds)
        self.findings = judge.judge(values, self._limits)
        observation = {
            "time": now.time,
            "database": self.database,
            "server": {
                "host": now.status.get("host"),
                "version": now.status.get("version"),
                "profiler": now.profiler.get("level"),
            },
            "metrics": {name: values[name] for name in METRICS if name in values},
            "units": {name: METRICS[name].unit for name in METRICS if name in values},
            "level": judge.worst(self.findings),
            "findings": [finding.as_dict() for finding in self.findings],
            "gaps": [*now.gaps, *gaps, *(gap for row in instances for gap in row.get("gaps", ()))],
            "operations": long,
            "slow_queries": measure.slow_queries(now),
            "index_builds_at_work": builds,
            "busiest": measure.busiest(now, before, self.database),
            "collections": rows,
            "applications": [dict(row) for row in instances],
            "migration": measure.migration(now),
        }
        self._before = now
        return observation

    def _integrity(self, now: float) -> tuple[list[Document], list[str]]:
        due = self._validated is None or now - self._validated[0] >= _VALIDATE_EVERY_SECONDS
        rows, gaps = integrity.read(self._client, self.database, self._collections, validate=due)
        if due:
            seen = {row["collection"]: row["invalid"] for row in rows if "invalid" in row}
            self._validated = (now, seen)
        elif self._validated is not None:
            for row in rows:
                if row["collection"] in self._validated[1]:
                    row["invalid"] = self._validated[1][row["collection"]]
        return rows, gaps


def run(
    client: MongoClient[Document],
    database: str,
    settings: Settings,
    *,
    collections: Mapping[str, str | None],
    described: Sequence[Mapping[str, Any]],
    given: Sequence[Mapping[str, Any]],
    stop: StopSignal,
    probe: WriteProbe | None = None,
) -> Document:
    """Watch, and return the last observation with what was done meanwhile.

    Args:
        client: connected to the deployment.
        database: the database that is migrated.
        settings: how.
        collections: the inventory's names of collections.
        described: applications to ask from here, see :class:`apps.App`.
        given: what other hosts have found of applications.
        stop: asks for the end.
        probe: tries to write meanwhile, as an ordinary user.

    Raises:
        MigrationError: a setting is wrong, or a file can't be written.
        PyMongoError: the only look of a single shot failed.
    """
    try:
        applications = apps.make(described)
    except apps.AppError as error:
        raise MigrationError(str(error)) from error
    life = Life(
        stop,
        seconds=settings.max_seconds,
        stop_file=Path(settings.stop_file) if settings.stop_file else None,
        parent=settings.parent_pid,
    )
    observer = Observer(
        client,
        database,
        collections=collections,
        applications=applications,
        given=given,
        settings=settings,
    )
    watch = _Watch(observer, Trip(client, database, action=settings.on_critical), settings)
    if probe:
        probe.start()
    try:
        watch.until_the_end(life)
    finally:
        life.close()
    seen = {"writes": probe.end()} if probe else {}
    return {**watch.result(), **seen, "ended": life.over() or "all samples taken"}


class _Watch:
    """One look after another, each judged and kept, and what came of all."""

    def __init__(self, observer: Observer, trip: Trip, settings: Settings) -> None:
        self._observer = observer
        self._trip = trip
        self._settings = settings
        self._alone = settings.samples == 1
        self._last: Document = {}
        self._worst: dict[str, Document] = {}
        self._count = 0

    def until_the_end(self, life: Life) -> None:
        """Look as often as the settings say, or as long as *life* lasts."""
        samples = self._settings.samples
        _begin(self._observer, alone=self._alone)
        if samples is None and self._settings.metrics_file:
            self._once()  # the baseline: before anything changes
        while (samples is None or self._count < samples) and life.wait(self._settings.interval):
            self._once()
        if samples is None or not self._count:
            self._once()  # how it looks at the end

    def result(self) -> Document:
        """Return the last observation with what was done meanwhile."""
        return {
            **self._last,
            "changed": False,
            "text": table.lines(self._last),
            "samples": self._count,
            "worst": sorted(self._worst.values(), key=_level, reverse=True),
            "actions": self._trip.taken,
        }

    def _once(self) -> None:
        self._last = _attempt(self._observer, alone=self._alone)
        self._count += 1
        for finding in self._last["findings"]:
            known = self._worst.get(finding["metric"])
            if known is None or _level(finding) > _level(known):
                self._worst[finding["metric"]] = finding
        self._trip.see(self._observer.findings)
        _keep(self._last, self._settings)


def _begin(observer: Observer, *, alone: bool) -> None:
    try:
        observer.begin()
    except PyMongoError:
        if alone:
            raise


def _attempt(observer: Observer, *, alone: bool) -> Document:
    try:
        return observer.observe()
    except PyMongoError as error:
        if alone:
            raise
        # A failover: the next look finds the new primary.
        observer.findings = []
        return _blind(observer.database, f"server: {snapshot.reachable(error)}")


def _blind(database: str, gap: str) -> Document:
    """Return the observation of a server that doesn't answer."""
    empty: Sequence[str] = (
        "findings", "operations", "slow_queries", "index_builds_at_work", "busiest",
        "collections", "applications",
    )  # fmt: skip
    return {
        "time": datetime.datetime.now(datetime.UTC),
        "database": database,
        "server": {"host": None, "version": None, "profiler": None},
        "metrics": {},
        "units": {},
        "level": judge.WARN,
        "gaps": [gap],
        "migration": {},
        **{key: [] for key in empty},
    }


def _level(finding: Mapping[str, Any]) -> int:
    return judge.LEVELS.index(finding["level"])


def _keep(observation: Mapping[str, Any], settings: Settings) -> None:
    """Write what the settings ask for."""
    if settings.metrics_file:
        files.append(Path(settings.metrics_file), lines(observation))
    if settings.output:
        shown = {**observation, "text": table.lines(observation)}
        files.replace(Path(settings.output), json.dumps(ejson.to_plain(shown), indent=2) + "\n")
    if settings.openmetrics_file:
        from . import openmetrics

        files.replace(Path(settings.openmetrics_file), openmetrics.text(observation), public=True)


def lines(observation: Mapping[str, Any]) -> list[Document]:
    """Return an observation as lines for ``metrics.jsonl``, one for each source."""
    time = observation["time"].isoformat(timespec="milliseconds").replace("+00:00", "Z")
    server = {
        name: value
        for name, value in observation["metrics"].items()
        if METRICS[name].section != "application"
    }
    found: list[Document] = [{"time": time, "source": "server", "values": server}]
    for row in observation["applications"]:
        numbers = {
            key: value
            for key, value in row.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and key != "status"
        }
        found.append({"time": time, "source": "app", "host": row["name"], "values": numbers})
    if observation["migration"]:
        found.append({"time": time, "source": "migrate", "values": observation["migration"]})
    return [line for line in found if line["values"]]
