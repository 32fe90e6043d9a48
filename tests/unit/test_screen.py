"""What stands on a screen fits it, from 40 columns on, and what is to be pasted stays whole."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from mongo_migration.procedures import changelog_text
from mongo_migration.support import tables

from tests.support.playbooks import ROOT

sys.path.append(str(ROOT / "plugins" / "plugin_utils"))
import screen

HEADS = ["collection", "field", "documents", "to change", "null", "already fine"]
ROWS = [
    HEADS,
    ["items", "organizationId", "1,997", "1,957", "-", "40"],
    ["purchasereturns", "organizationId", "199", "195", "-", "-"],
    ["total", "", "2,196", "2,152", "-", "40"],
]


def aligned(width: int) -> list[str]:
    with tables.as_wide_as(width):
        return tables.aligned(ROWS, numeric_from=2)


def test_a_table_loses_what_says_nothing_before_it_loses_its_shape():
    assert len(aligned(100)) == 4
    assert aligned(80)[0].split()[:2] == HEADS[:2]
    at_sixty = aligned(60)
    assert at_sixty[0] == "field: organizationId"
    assert at_sixty[1].split("  ")[0] == "collection"
    assert "null" not in at_sixty[1]
    assert aligned(36) == [
        "field: organizationId",
        "items",
        "  documents 1,997, to change 1,957",
        "  already fine 40",
        "purchasereturns",
        "  documents 199, to change 195",
        "total",
        "  documents 2,196, to change 2,152",
        "  already fine 40",
    ]


@pytest.mark.parametrize("width", [36, 56, 76, 96, 156])
def test_no_line_of_a_table_is_wider_than_the_screen(width: int):
    assert max(map(len, aligned(width))) <= width


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "migration": "004",
        "name": "add-organization-to-all-models",
        "phase": "rolled_back",
        "started": {"$date": "2026-11-27T03:07:29.123Z"},
        "finished": None,
        "verified_at": None,
        "operator": {"user": "anna\x1b[2K"},
        "digest": "503ac00b7f1fe00902",
        "run": "004-20261127030729-b1e0",
        **changes,
    }


@pytest.mark.parametrize("width", [46, 56, 76, 96, 156])
def test_the_changelog_fits_and_says_what_it_left_out(width: int):
    with tables.as_wide_as(width):
        lines = changelog_text.lines([entry()], ["004-add-x.yml", "005-add-currency.yml"])
    assert max(map(len, lines)) <= width
    text = " ".join("\n".join(lines).split())
    assert "005 add-currency pending" in text
    assert "004 add-organization-to-all-models rolled back" in text
    assert "2026-11-27 03:07" in "\n".join(lines)
    assert ("004-20261127030729-b1e0" in "\n".join(lines)) == (width > 150)
    assert "\x1b" not in "\n".join(lines)
    assert ("-e format=json" in lines[-1]) == (width < 150)


def test_without_runs_or_documents_there_is_a_line():
    assert changelog_text.lines([]) == ["no migrations"]


def test_a_line_is_folded_between_words_below_where_its_text_begins():
    assert screen.fold("- one two three", 12, "  ") == ["  - one two", "    three"]
    assert screen.fold(f"data      {'word ' * 9}end", 45) == [
        "data      word word word word word word word",
        "          word word end",
    ]
    assert screen.fold("-aaa bbb ccc", 10, hang=2) == ["-aaa bbb", "  ccc"]
    assert screen.fold("short", 40, "    ") == ["    short"]
    assert screen.fold("x" * 50, None) == ["x" * 50]


@pytest.mark.parametrize(
    "line",
    [
        "next      ansible-playbook migrate-004.yml -i production --limit db1 -e ticket=CHG1",
        'fix: db.getSiblingDB("admin").grantRolesToUser("migrator", [{role: "clusterMonitor"}])',
    ],
)
def test_what_is_to_be_pasted_stays_on_one_line(line: str):
    assert screen.fold(line, 40, "    ") == [f"    {line}"]


def test_a_terminal_without_a_size_has_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(screen, "_TERMINAL", 0)
    monkeypatch.setattr(os, "get_terminal_size", lambda _fd: os.terminal_size((0, 0)))
    assert screen.columns() == 100
    monkeypatch.setattr(os, "get_terminal_size", lambda _fd: os.terminal_size((12, 5)))
    assert screen.columns() == 40
    monkeypatch.setattr(screen, "_TERMINAL", None)
    assert screen.columns() is None


def test_what_the_last_words_say_is_not_said_again():
    said = "Migration 004 did not run.\nhappened  x\nnext      ansible-playbook status.yml -i a"
    headline = "Migration 004 did not run. Next: ansible-playbook status.yml -i a"
    assert screen.repeats(headline, said)
    assert not screen.repeats(headline.replace("status", "verify"), said)
    assert not screen.repeats("The evidence is not sealed", said)
    assert not screen.repeats("", said)
    assert not screen.repeats("anything", "")
