"""Each playbook has the arguments of all its roles checked before any of them is included."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.playbooks import ROOT, content

PLAYBOOKS = ROOT / "playbooks"
_INCLUDED = re.compile(r"(?:include|import)_role:\n\s+name: (\w+)(?:\n\s+tasks_from: (\w+))?")
_IN_PLAY = re.compile(r"- role: (\w+)")
# The gate comes first in every command and checks its own, for what the ways out leave out of it.
_CHECKS_FIRST = {"change_gate"}
# Where nothing is undone by itself.
_ONLY_WORDS = ("recover", "hold")


def included(text: str) -> set[tuple[str, str]]:
    return {(role, entry) for role, entry in _INCLUDED.findall(text)}


def text_of(playbook: Path) -> str:
    """A playbook with the files of tasks that it includes."""
    files = (PLAYBOOKS / "tasks").glob("*.yml") if playbook.name == "release.yml" else []
    return "\n".join(path.read_text() for path in [playbook, *files])


def roles_of(playbook: Path) -> set[str]:
    """All roles that a playbook may come to include, also by way of other roles."""
    text = text_of(playbook)
    found = set(_IN_PLAY.findall(text))
    waiting = included(text)
    if "tasks/begin.yml" in text:
        waiting |= {("evidence", "open")}
    while waiting:
        role, entry = waiting.pop()
        if (role, entry) == _ONLY_WORDS or role in found:
            continue
        found.add(role)
        for path in (ROOT / "roles" / role / "tasks").glob("*.yml"):
            waiting |= included(path.read_text())
    return found - _CHECKS_FIRST


def specs_of(role: str) -> dict[str, Any]:
    found: dict[str, Any] = content(ROOT / "roles" / role / "meta" / "argument_specs.yml")
    return found


@cache
def plays() -> dict[str, list[dict[str, Any]]]:
    found = {path.name: content(path) for path in PLAYBOOKS.glob("*.yml")}
    return {
        name: plays
        for name, plays in found.items()
        if plays[0].get("ansible.builtin.import_playbook") == "entry.yml"
    }


@pytest.mark.parametrize("name", sorted(plays()))
def test_every_role_of_a_playbook_is_checked(name: str):
    checked = set(plays()[name][0].get("vars", {}).get("entry_check_roles", ()))
    assert checked - _CHECKS_FIRST >= roles_of(PLAYBOOKS / name)


@pytest.mark.parametrize("name", sorted(plays()))
def test_an_argument_of_a_command_becomes_one_of_a_role(name: str):
    given = plays()[name][0].get("vars", {})
    options: set[str] = set()
    for role in given.get("entry_check_roles", ()):
        specs = specs_of(role)
        for entry in specs["argument_specs"].values():
            options |= set(entry.get("options", {}))
    assert set(given.get("entry_check_arguments", {}).values()) <= options


def test_preflight_refuses_what_the_run_would():
    of = {
        name: plays()[name][0]["vars"]["entry_check_roles"]
        for name in plays()
        if name in ("preflight.yml", "migrate.yml", "release.yml")
    }
    assert of["preflight.yml"] == of["migrate.yml"] == of["release.yml"]


def test_every_playbook_that_runs_on_hosts_is_checked_first():
    for path in PLAYBOOKS.glob("*.yml"):
        text = path.read_text()
        if "hosts: mongodb" in text or "hosts: localhost" in text:
            assert path.name in plays()
            # Free would begin one phase on a host while another one is in the phase before.
            assert "strategy: ansible.builtin.linear" in text
