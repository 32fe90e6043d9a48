"""The first page of a report: decided, done, skipped, failed, writers, way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evidence import drawing, first_page, plots, report

from tests.unit.test_evidence_report import at, evidence


def switched(seconds: float, state: str, *, block: bool = True) -> dict[str, Any]:
    result = {"state": state, "write_block": block and state == "on"}
    return {"time": at(seconds), "action": "mongo_maintenance", "result": result}


def told(seconds: float, *answering: str) -> dict[str, Any]:
    result = {"state": "on", "answering": list(answering)}
    return {"time": at(seconds), "action": "app_maintenance_everywhere", "result": result}


def rows(folder: Path) -> dict[str, first_page.Row]:
    return {row.label: row for row in report.collect(folder)["first_page"]}


def test_how_long_writers_were_stopped():
    log = [
        {"time": at(0)},
        switched(5, "on"),
        switched(20, "on"),
        switched(40, "off"),
        switched(50, "off"),
    ]
    stop = first_page.stop_of(log)
    assert stop is not None
    assert (stop.seconds, stop.ended is None) == (45, False)
    again = first_page.stop_of([*log, switched(60, "on"), {"time": at(90)}])
    assert again is not None
    assert (again.seconds, again.ended) == (85, None)  # they still are
    assert first_page.stop_of([{"time": at(0)}, switched(1, "off")]) is None


def test_writers_that_nobody_saw_refused_are_not_called_stopped(tmp_path: Path):
    flags = [switched(5, "on", block=False), told(6), switched(9, "on", block=False)]
    for log, seen in ((flags, False), ([*flags, told(10, "app1")], True)):
        stop = first_page.stop_of([*log, switched(40, "off")])
        assert stop is not None and stop.seen is seen
        folder = evidence(tmp_path / str(seen), conclusion={})
        found = first_page.rows(report.collect(folder), stop)
        (row,) = [row for row in found if row.label == "writers"]
        how = "stopped" if seen else "told to stop, which nobody saw them do,"
        assert row.text == f"{how} for 35 s, from 02:05:05 to 02:05:40"


def test_what_was_done_skipped_and_failed(tmp_path: Path):
    folder = evidence(
        tmp_path,
        result={"modified": 14_475, "indexes": ["a"], "elapsed": 0.94, "skipped": 1},
        plan={"estimate": {"seconds": 2}, "downtime": "none"},
        gate={"ticket": "CHG1042", "operator": "asha", "approver": "ravi", "reason": "month's end"},
        verification={
            "checks": [
                {"name": "good", "status": "passed"},
                {"name": "counts", "status": "not_checked", "detail": "writers go on"},
                {"name": "orphans", "status": "failed", "detail": "3 of them"},
            ]
        },
    )
    found = rows(folder)
    assert found["decided"].text == "ticket CHG1042, by asha, approved by ravi"
    assert found["decided"].more[0] == "month's end"
    assert found["done"].text == (
        "14,475 documents changed, 1 index built, in 0.9 s; about 2 s was foretold"
    )
    assert found["skipped"].text == "1 document by a policy, 1 check not made"
    assert found["skipped"].more == ("counts: writers go on",)
    assert (found["failed"].text, found["failed"].tone) == ("1 check of 3", "bad")
    assert found["failed"].more == ("orphans: 3 of them",)
    assert found["writers"].text == "were not stopped"
    assert found["way back"].text == "ansible-playbook rollback.yml -i production -e migration=004"
    assert found["way back"].more[0].startswith("exact, until prune.yml ends it")


def batch(seconds: float, documents: int = 100) -> dict[str, Any]:
    return {"kind": "set_field", "documents": documents, "batches": 1, "at": {"$date": at(seconds)}}


def test_a_pause_is_no_slow_batch():
    batches = [batch(0), batch(1), batch(2), batch(62), batch(63), batch(64)]
    ((began, ended),) = plots.standstills(batches)
    assert (ended - began).total_seconds() == 60
    rate, time = plots.of_run(batches, (), None)
    assert "between 0 and 100" in rate.summary
    assert "between 1,000 and 1,000" in time.summary  # 60,000 ms would be the pause
    assert time.svg.count('class="series') == 2  # and the line is broken there


def test_all_plots_share_one_axis_and_the_phases_are_shaded(tmp_path: Path):
    found = report.collect(evidence(tmp_path))
    assert len(found["plots"]) > 2
    shades = {plot.svg.partition("<path")[0].partition("<rect")[2] for plot in found["plots"]}
    assert len(shades) == 1
    assert found["plots"][0].svg.count("<rect") == found["short_phases"] + len(found["phases"])


def test_the_top_of_an_axis_is_a_round_number_that_holds_all():
    for value, top in ((0, 1), (0.9, 1), (1, 1), (1.2, 1.5), (38, 40), (72_345, 80_000), (99, 100)):
        assert drawing._round_up(value) == top


def test_what_a_probe_saw_stands_beside_what_was_foretold(tmp_path: Path):
    folder = evidence(
        tmp_path,
        plan={"estimate": {"seconds": 2, "stopped_seconds": 3}},
        conclusion={"headline": "done", "stopped": {"database_seconds": 4.2}},
    )
    stop = first_page.stop_of([switched(5, "on"), switched(50, "off")])
    found = first_page.rows(report.collect(folder), stop)
    (row,) = [row for row in found if row.label == "writers"]
    assert row.text == "stopped for 45 s, from 02:05:05 to 02:05:50"
    assert row.more == (
        "of it, the database refused writes for 4.2 s, as a probe saw; about 3 s was foretold",
    )
