"""The screens in docs/screens are what commands show, at three widths, for each way to end.

UPDATE_SCREENS=1 pytest tests/unit/test_screens.py writes them anew: look at what differs.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from mongo_migration.procedures import changelog_text, plan_text
from mongo_migration.support import tables

from tests.support import screens
from tests.support.playbooks import BIN, ROOT, environment

PLAN = json.loads((Path(__file__).parent / "data" / "plan-004.json").read_text())
ENTRIES: list[dict[str, Any]] = [
    {
        "migration": "004",
        "name": "add-organization-to-all-models",
        "phase": "interrupted",
        "started": {"$date": "2026-11-27T02:07:29Z"},
        "finished": None,
        "verified_at": None,
        "operator": {"user": "anna"},
        "digest": "503ac00b7f1fe00902b595399e95627a",
        "run": "004-20261127020729-b1e0",
    },
    {
        "migration": "003",
        "name": "create-default-financial-period",
        "phase": "verified",
        "started": {"$date": "2026-11-20T02:06:18Z"},
        "finished": {"$date": "2026-11-20T02:06:28Z"},
        "verified_at": {"$date": "2026-11-20T02:06:28Z"},
        "operator": {"user": "ravi"},
        "digest": "ba96a588dd4c1f1a7c2f0e0b8f5b7c11",
        "run": "003-20261120020618-3b99",
    },
]


def plan(width: int) -> str:
    with tables.as_wide_as(width - 5):
        return plan_text.table(PLAN)


def changelog(width: int) -> str:
    with tables.as_wide_as(width - 5):
        return "\n".join(changelog_text.lines(ENTRIES, ["005-add-currency.yml"]))


def difference(_width: int) -> str:
    found = plan_text.diff({**PLAN, "steps": PLAN["steps"][:2]})
    before, after = found["before"].splitlines(), found["after"].splitlines()
    return "\n".join(list(difflib.unified_diff(before, after, lineterm="", n=3))[3:])


def render(name: str, width: int) -> str:
    made = {"plan": plan, "changelog": changelog, "diff": difference}
    text = made[name](width) if name in made else screens.last_words(name)
    return screens.shown(text, width, hang=2 if name == "diff" else 0)


NAMES = ["plan", "changelog", "diff", "success", *sorted(screens.OUTCOMES)]


@pytest.mark.parametrize("width", screens.WIDTHS)
@pytest.mark.parametrize("name", NAMES)
def test_a_screen_is_as_the_docs_show_it(name: str, width: int):
    file = screens.FOLDER / f"{name.replace('_', '-')}.{width}.txt"
    text = render(name, width)
    if os.environ.get("UPDATE_SCREENS"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize("width", [40, *screens.WIDTHS])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_wider_than_the_screen_but_what_is_pasted(name: str, width: int):
    for line in render(name, width).splitlines():
        # A command, or a path that is longer than what is left beside its label.
        whole = "ansible-playbook " in line or "/" in max(["", *line.split()], key=len)
        assert len(line) < width or whole, line


def test_every_way_to_end_has_its_screen_and_no_screen_is_left_over():
    assert screens.outcomes() == set(screens.OUTCOMES)
    files = {path.name for path in screens.FOLDER.glob("*.txt")}
    assert files == {
        f"{name.replace('_', '-')}.{width}.txt" for name in NAMES for width in screens.WIDTHS
    }


def suggested() -> list[str]:
    found = (
        command
        for name in ("success", *screens.OUTCOMES)
        for command in screens.commands(screens.last_words(name))
    )
    return list(dict.fromkeys(found))


def test_every_way_to_end_says_what_to_type_next():
    for name in screens.OUTCOMES:
        assert screens.commands(screens.last_words(name)), name


def test_each_suggested_command_is_one_that_ansible_takes(tmp_path: Path):
    # Of each, what it is given, by the words that it has on the command line.
    inventory = tmp_path / "production.yml"
    inventory.write_text("all: {children: {mongodb: {hosts: {db: }}, app: }}\n")
    for command in suggested():
        words = shlex.split(command)
        assert words[0] == "ansible-playbook"
        assert (ROOT / words[1]).is_file(), command
        assert words[2:4] == ["-i", "production"], command
        for variable in re.findall(r"-e (\w+)=", command):
            assert variable in known_variables(words[1]), command
    playbooks = sorted({shlex.split(command)[1] for command in suggested()})
    done = subprocess.run(
        [BIN / "ansible-playbook", *playbooks, "-i", inventory, "--syntax-check"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def known_variables(playbook: str) -> str:
    """What the playbook, and the wiring of all of them, say of their variables."""
    (play,) = yaml.safe_load((ROOT / playbook).read_text())
    text = (ROOT / play["ansible.builtin.import_playbook"]).read_text()
    return text + (ROOT / "playbooks" / "vars" / "wiring.yml").read_text()
