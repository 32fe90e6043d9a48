"""A rollback that left documents alone never says that the data is as it was before."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from tests.support import screens
from tests.support.playbooks import ROOT

# Of a failure that rolls back by itself.
ROLLED_BACK = ("rolled_back", "stuck_rolled_back", "rollback_unproved")
# Of the commands that somebody gives: their last words are those of the wiring.
PLAYBOOKS = ("rollback.yml", "emergency-rollback.yml")
LEFT = {1: "one document", 9: "9 documents"}


def wiring(name: str, conflicts: int) -> Any:
    """Return a variable of the playbooks after a rollback with so many conflicts."""
    found = yaml.safe_load((ROOT / "playbooks" / "vars" / "wiring.yml").read_text())
    known = {
        key: trust_as_template(value)
        for key, value in found.items()
        if key.startswith("rolled_back_")
    }
    facts = {
        "migration_title": "Migration 004",
        "migration_id": "004",
        "inventory_argument": "-i production",
        "rollback_result": {"conflict_count": conflicts, "plan": {}},
    }
    templar = Templar(DataLoader(), {**known, **facts})
    return templar.template(trust_as_template("{{ " + name + " }}"))


@pytest.mark.parametrize("number", LEFT)
@pytest.mark.parametrize("outcome", ROLLED_BACK)
def test_a_failed_command_says_how_many_were_left_alone(outcome: str, number: int) -> None:
    facts = {**screens.OUTCOMES[outcome], "rollback_result": {"conflict_count": number}}
    said = " ".join(screens.last_words_of(outcome, facts).split())
    assert f"but for {LEFT[number]} that somebody changed since" in said
    assert "exactly as before" not in said


@pytest.mark.parametrize("number", LEFT)
def test_a_rollback_says_how_many_were_left_alone_and_what_to_type(number: int) -> None:
    said = " ".join(str(wiring("rolled_back_words", number)).split())
    assert f"is rolled back, but for {LEFT[number]} that somebody changed since" in said
    assert "as it was before" not in said
    assert any("-e expect=rolled_back" in command for command in wiring("rolled_back_next", number))


def test_without_conflicts_all_is_as_before() -> None:
    assert str(wiring("rolled_back_words", 0)).strip().endswith("the data is as it was before.")


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_each_way_back_ends_in_those_words(playbook: str) -> None:
    plays = yaml.safe_load((ROOT / "playbooks" / playbook).read_text())
    (words,) = [play["vars"] for play in plays if "conclude_success" in play.get("vars", {})]
    assert "rolled_back_words" in words["conclude_success"]
    assert "rolled_back_next" in words["conclude_next"]
