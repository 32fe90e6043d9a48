"""A change that the gate refuses leaves no trace in the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pymongo.database import Database
from questions import writes_blocked

from embedded.app import App
from embedded.cluster import fingerprint


def test_not_one_byte_was_written(
    database: Database[dict[str, Any]], fingerprints: dict[str, Any]
) -> None:
    assert fingerprint(database) == fingerprints["before"]
    assert [n for n in database.list_collection_names() if n.startswith("_migrations")] == []
    assert not writes_blocked(database)


def test_nobody_was_sent_home_and_nothing_was_backed_up(apps: list[App], folder: Path) -> None:
    for app in apps:
        assert "MAINTENANCE_MODE=false" in app.flag.read_text()
        assert "SIGHUP" not in app.log.read_text()
    assert list((folder / "backups").glob("*")) == []


def test_each_refusal_names_what_is_missing(plays: list[tuple[int, str]]) -> None:
    assert [code for code, _ in plays] == [2, 2, 2, 2]
    said = [" ".join(text.split()) for _, text in plays]
    assert "pass -e ticket=" in said[0]
    assert "nonsense" in said[1]
    assert "pass -e approver=" in said[2]
    assert "confirm" in said[3].lower()
    assert all("did not run" in text for text in said)
