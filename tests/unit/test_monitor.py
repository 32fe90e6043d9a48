"""What is made of metrics, of an application's answers and of its log; and when a watch ends."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mongo_migration.errors import MigrationError
from mongo_migration.monitor import apps, thresholds
from mongo_migration.monitor.catalog import METRICS
from mongo_migration.monitor.lifetime import Life
from mongo_migration.support.stop import StopSignal

from embedded.processes import wait_until
from tests.support.playbooks import ROOT


@pytest.fixture
def server() -> Iterator[tuple[str, list[int]]]:
    """A real HTTP server that answers with the codes that are put into the list."""
    codes = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(codes[0])
            self.end_headers()

        def log_message(self, *_args: Any) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/", codes
    running.shutdown()
    running.server_close()


def test_a_metric_is_judged_by_the_limit_that_it_passed_last() -> None:
    limits = thresholds.limits({})
    assert thresholds.judge({"replication_lag_seconds": 4.9}, limits) == []
    (warned,) = thresholds.judge({"replication_lag_seconds": 5}, limits)
    assert (warned.level, warned.limit) == ("warn", 5)
    (critical,) = thresholds.judge({"replication_lag_seconds": 31}, limits)
    assert (critical.level, critical.limit) == ("critical", 30)
    assert critical.advice


def test_of_some_metrics_less_is_worse() -> None:
    limits = thresholds.limits({})
    assert thresholds.judge({"free_tickets_ratio": 1.0}, limits) == []
    (found,) = thresholds.judge({"free_tickets_ratio": 0.0}, limits)
    assert found.level == "critical"


def test_the_worst_comes_first() -> None:
    found = thresholds.judge({"flow_control": 1, "free_tickets_ratio": 0.0}, thresholds.limits({}))
    assert [item.level for item in found] == ["critical", "warn"]
    assert thresholds.worst(found) == "critical"
    assert thresholds.worst([]) == "ok"


def test_an_inventory_changes_one_limit_and_switches_others_off() -> None:
    limits = thresholds.limits({"replication_lag_seconds": {"warn": 20}, "members_down": None})
    assert thresholds.judge({"replication_lag_seconds": 19, "members_down": 3}, limits) == []
    (found,) = thresholds.judge({"replication_lag_seconds": 40}, limits)
    assert found.level == "critical"


def test_wrong_limits_are_told_all_at_once_and_with_the_fix() -> None:
    with pytest.raises(MigrationError) as caught:
        thresholds.limits(
            {
                "replicaton_lag_seconds": {"warn": 1},
                "documents": {"warn": 1},
                "members_down": {"warn": "many"},
                "queued_operations": {"warn": 500},
            }
        )
    message = caught.value.message
    assert "monitor_thresholds" in message
    assert "do you mean replication_lag_seconds?" in message
    assert "documents: it is neither good nor bad" in message
    assert "members_down: warn must be a number or null, not 'many'" in message
    assert "critical (200) can't come before warn (500)" in message


def test_an_application_is_asked_and_its_refusals_are_errors(server: tuple[str, list[int]]) -> None:
    url, codes = server
    app = apps.App("app1", url=url)
    found = app.look(4)
    assert found["error_ratio"] == 0
    assert found["status"] == 200
    assert found["response_ms"] > 0
    codes[0] = 503
    found = app.look()
    assert (found["error_ratio"], found["error"]) == (1.0, "answered 503")


def test_no_answer_is_an_error_with_a_reason() -> None:
    found = apps.App("app1", url="http://127.0.0.1:1/").look()
    assert found["error_ratio"] == 1.0
    assert "refused" in found["error"]
    assert found["status"] is None


def test_new_lines_of_a_log_are_counted_once_also_through_a_rotation(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("ERROR old\nGET /\n")
    app = apps.App("app1", log={"path": str(log), "pattern": "ERROR", "request_pattern": "^GET"})
    first = app.look()
    assert (first["log_matches"], first["log_matches_per_minute"]) == (1, 0)
    with log.open("a") as file:
        file.write("ERROR one\nGET /a\nGET /b\nERROR hal")
    second = app.look()
    assert second["log_matches"] == 2
    assert second["log_matches_per_minute"] > 0
    assert second["requests_per_second"] > 0
    log.rename(tmp_path / "app.log.1")
    log.write_text("ERROR after the rotation\n")
    assert app.look()["log_matches"] == 3


def test_a_log_that_cant_be_read_is_a_gap(tmp_path: Path) -> None:
    found = apps.App("app1", log={"path": str(tmp_path / "no.log"), "pattern": "x"}).look()
    assert found["gaps"] == [f"log of app1: No such file or directory: {tmp_path / 'no.log'}"]


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ({"path": "/x", "pattern": "("}, r"monitor_app_log of app1: pattern '\(' is not a regular"),
        ({"path": "/x"}, "monitor_app_log of app1 must be"),
        ({"path": "/x", "pattern": "x", "patern": "y"}, "monitor_app_log of app1 must be"),
    ],
)
def test_a_wrong_log_is_refused(log: dict[str, str], message: str) -> None:
    with pytest.raises(apps.AppError, match=message):
        apps.make([{"name": "app1", "log": log}])


def test_a_watch_ends_with_the_process_it_belongs_to() -> None:
    parent = subprocess.Popen(["sleep", "600"])
    life = Life(StopSignal(), parent=parent.pid)
    assert life.over() == ""
    parent.kill()
    # Nobody has asked for its exit code yet: what is left of it is no life.
    assert wait_until(lambda: life.over() != "", 30)
    assert life.over() == "the command that it belongs to has ended"
    parent.wait()


def test_a_watch_ends_when_it_is_told_or_after_its_time(tmp_path: Path) -> None:
    told = tmp_path / "stop"
    life = Life(StopSignal(), stop_file=told, parent=os.getpid())
    assert life.over() == ""
    told.touch()
    assert life.over() == "told to stop"
    life.close()
    assert not told.exists()
    assert Life(StopSignal(), seconds=0).over() == "its time is over"
    stop = StopSignal()
    stop.ask("SIGTERM received")
    assert Life(stop).over() == "SIGTERM received"


def test_the_guide_names_every_metric_with_its_limits() -> None:
    guide = (ROOT / "docs" / "monitoring.md").read_text()
    for metric in METRICS.values():
        row = next(line for line in guide.splitlines() if f"`{metric.name}`" in line)
        for limit in (metric.warn, metric.critical):
            assert limit is None or f" {limit:g} |" in row
        assert not metric.worse or metric.advice, f"{metric.name}: what does a person do?"
