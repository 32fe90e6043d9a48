"""Where evidence goes: to its place, or for a way out of trouble wherever there is one."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path

import pytest
from evidence import opening, record

ABOUT = ["rollback", "004", "db"]


@pytest.fixture
def unwritable(tmp_path: Path) -> Path:
    """A place that nobody can write to, not even root."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "evidence"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_command_of_its_own_waits_for_its_evidence(unwritable: Path, temporary: Path):
    with pytest.raises(OSError, match="directory"):
        opening.begin(unwritable, ABOUT, required=True)
    assert list(temporary.iterdir()) == []


def test_a_way_out_writes_elsewhere_and_says_where(unwritable: Path, temporary: Path):
    opened = opening.begin(unwritable, ABOUT, required=False, action="rollback")
    assert opened.folder
    assert opened.folder.parent.parent == temporary
    assert stat.S_IMODE(opened.folder.parent.stat().st_mode) == 0o700
    assert record.read(opened.folder)["action"] == "rollback"
    (warning,) = opened.warnings
    assert str(unwritable) in warning
    assert str(opened.folder) in warning


def test_a_way_out_goes_on_without_any_evidence(unwritable: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(unwritable))
    opened = opening.begin(unwritable, ABOUT, required=False)
    assert opened.folder is None
    assert "there will be none" in opened.warnings[0]


def test_a_place_that_everybody_may_write_to_is_named(tmp_path: Path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert "chmod o-w" in opening.begin(tmp_path / "open", ABOUT, required=True).warnings[0]
    assert opening.begin(tmp_path / "closed", ABOUT, required=True).warnings == ()
