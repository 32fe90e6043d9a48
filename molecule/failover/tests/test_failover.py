"""The primary was lost in the middle, and nothing else."""

from __future__ import annotations

from typing import Any

from pymongo.database import Database
from questions import LIVE, phases, without_index, without_right_organization

from embedded.app import App
from embedded.cluster import Cluster


def test_another_member_took_over(database: Database[dict[str, Any]], cluster: Cluster) -> None:
    members = database.client.admin.command("replSetGetStatus")["members"]
    states = [member["stateStr"] for member in members]
    assert sorted(states) == ["PRIMARY", "SECONDARY", "SECONDARY"]
    assert max(member.get("electionTime", 0) and member["optime"]["t"] for member in members) > 1
    assert cluster.facts["lost"] in (0, 1, 2)


def test_the_migration_went_on_by_itself(
    database: Database[dict[str, Any]], plays: list[tuple[int, str]]
) -> None:
    ((code, _),) = plays
    assert code == 0
    assert phases(database, "004") == ["verified"]
    assert without_right_organization(database) == []
    assert without_index(database) == []


def test_no_acknowledged_write_of_the_applications_is_lost(
    database: Database[dict[str, Any]], apps: list[App]
) -> None:
    # What they count since their last restart; entries and items in turn.
    acknowledged = sum(app.get("/api/health").content["writes"]["acknowledged"] for app in apps)
    entries = database["journalentries"].count_documents({"entryNumber": {"$regex": "^LIVE-"}})
    assert acknowledged > 0
    assert database["items"].count_documents(LIVE) + entries >= acknowledged
