"""A drill that touches nothing, and everything back after a disaster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pymongo.database import Database

from embedded.app import App
from embedded.cluster import fingerprint


def test_the_disaster_was_one_and_everything_is_back(
    database: Database[dict[str, Any]], fingerprints: dict[str, Any]
) -> None:
    assert fingerprints["ruined"] != fingerprints["before"]
    assert fingerprint(database) == fingerprints["before"]


def test_the_drill_made_an_equal_database_beside_it(
    database: Database[dict[str, Any]], fingerprints: dict[str, Any]
) -> None:
    assert fingerprint(database.client["bizzai_drill"]) == fingerprints["before"]


def test_what_the_restore_threw_away_was_saved_before(folder: Path) -> None:
    assert len(list((folder / "backups").glob("backup-*.tar.gz"))) == 1
    assert len(list((folder / "backups" / "before-restore").glob("backup-*.tar.gz"))) == 1


def test_the_application_reads_the_restored_data(apps: list[App]) -> None:
    assert all(app.get("/api/items").content["items"] for app in apps)
