"""003 and 004 on a cluster, looked at from outside."""

from __future__ import annotations

from typing import Any

from pymongo.database import Database
from questions import (
    in_a_foreign_period,
    phases,
    without_index,
    without_right_organization,
    writes_blocked,
)

from embedded.app import App


def test_every_document_is_of_its_owner_s_organization(database: Database[dict[str, Any]]) -> None:
    assert without_right_organization(database) == []
    assert without_index(database) == []


def test_every_entry_is_in_a_period_of_its_organization(database: Database[dict[str, Any]]) -> None:
    assert in_a_foreign_period(database) == []
    organizations = database["organizations"].count_documents({})
    assert database["financialperiods"].count_documents({"status": "open"}) == organizations


def test_a_second_time_made_no_second_run(database: Database[dict[str, Any]]) -> None:
    assert phases(database, "003") == ["verified"]
    assert phases(database, "004") == ["verified"]


def test_the_application_writes_again(database: Database[dict[str, Any]], apps: list[App]) -> None:
    assert not writes_blocked(database)
    for app in apps:
        assert "MAINTENANCE_MODE=false" in app.flag.read_text()
        reply = app.post("/api/items", {"name": "after the migration"})
        assert reply.status == 201
    assert database["items"].count_documents({"name": "after the migration"}) == len(apps)
