"""Killed, and gone on with: one run, nothing twice, nothing left out."""

from __future__ import annotations

from typing import Any

from pymongo.database import Database
from questions import phases, without_index, without_right_organization, writes_blocked

from embedded.app import App


def test_it_was_killed_in_the_middle(
    plays: list[tuple[int, str]], fingerprints: dict[str, Any]
) -> None:
    (killed, _), (resumed, _) = plays
    assert killed == -9
    assert resumed == 0
    assert fingerprints["killed"] != fingerprints["before"]


def test_the_same_run_went_on_to_its_end(database: Database[dict[str, Any]]) -> None:
    assert phases(database, "004") == ["verified"]
    assert without_right_organization(database) == []
    assert without_index(database) == []


def test_the_journal_has_every_document_once(database: Database[dict[str, Any]]) -> None:
    written = [
        (entry["collection"], identity)
        for entry in database["_migrations_journal"].find({"kind": "set_field"})
        for group in entry["groups"]
        for identity in group["ids"]
    ]
    assert len(written) == len(set(written))


def test_the_application_is_open_again(database: Database[dict[str, Any]], apps: list[App]) -> None:
    assert not writes_blocked(database)
    assert [app.get("/api/health").content["maintenance"] for app in apps] == [False, False]
