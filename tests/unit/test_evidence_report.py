"""The report: one page that needs nothing but itself, and in which no value is more than text."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from evidence import bundle, log_writer, record, report

from tests.support import hostile

# Debian's package; CI installs it. Nothing else has to.
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
EVIL = "<script>alert(1)</script>"
BEGAN = datetime(2026, 11, 23, 2, 5, tzinfo=UTC)
# Elements that can make a browser ask the network for something.
ASKING = {"script", "link", "img", "iframe", "object", "embed", "audio", "video", "source", "use"}


class Page(HTMLParser):
    """What stands in a page: its elements, its addresses and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        asking = ("src", "href", "xlink:href", "action", "data", "srcset", "poster")
        self.addresses += [str(value) for name, value in attrs if name in asking]

    def handle_data(self, data: str) -> None:
        self.text += data


def at(seconds: float) -> str:
    return (BEGAN + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def evidence(root: Path, **changes: Any) -> Path:
    """Make the folder of a run with something in every part of the report."""
    folder = root / "20261123-020500-migrate-004-db"
    folder.mkdir(parents=True)
    run = {"migration": "004", "deployment": "db", "database": "bizzai", "run": "004-x"}
    record.begin(folder, action="migrate", **run, inventory="-i production", started=at(0))
    record.update(folder, outcome=changes.pop("outcome", "success"), ended=at(60), verified=True)
    batches = [
        {
            **{"seq": n, "kind": "set_field", "step": 0, "collection": "items"},
            **{"documents": 100, "batches": 1, "at": {"$date": at(10 + n / 3)}},
        }
        for n in range(30)
    ]
    files = {
        "conclusion": {"headline": f"Applied {EVIL}", "next": ["ansible-playbook status.yml"]},
        "gate": {"ticket": "CHG1042", "operator": EVIL, "override": "", "revision": "abc"},
        "plan": {
            "before": {"items": 3000, EVIL: 5},
            "steps": [{"collection": "items", "kind": "set_field", "to_change": 3000}],
            "warnings": [EVIL],
        },
        "verification": {
            "passed": True,
            "checks": [
                {"name": f"check {n} {EVIL}", "status": "passed", "expected": 0, "observed": 0}
                for n in range(40)
            ],
        },
        "journal": {
            "run": {"id": "004-x", "name": "n", "phase": "verified", "variables": {"p": EVIL}},
            "batches": batches,
            "counts": {"items": 2999},
        },
        "backup": {"archive": "/b.tar.gz", "manifest": {"collections": [{"count": 3}]}},
        "versions": {"python": "3.11", "mongodb": "6.0.5"},
        **changes,
    }
    for name, value in files.items():
        record.write_json(folder / f"{name}.json", value)
    log = log_writer.Writer(folder)
    log.write(
        [
            {"time": at(0), "status": "phase", "phase": f"Pass the gate {EVIL}"},
            {"time": at(20), "status": "phase", "phase": "Apply the migration"},
            {"time": at(21), "status": "failed", "result": {"msg": EVIL}},
            {"time": at(22), "status": "ok", "result": {"proof": {"code": 371}}},
            {"time": at(60), "status": "ok"},
        ],
        "",
    )
    log.close()
    samples = [
        {"time": at(n), "source": source, "host": EVIL, "values": {name: n % 7}}
        for n in range(60)
        for source, name in (("server", "read_latency_ms"), ("app", "response_ms"))
    ]
    text = "".join(json.dumps(sample) + "\n" for sample in samples)
    (folder / "metrics.jsonl").write_text(text + "half a li")
    return folder


def test_no_value_becomes_an_element(tmp_path: Path):
    page = report.render(evidence(tmp_path))
    assert EVIL not in page
    assert "script" not in Page(page).tags
    assert page.count("&lt;script&gt;alert(1)") > 40


def test_no_value_hides_or_turns_text_round(tmp_path: Path):
    folder = evidence(tmp_path)
    for path in folder.glob("*.json*"):
        path.write_text(path.read_text().replace(EVIL, json.dumps(hostile.EVERYTHING)[1:-1]))
    (folder / log_writer.LOG).write_text(
        (folder / log_writer.LOG).read_text().replace(EVIL, json.dumps(hostile.EVERYTHING)[1:-1])
    )

    page = report.render(folder)

    assert "gone" in page
    assert not hostile.harm(page)
    assert hostile.SCRIPT not in page
    assert "script" not in Page(page).tags


def test_the_page_asks_the_network_for_nothing(tmp_path: Path):
    text = report.render(evidence(tmp_path))
    page = Page(text)
    assert ASKING & set(page.tags) == set()
    assert page.addresses == []
    assert not re.search(r"@import|url\(", text)


def test_everything_that_matters_is_on_the_page(tmp_path: Path):
    text = Page(report.render(evidence(tmp_path))).text
    for expected in ("CHG1042", "004-x", "bizzai", "Apply the migration", "refused with code 371"):
        assert expected in text
    assert all(f"check {number} " in text for number in range(40))
    assert "40 of 40 passed" in text
    assert "3,000" in text
    assert "-1" in text  # the document that is gone
    for title in ("Documents written", "Time for a batch", "Latency of the server"):
        assert title in text


def test_the_same_folder_gives_the_same_report(tmp_path: Path):
    folder = evidence(tmp_path)
    assert report.render(folder) == report.render(folder)


def test_a_failure_stands_at_the_top_with_its_reason_and_whom_to_call(tmp_path: Path):
    conclusion = {
        "headline": "Migration 004 FAILED",
        "reason": "disk full",
        "data": "neither",
        "call": True,
        "contacts": {"database_admin": {"name": "Ravi", "phone": "+91"}},
        "next": ["ansible-playbook rollback.yml"],
    }
    folder = evidence(tmp_path, outcome="rollback_failed", conclusion=conclusion)
    text = Page(report.render(folder)).text
    assert text.index("disk full") < text.index("Timeline")
    assert "call the database admin" in text
    assert "Ravi, +91" in text


def test_an_override_is_loud(tmp_path: Path):
    gate = {"operator": "asha", "override": "payroll stands still", "overridden": ["ticket: none"]}
    text = Page(report.render(evidence(tmp_path, gate=gate))).text
    assert text.index("Emergency override") < text.index("Timeline")
    assert "payroll stands still" in text
    assert "ticket: none" in text


def test_a_killed_run_says_what_the_database_says(tmp_path: Path):
    journal = {"run": {"id": "004-x", "phase": "running", "work": {"modified": 1200}}}
    folder = evidence(tmp_path, outcome="killed", conclusion={}, journal=journal)
    text = Page(report.render(folder)).text
    assert "Migrate 004: killed before its conclusion" in text
    assert "1,200 documents changed" in text
    assert "ansible-playbook status.yml -i production" in text


def test_a_folder_with_next_to_nothing_in_it_has_a_report(tmp_path: Path):
    record.begin(tmp_path, action="verify")
    assert "before its conclusion" in report.render(tmp_path)
    (tmp_path / "plan.json").write_text("[]")
    (tmp_path / "journal.json").write_text("{")
    problems = bundle.close(tmp_path)["problems"]
    assert [problem for problem in problems if "couldn't be made" in problem] == []


def test_what_a_check_of_the_seal_found_stands_at_the_top(tmp_path: Path):
    folder = evidence(tmp_path)
    good = Page(report.render(folder, checked=report.Checked(at(0), ()))).text
    assert "Sealed evidence, unchanged" in good
    bad = Page(report.render(folder, checked=report.Checked(at(0), ("plan.json was edited",)))).text
    assert "This evidence was changed after it was sealed" in bad
    assert bad.index("plan.json was edited") < bad.index("Timeline")


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")
def test_a_real_browser_shows_all_of_it_and_asks_nobody(tmp_path: Path):
    folder = evidence(tmp_path)
    bundle.close(folder)
    shown, asked = browse(folder / "report.html", tmp_path / "browser")
    page = Page(shown)
    assert all(f"check {number} " in page.text for number in range(40))
    assert page.tags.count("svg") == 4
    assert ASKING & set(page.tags) == set()
    assert asked == []
    # The proof that a request would have been seen.
    asking = tmp_path / "asking.html"
    asking.write_text('<!DOCTYPE html><title>x</title><img src="http://127.0.0.1:9/x.png">')
    assert len(browse(asking, tmp_path / "control")[1]) > 0


def browse(page: Path, profile: Path, *, query: str = "") -> tuple[str, list[str]]:
    """Return what the browser made of a page, and the requests that the page led to."""
    log = profile.with_suffix(".json")
    done = subprocess.run(
        [
            *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *(
                f"--user-data-dir={profile}",
                f"--log-net-log={log}",
                "--dump-dom",
                page.as_uri() + f"#{query}",
            ),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    # The browser's own requests, for its updates, have no origin.
    initiators = re.findall(r'"initiator":"([^"]*)"', log.read_text())
    return done.stdout, [each for each in initiators if each != "not an origin"]
