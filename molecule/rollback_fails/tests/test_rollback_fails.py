"""Data that is neither the one nor the other stays closed."""

from __future__ import annotations

from typing import Any

from pymongo.database import Database
from questions import phases, writes_blocked

from embedded.app import App


def test_nobody_gets_in(database: Database[dict[str, Any]], apps: list[App]) -> None:
    assert writes_blocked(database)
    for app in apps:
        assert "MAINTENANCE_MODE=true" in app.flag.read_text()
        assert app.get("/api/health").content["maintenance"] is True
        assert app.post("/api/items", {"name": "too early"}).status == 503
    assert database["items"].count_documents({"name": "too early"}) == 0


def test_the_run_is_no_rolled_back_one(database: Database[dict[str, Any]]) -> None:
    assert phases(database, "004") == ["rolling_back"]


def test_the_user_is_told_whom_to_call_and_what_to_type(plays: list[tuple[int, str]]) -> None:
    (_, said), (refused, why) = plays
    assert "COULD NOT BE ROLLED BACK" in said
    assert "Maintenance mode stays ON" in said
    assert "Molecule On-Call" in said
    assert "ansible-playbook rollback.yml" in said
    assert refused == 2
    assert "nobody may write to half-migrated data" in " ".join(why.split())
