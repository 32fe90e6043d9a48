"""The page of all evidence: every folder, searched without a network, with no foreign markup."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from evidence import bundle, index, overview, record

from tests.unit.test_evidence_report import ASKING, CHROMIUM, EVIL, Page, at, browse, evidence


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One that went well, one that was sealed elsewhere and edited, one that nobody sealed."""
    root = tmp_path / "evidence"
    bundle.close(evidence(root))
    edited = root / "20261124-020500-migrate-005-db"
    shutil.copytree(evidence(tmp_path / "other", outcome="rollback_failed"), edited)
    bundle.close(edited)
    (edited / "plan.json").write_text("{}")
    unsealed = root / "20261125-020500-backup-db"
    unsealed.mkdir()
    record.begin(unsealed, action="backup", deployment=EVIL, started=at(3600))
    return root


def rows(text: str) -> list[str]:
    return [
        " ".join(Page(row).text.split()) for row in re.findall(r"(?s)<tr data-text.*?</tr>", text)
    ]


def test_every_folder_is_there_the_newest_first_with_outcome_and_seal(root: Path):
    text = overview.write(root, index.check(root)).read_text()
    newest, edited, good = rows(text)
    assert newest.startswith("2026-11-23 03:05 backup <script>")
    assert newest.endswith("running not sealed")
    assert "rollback failed changedplan.json was edited" in edited
    assert "CHG1042" in good
    assert good.endswith("success intact")
    for address in Page(text).addresses:
        assert (root / address).is_file()


def test_what_is_missing_stands_at_the_top(root: Path):
    shutil.rmtree(next(root.glob("20261123*-db")))
    text = overview.write(root, index.check(root)).read_text()
    assert "20261123-020500-migrate-004-db is missing: it was sealed here" in Page(text).text


def test_no_value_becomes_an_element_and_no_other_script_runs(root: Path):
    text = overview.write(root).read_text()
    page = Page(text)
    assert page.tags.count("script") == 1
    assert not (ASKING - {"script"}) & set(page.tags)
    assert EVIL in page.text
    assert EVIL not in text
    assert "script-src 'sha256-" in text
    assert "unsafe-inline'; script-src" in text  # for the style alone


def test_a_folder_of_nothing_is_a_page(tmp_path: Path):
    assert "There is none yet." in overview.write(tmp_path).read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")
def test_a_real_browser_searches_it_and_asks_nobody(root: Path, tmp_path: Path):
    page = overview.write(root)
    shown, asked = browse(page, tmp_path / "browser", query="004%20rollback")
    assert '<span class="soft" id="count">1 of 3</span>' in shown
    visible = [
        row for row in re.findall(r"(?s)<tr data-text.*?</tr>", shown) if "hidden" not in row
    ]
    assert [("rollback failed" in row) for row in visible] == [True]
    assert asked == []
