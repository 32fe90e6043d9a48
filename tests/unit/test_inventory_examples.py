"""What stands commented in an inventory is right as soon as the comment's sign is taken away."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from mongo_migration.backup import crypt
from mongo_migration.document import definition
from mongo_migration.monitor import apps
from release.calendar import Calendar

from tests.support.playbooks import ROOT

INVENTORIES = ROOT / "inventories"
FILES = sorted(INVENTORIES.glob("*/group_vars/*/*.yml"))
# An example begins with a variable or an item of a list, and goes on as long as it is indented.
_BEGINS = re.compile(r"^( *)# ((?:[a-z]+_[a-z_]+:|- \{|- name:).*)$")
_VAULT = re.compile(r"\bvault_[a-z_]+")


def blocks(text: str) -> Iterator[tuple[int, int]]:
    """Yield the first line of each example, and the one behind it."""
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        begins = _BEGINS.match(lines[number])
        start, number = number, number + 1
        if begins is None:
            continue
        more = re.compile(rf"^{begins[1]}#   +\S")
        while number < len(lines) and more.match(lines[number]):
            number += 1
        yield start, number


def uncommented(text: str, start: int, stop: int) -> str:
    """Return *text* with one example in force; what it takes the place of is left out."""
    lines = text.splitlines()
    example = [re.sub(r"^( *)# ", r"\1", line) for line in lines[start:stop]]
    name = f"{example[0].partition(':')[0]}:"
    before = [
        "" if name.islower() and "-" not in name and line.startswith(name) else line
        for line in lines[:start]
    ]
    return "\n".join([*before, *example, *lines[stop:], ""])


EXAMPLES = [
    pytest.param(path, *block, id=f"{path.relative_to(INVENTORIES)}:{block[0] + 1}")
    for path in FILES
    for block in blocks(path.read_text(encoding="utf-8"))
]


class Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, and takes a text that is never a template."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _value in node.value]  # type: ignore[no-untyped-call]
        assert len(keys) == len(set(keys)), f"twice: {keys}"
        return super().construct_mapping(node, deep)


Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


def options_of_roles() -> dict[str, Any]:
    """Every option of every role."""
    found: dict[str, Any] = {}
    for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            found |= entry.get("options") or {}
    return found


def entry_check() -> Any:
    """The plugin that checks them at the beginning of each command."""
    path = ROOT / "plugins" / "action" / "entry_check.py"
    spec = importlib.util.spec_from_file_location("entry_check_of_examples", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


OPTIONS, ENTRY_CHECK = options_of_roles(), entry_check()
SOURCE = "\n".join(
    path.read_text(encoding="utf-8")
    for folder in ("playbooks", "roles", "plugins")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".yml", ".py", ".j2") and path.parent.name != "defaults"
)


def check(name: str, value: Any, loaded: Mapping[str, Any]) -> None:
    """Check a variable as the command that uses it does, before it connects to anything."""
    if name in OPTIONS:
        assert ENTRY_CHECK._wrong(name, OPTIONS[name], value) is None
    if name == "migration_variables":
        for identity, values in value.items():
            (document,) = (ROOT / "playbooks" / "migrations").glob(f"{identity}-*.yml")
            definition.load(document.read_text(encoding="utf-8"), document.name, variables=values)
    if name in ("change_gate_windows", "change_gate_freezes"):
        key = name.removeprefix("change_gate_")
        Calendar(**{key: value}, timezone=loaded["change_gate_timezone"])
    if name == "backup_encrypt_recipients":
        crypt.Sealer(crypt.Lock(recipients=tuple(value)))
    if name == "monitor_app_log":
        apps.make([{"name": "app", "url": None, "log": value}])


@pytest.mark.parametrize(("path", "start", "stop"), EXAMPLES)
def test_a_commented_example_can_be_put_in_force(path: Path, start: int, stop: int) -> None:
    text = path.read_text(encoding="utf-8")
    now = yaml.load(text, Loader) or {}
    then = yaml.load(uncommented(text, start, stop), Loader)
    changed = [name for name in then if then[name] != now.get(name)]
    assert len(changed) == 1, "it changes one variable"
    for name in changed:
        if not name.startswith("vault_"):
            assert re.search(rf"\b{name}\b", SOURCE), f"nobody reads {name}"
            check(name, then[name], then)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(INVENTORIES)))
def test_every_secret_that_is_named_has_its_line_in_the_vault(path: Path) -> None:
    vault = INVENTORIES / path.relative_to(INVENTORIES).parts[0]
    known = vault / "group_vars" / "mongodb" / "vault.example.yml"
    if known.exists():
        names = set(_VAULT.findall(path.read_text(encoding="utf-8")))
        given = set(_VAULT.findall(known.read_text(encoding="utf-8")))
        assert names <= given


def test_the_examples_are_found() -> None:
    text = "a_b: []\n# a_b:\n#   - {x: 1}\n# Prose: it is none.\n# - name: x\n#   y: 1\n"
    assert list(blocks(text)) == [(1, 3), (4, 6)]
    assert yaml.safe_load(uncommented(text, 1, 3)) == {"a_b": [{"x": 1}]}
    names = {path.relative_to(INVENTORIES).parts[0] for path in FILES}
    for name in names & {"production", "staging"}:
        assert sum(1 for each in EXAMPLES if str(each.id).startswith(f"{name}/")) >= 20
