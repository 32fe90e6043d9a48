"""Every registered operation is taken through its whole life by a test, and has a page."""

from __future__ import annotations

import pytest
import yaml
from mongo_migration.operations.registry import ENTRY_KINDS, OPERATIONS

from tests.integration import test_commands
from tests.support.playbooks import ROOT

# What the corpus can't say, as it names a program of this host: the test that takes it through all.
ELSEWHERE = {"command": test_commands.test_a_command_is_taken_through_its_whole_life}


def operations_of_the_corpus() -> set[str]:
    """The operations that a case's document names; the corpus test kills, resumes and undoes it."""
    found: set[str] = set()
    for path in (ROOT / "tests" / "corpus").glob("*.yml"):
        case = yaml.safe_load(path.read_text(encoding="utf-8"))
        document = yaml.safe_load(case.get("document") or "{}")
        for step in document.get("steps", ()):
            found |= set(step) - {"name", "when"}
    return found


@pytest.mark.parametrize("kind", OPERATIONS)
def test_every_operation_has_a_case(kind: str) -> None:
    if kind not in ELSEWHERE:
        assert kind in operations_of_the_corpus(), "add a case to tests/corpus (CONTRIBUTING.md)"


@pytest.mark.parametrize("kind", ENTRY_KINDS)
def test_every_kind_of_entry_says_what_it_must_look_like(kind: str) -> None:
    assert ENTRY_KINDS[kind].kind == kind
    assert isinstance(ENTRY_KINDS[kind].shape, dict)
