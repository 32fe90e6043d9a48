"""Counting, the file between module and screen, and the line on it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from mongo_migration.support import progress

from tests.support.playbooks import ROOT

AT_WORK: dict[str, Any] = {
    "phase": "migrate",
    "done": 12_400,
    "total": 19_874,
    "unit": "documents",
    "rate": 3120.4,
    "eta_seconds": 2,
    "collection": "items",
    "batch": 1000,
    "lag_seconds": 0.21,
}


@pytest.fixture(scope="module")
def plugin() -> ModuleType:
    """The action plugin, as Ansible loads it."""
    path = ROOT / "plugins" / "action" / "mongo_migrate.py"
    spec = importlib.util.spec_from_file_location("action_mongo_migrate", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_meter_tells_rate_and_remaining_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, events = [0.0], list[dict[str, Any]]()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    meter = progress.Meter(events.append, phase="migrate", total=1000, done=100)
    now[0] = 2.0
    meter.advance(200, collection="items")
    assert events[-1]["rate"] == 100.0
    assert events[-1]["eta_seconds"] == 7
    assert (events[-1]["done"], events[-1]["collection"]) == (300, "items")


def test_a_pause_does_not_count_against_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now, events = [0.0], list[dict[str, Any]]()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    meter = progress.Meter(events.append, phase="migrate", total=10_000)
    now[0] = 1.0
    meter.advance(100)
    now[0] = 601.0
    meter.report(paused="paused by anna")
    now[0] = 602.0
    meter.advance(100)
    assert events[-1]["rate"] == 100.0
    assert "paused" not in events[-1]


def test_the_file_keeps_the_count_while_something_interrupts(tmp_path: Path) -> None:
    file = tmp_path / "progress.json"
    write = progress.sink(str(file))
    write(AT_WORK)
    write({"phase": "migrate", "waiting": "waiting for a primary, 290 s left"})
    found = json.loads(file.read_text())
    assert found["done"] == 12_400
    assert found["waiting"].startswith("waiting for a primary")
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    progress.sink(str(tmp_path / "gone" / "progress.json"))(AT_WORK)


def test_the_bar_says_what_there_is_to_say(plugin: ModuleType) -> None:
    assert plugin.bar(AT_WORK, 200, "█") == (
        "migrate ██████████████████░░░░░░░░░░░░  62.3 % · 12,400/19,874 documents · 3,120/s · "
        "0:02 left · items · lag 0.2 s · batches of 1,000"
    )


def test_the_bar_works_without_unicode(plugin: ModuleType) -> None:
    assert plugin.bar(AT_WORK, 60, "#") == "migrate #######.....  62.3 % - 12,400/19,874 documents"


@pytest.mark.parametrize("width", range(10, 160, 7))
def test_the_bar_fits_every_terminal(plugin: ModuleType, width: int) -> None:
    assert len(plugin.bar({**AT_WORK, "throttle": "lag 3.2 s > 2 s"}, width, "█")) <= width


@pytest.mark.parametrize(
    ("why", "words"),
    [
        ({"throttle": "lag 3.2 s > 2 s"}, "· lag 3.2 s > 2 s · 3,120/s"),
        ({"paused": "paused by anna@bastion since 02:10:30 UTC"}, "· paused by anna@bastion since"),
        ({"waiting": "waiting for a primary, 290 s left"}, "· waiting for a primary, 290 s left"),
    ],
)
def test_the_reason_for_the_speed_stands_before_the_speed(
    plugin: ModuleType, why: Mapping[str, str], words: str
) -> None:
    assert words in plugin.bar({**AT_WORK, **why}, 200, "█")


@pytest.mark.parametrize("width", range(40, 160, 5))
@pytest.mark.parametrize("key", ["paused", "waiting", "throttle"])
def test_why_it_stands_still_is_said_at_every_width(
    plugin: ModuleType, width: int, key: str
) -> None:
    shown = plugin.bar({**AT_WORK, key: "paused by anna@bastion since 02:10:30"}, width, "█")
    assert "paused by anna@bas" in shown
    assert "migrate" in shown
    assert len(shown) <= width


@pytest.mark.parametrize("width", [-1, 0, 1, 2])
def test_a_terminal_without_a_size_is_no_error(plugin: ModuleType, width: int) -> None:
    assert len(plugin.bar(AT_WORK, width, "█")) <= max(0, width)


def test_what_cannot_be_drawn_leaves_the_signals_heard(plugin: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "progress.json"
    file.write_text(json.dumps(AT_WORK))

    def fail(_text: str) -> None:
        raise ValueError("no such screen")

    class Relay:
        asked = False

        def wait(self, _seconds: float) -> None:
            pass

        def wake(self) -> None:
            pass

    view = plugin.View(file, plugin.Screen(fail, lambda: 80))
    watch = plugin.Watch(view, Relay())
    watch._show()
    watch._show()  # it is asked no more
    with watch:
        pass


def test_a_hundred_percent_means_done(plugin: ModuleType) -> None:
    almost = {**AT_WORK, "done": 99_999, "total": 100_000}
    assert " 99.9 %" in plugin.bar(almost, 200, "█")
    assert "100.0 %" in plugin.bar({**almost, "done": 100_000}, 200, "█")


def test_a_phase_without_a_count_is_named(plugin: ModuleType) -> None:
    assert plugin.bar({"phase": "plan"}, 80, "█") == "plan"
    index = {"phase": "index", "done": 0, "total": 0, "collection": "items"}
    assert plugin.bar(index, 80, "█") == "build index · items"


def test_a_line_for_a_log(plugin: ModuleType) -> None:
    assert plugin.line(AT_WORK) == (
        "migrate: 62.3 % 12,400/19,874 documents, 3,120/s, 0:02 left, items, lag 0.2 s, "
        "batches of 1,000"
    )


def test_a_log_gets_a_line_every_thirty_seconds(plugin: ModuleType) -> None:
    now, shown = [0.0], list[str]()
    lines = plugin.Lines(shown.append, clock=lambda: now[0])
    for second in range(0, 91):
        now[0] = float(second)
        lines.update(AT_WORK)
    lines.close()
    assert len(shown) == 3
    assert not any("\r" in text or "\x1b" in text for text in shown)


def test_a_screen_is_drawn_in_place_and_left_empty(plugin: ModuleType) -> None:
    shown: list[str] = []
    screen = plugin.Screen(shown.append, lambda: 80)
    screen.update(AT_WORK)
    screen.update(AT_WORK)
    screen.update({**AT_WORK, "done": 13_400})
    screen.close()
    assert len(shown) == 3, "what hasn't changed isn't drawn again"
    assert all(text.startswith("\r\x1b[K") for text in shown)
    assert all("\n" not in text for text in shown)
    assert shown[-1] == "\r\x1b[K"


def test_a_screen_on_which_nothing_was_drawn_is_left_alone(plugin: ModuleType) -> None:
    shown: list[str] = []
    plugin.Screen(shown.append, lambda: 80).close()
    assert shown == []
