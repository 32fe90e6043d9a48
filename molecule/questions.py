"""Questions to a database that several scenarios ask, in other words than the engine's."""

from __future__ import annotations

from typing import Any

from pymongo.database import Database

from embedded.company import OWNER_FIELDS

# What applications wrote while the scenario ran; an old release knows no organizationId.
LIVE = {"sku": {"$regex": "^LIVE-"}}


def without_right_organization(database: Database[dict[str, Any]]) -> list[Any]:
    """Return the documents of the 13 models that aren't of their owner's organization."""
    home = {user["_id"]: user["organizationId"] for user in database["users"].find()}
    return [
        (name, document["_id"])
        for name, owner in OWNER_FIELDS.items()
        for document in database[name].find({"$nor": [LIVE]})
        if document.get("organizationId") != home[document[owner]]
    ]


def without_index(database: Database[dict[str, Any]]) -> list[str]:
    """Return the models that lack the index on organizationId."""
    return [
        name
        for name in OWNER_FIELDS
        if not any(dict(i["key"]) == {"organizationId": 1} for i in database[name].list_indexes())
    ]


def in_a_foreign_period(database: Database[dict[str, Any]]) -> list[Any]:
    """Return the journal entries without a period of their own organization."""
    home = {each["_id"]: each["organization"] for each in database["financialperiods"].find()}
    return [
        entry["_id"]
        for entry in database["journalentries"].find()
        if home.get(entry.get("financialPeriod")) != entry["organization"]
    ]


def phases(database: Database[dict[str, Any]], migration: str) -> list[str]:
    """Return the phases of a migration's runs, the oldest first."""
    found = database["_migrations"].find({"kind": "run", "migration": migration})
    return [run["phase"] for run in found.sort("number", 1)]


def writes_blocked(database: Database[dict[str, Any]]) -> bool:
    """Return whether the server refuses ordinary users' writes."""
    replication = database.client.admin.command("serverStatus")["repl"]
    return int(replication.get("userWriteBlockMode", 1)) == 2
