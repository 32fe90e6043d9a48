"""One member without access control: less protection, the same result."""

from __future__ import annotations

from typing import Any

from pymongo.database import Database
from questions import in_a_foreign_period, phases, without_index, without_right_organization


def test_the_result_is_the_same(database: Database[dict[str, Any]]) -> None:
    assert without_right_organization(database) == []
    assert without_index(database) == []
    assert in_a_foreign_period(database) == []
    assert phases(database, "003") == ["verified"]
    assert phases(database, "004") == ["verified"]


def test_the_user_is_told_what_protection_is_missing(plays: list[tuple[int, str]]) -> None:
    assert any("nobody is logged in here" in " ".join(said.split()) for _, said in plays)
