"""Every registered operation is taken through its whole life by a test, and has a page."""

from __future__ import annotations

import pytest
import yaml
from mongo_migration.operations.registry import ENTRY_KINDS, OPERATIONS

from tests.support.playbooks import ROOT

# What runs a program of another tool has tests of its own: by what they take it through.
ELSEWHERE = {
    "command": {
        "plan": "test_commands.test_a_command_that_is_not_there_refuses_the_plan",
        "verify": "test_commands.test_what_a_command_may_not_write_is_proved_unchanged",
        "evidence": "test_commands.test_a_command_runs_once_and_its_output_is_kept_without_secrets",
        "kill, resume": "test_commands.test_a_killed_process_leaves_a_command_that_is_repeated_only"
        "_where_that_is_said",
        "rollback": "test_commands.test_a_failed_command_is_undone_by_its_down",
    },
}


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
    if kind in ELSEWHERE:
        for test in ELSEWHERE[kind].values():
            module, _, function = test.partition(".")
            text = (ROOT / "tests" / "integration" / f"{module}.py").read_text(encoding="utf-8")
            assert f"def {function}(" in text
    else:
        assert kind in operations_of_the_corpus(), "add a case to tests/corpus (CONTRIBUTING.md)"


@pytest.mark.parametrize("kind", ENTRY_KINDS)
def test_every_kind_of_entry_says_what_it_must_look_like(kind: str) -> None:
    assert ENTRY_KINDS[kind].kind == kind
    assert isinstance(ENTRY_KINDS[kind].shape, dict)
