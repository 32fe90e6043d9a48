"""`-e monitor_enabled=false` is a text: whoever decides by a boolean makes one of it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.playbooks import ROOT, content

SPECS = sorted((ROOT / "roles").glob("*/meta/argument_specs.yml"))


@cache
def booleans() -> set[str]:
    found = set()
    for path in SPECS:
        for entry in content(path)["argument_specs"].values():
            options = entry.get("options", {})
            found |= {name for name, option in options.items() if option.get("type") == "bool"}
    return found


@pytest.mark.parametrize(
    "path",
    [path for folder in ("roles", "playbooks") for path in sorted((ROOT / folder).rglob("*"))
     if path.suffix in (".yml", ".j2") and path.parent.name not in ("meta", "defaults")],
    ids=lambda path: str(path.relative_to(ROOT)),
)  # fmt: skip
def test_a_decision_by_a_boolean_of_a_role_makes_one_of_it(path: Path):
    text = re.sub(r"^\s*(?:#|entry_check_arguments:).*$", "", path.read_text(), flags=re.MULTILINE)
    for name in booleans():
        # As the whole value of an argument it is converted by whoever takes it.
        rest = re.sub(rf'"\{{\{{ {name} \}}\}}"|\b{name}:', "", text)
        assert not re.search(rf"\b{name}\b(?! \| (?:bool|default))", rest), name
