"""Exactly back, and not by doing nothing."""

from __future__ import annotations

from typing import Any

from pymongo.database import Database
from questions import phases, writes_blocked

from embedded.cluster import fingerprint


def test_the_database_is_exactly_as_it_was(
    database: Database[dict[str, Any]], fingerprints: dict[str, Any]
) -> None:
    assert fingerprints["migrated"] != fingerprints["before"]
    assert fingerprint(database) == fingerprints["before"]


def test_the_changelog_says_so(database: Database[dict[str, Any]]) -> None:
    assert phases(database, "003") == ["verified"]
    assert phases(database, "004") == ["rolled_back"]
    assert not writes_blocked(database)
