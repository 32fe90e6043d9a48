"""Which variables a command line may set: told from what playbooks and roles really read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pytest
from invocation import words
from jinja2 import meta, nodes
from release.application import inventory, smoke

from tests.support.playbooks import ROOT, content

# Whose values are expressions without braces.
_BARE = {"when", "that", "until", "failed_when", "changed_when"}
_BY_NAME = re.compile(r"lookup\('ansible\.builtin\.vars', '([a-z_]+)'")
_OF_HOST = re.compile(r"hostvars\[[^\]]+\]\.([a-z_]+)")
# Not variables that anybody sets: Ansible's own, and functions of Jinja.
_NOT_OURS = {"groups", "hostvars", "inventory_hostname", "lookup", "now", "omit", "playbook_dir"}
_NOT_OURS |= {"query", "role_path", "undef"}


def files() -> list[Path]:
    found = [*ROOT.glob("playbooks/*.yml"), *ROOT.glob("playbooks/tasks/*.yml")]
    found += [*ROOT.glob("playbooks/vars/*.yml")]
    return found + [
        p for f in ("tasks", "vars", "defaults") for p in ROOT.glob(f"roles/*/{f}/*.yml")
    ]


def expressions(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from expressions(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner, key)
    elif isinstance(value, str):
        yield "{{ " + value + " }}" if key in _BARE and "{{" not in value else value


def made(value: Any) -> Iterator[str]:
    """Yield the variables that tasks and plays make themselves, and those of loops."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("vars", "ansible.builtin.set_fact") and isinstance(inner, dict):
                yield from inner
            if name in ("register", "loop_var", "index_var"):
                yield inner
            yield from made(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from made(inner)


class _Any(dict):  # type: ignore[type-arg]
    """Filters and tests of Ansible, of which only the names matter here."""

    def __contains__(self, _name: object) -> bool:
        return True

    def __getitem__(self, _name: object) -> Any:
        return lambda *_args, **_more: None

    def get(self, _name: object, _default: object = None) -> Any:
        return self[_name]


@cache
def read_in(path: Path) -> set[str]:
    environment = jinja2.Environment()
    environment.filters, environment.tests = _Any(), _Any()
    text = path.read_text()
    found = {*_BY_NAME.findall(text), *_OF_HOST.findall(text)}
    for expression in expressions(content(path)):
        if "{{" in expression or "{%" in expression:
            parsed = environment.parse(expression)
            # One that is set under a condition counts as undeclared.
            own = {name.name for name in parsed.find_all(nodes.Name) if name.ctx != "load"}
            found |= meta.find_undeclared_variables(parsed) - own
    return found


def options_of_roles() -> set[str]:
    found: set[str] = set()
    for path in ROOT.glob("roles/*/meta/argument_specs.yml"):
        for entry in content(path)["argument_specs"].values():
            found |= set(entry.get("options") or {})
    return found


def of_application_hosts() -> set[str]:
    """What action plugins read of each host, as the example of an inventory names it."""
    example = (ROOT / "inventories/staging/group_vars/app/main.yml").read_text()
    named = set(re.findall(r"^#? ?(app_[a-z_]+):", example, flags=re.MULTILINE))
    return named.union(inventory.NAMES, smoke.NAMES)


@cache
def given_from_outside() -> set[str]:
    own: set[str] = set(options_of_roles())
    read: set[str] = of_application_hosts()
    for path in files():
        whole = content(path)
        own |= set(made(whole)) | (set(whole) if isinstance(whole, dict) else set())
        read |= read_in(path)
    return {
        name
        for name in read - own - _NOT_OURS
        if not name.startswith(("ansible_", "__")) and name != "_"
    }


@cache
def entries() -> dict[str, set[str]]:
    """The words that each playbook declares for its check."""
    found = {}
    for path in ROOT.glob("playbooks/*.yml"):
        given = (content(path)[0].get("vars")) or {}
        found[path.name] = {
            *given.get("entry_check_words", ()),
            *given.get("entry_check_arguments", ()),
        }
    return found


def test_every_variable_that_is_read_from_outside_is_known_and_no_other():
    known = words.COMMON | words.OF_COMMANDS | words.SETTINGS
    assert given_from_outside() - known == set()
    # The playbook of a migration sets it, too.
    unread = known - given_from_outside() - {"migration"}
    assert unread == set(), "nothing reads them any more"


def test_the_words_of_commands_are_those_that_commands_declare():
    assert set().union(*entries().values()) - words.SETTINGS == words.OF_COMMANDS


@pytest.mark.parametrize("name", sorted(entries()))
def test_a_playbook_declares_each_word_that_it_reads_itself(name: str):
    read = read_in(ROOT / "playbooks" / name) & words.OF_COMMANDS
    of_others = {
        "repair.yml": {"repair", "state"},
        "repair-done.yml": set(),
        "repair-undone.yml": set(),
    }
    assert read - entries()[name] - of_others.get(name, set()) == set()


def test_what_nothing_reads_is_told_with_what_was_perhaps_meant():
    options = {"migrate_batch_size"}
    assert words.unknown(
        ["ticket", "on_conflict", "migrate_batchsize", "awx_job_id", "ansible_user", "mongo_uri"],
        words=["cutover"],
        options=options,
    ) == ["on_conflict", "migrate_batchsize"]
    assert "belongs to other commands. This one takes approver" in words.problem(
        "on_conflict", words=["cutover"], options=options
    )
    assert "Did you mean migrate_batch_size? " in words.problem(
        "migrate_batchsize", words=[], options=options
    )


def test_a_variable_that_the_inventory_makes_something_of_is_its_own():
    assert words.read_by(
        {"a": ["mongodb://{{ region }}/", {"b": "{% if blue %}1{% endif %}"}], "n": 1}
    ) >= {
        "region",
        "blue",
    }
