"""Commands that the engine suggests have one form, which those that show them complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.playbooks import ROOT

ENGINE = ROOT / "plugins" / "module_utils" / "mongo_migration"
PLAYBOOKS = {path.name for path in ROOT.glob("*.yml")}


@pytest.mark.parametrize("path", sorted(ENGINE.rglob("*.py")), ids=lambda path: path.name)
def test_no_command_is_written_by_hand(path: Path):
    if path.parts[-2:] == ("support", "commands.py"):
        return
    code = re.sub(r'"""(?s:.*?)"""|#.*', "", path.read_text())
    assert "ansible-playbook " not in code.replace("run ansible-playbook from", "")
    named = {name for name in PLAYBOOKS if re.search(rf"(?<![\w/-]){re.escape(name)}", code)}
    assert named == set(), "use support.commands, so that it can be pasted"


@pytest.mark.parametrize(
    "path",
    sorted([*(ROOT / "roles").rglob("*.yml"), *(ROOT / "roles").rglob("*.j2"),
            *(ROOT / "playbooks").rglob("*.yml"), *(ROOT / "playbooks").rglob("*.j2")]),
    ids=lambda path: str(path.relative_to(ROOT)),
)  # fmt: skip
def test_a_command_of_a_playbook_names_its_inventory(path: Path):
    text = re.sub(r"^\s*#.*$", "", path.read_text(), flags=re.MULTILINE)
    for line in text.splitlines():
        if "ansible-playbook " in line and "runs ansible-playbook" not in line:
            assert re.search(r"inventory|__conclude_target|pasteable", line), line
