"""The receipt of an external backup is believed by the evidence that holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from evidence import receipts, record

ABOUT = {"run": "004-1", "deployment": "db", "database": "shop"}


def keep(root: Path, name: str, **files: Any) -> None:
    folder = root / name
    folder.mkdir(parents=True)
    record.begin(folder, action="migrate", **ABOUT)
    for file, value in files.items():
        record.write_json(folder / f"{file}.json", value)


def test_the_receipt_that_a_command_left_is_believed(tmp_path: Path) -> None:
    keep(tmp_path, "one", backup={"external": {"receipt": {"id": "snap-1"}}})
    assert receipts.is_kept(tmp_path, "snap-1", **ABOUT)


def test_the_receipt_that_a_release_left_for_its_migration_is_believed(tmp_path: Path) -> None:
    keep(tmp_path, "one", release={"release": "x", "backup": "external snap-1"})
    assert receipts.is_kept(tmp_path, "snap-1", **ABOUT)


@pytest.mark.parametrize("other", ["run", "deployment", "database"])
def test_a_receipt_of_another_run_or_place_isnt(other: str, tmp_path: Path) -> None:
    keep(tmp_path, "one", backup={"external": {"receipt": {"id": "snap-1"}}})
    assert not receipts.is_kept(tmp_path, "snap-1", **{**ABOUT, other: "another"})
    assert not receipts.is_kept(tmp_path, "snap-2", **ABOUT)


@pytest.mark.parametrize("taken", [{}, {"external": []}, {"external": {"receipt": "snap-1"}}])
def test_a_file_of_another_shape_is_no_receipt(taken: dict[str, Any], tmp_path: Path) -> None:
    keep(tmp_path, "one", backup=taken)
    assert not receipts.is_kept(tmp_path, "snap-1", **ABOUT)
    assert not receipts.is_kept(tmp_path / "nowhere", "snap-1", **ABOUT)
