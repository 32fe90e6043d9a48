"""What can't be verified is rolled back by itself."""

from __future__ import annotations

from typing import Any

from pymongo.database import Database
from questions import phases, writes_blocked

from embedded.app import App
from embedded.cluster import fingerprint


def test_the_database_is_exactly_as_it_was(
    database: Database[dict[str, Any]], fingerprints: dict[str, Any]
) -> None:
    assert phases(database, "004") == ["rolled_back"]
    assert fingerprint(database) == fingerprints["before"]


def test_the_application_is_open_again(database: Database[dict[str, Any]], apps: list[App]) -> None:
    assert not writes_blocked(database)
    assert [app.get("/api/health").content["maintenance"] for app in apps] == [False, False]


def test_the_user_is_told_what_failed(plays: list[tuple[int, str]]) -> None:
    ((code, said),) = plays
    assert code == 2
    assert "there are a million organizations" in said
    assert "failed and was rolled back" in said
