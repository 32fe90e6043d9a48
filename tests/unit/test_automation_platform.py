"""An execution environment installs what the project asks for, and jobs find their plugins."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
AWX = ROOT / "awx"


def test_it_installs_what_the_project_asks_for():
    asked = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    environment = yaml.safe_load((AWX / "execution-environment.yml").read_text())
    lines = (AWX / environment["dependencies"]["python"]).read_text().splitlines()
    installed = {line for line in lines if line and not line.startswith("#")}
    core = environment["dependencies"]["ansible_core"]["package_pip"]

    assert {*installed, core} == asked
    assert (AWX / environment["dependencies"]["system"]).is_file()


def test_the_survey_asks_for_what_the_gate_takes():
    survey = json.loads((AWX / "survey.json").read_text())
    assert [each["variable"] for each in survey["spec"]] == ["ticket", "approver", "confirm"]


def test_the_playbooks_find_their_plugins_beside_them():
    for folder in (ROOT, ROOT / "playbooks"):
        for kind in ("action", "callback", "filter", "lookup"):
            found = (folder / f"{kind}_plugins").resolve()
            assert found == ROOT / "plugins" / kind, folder
        assert (folder / "module_utils").resolve() == ROOT / "plugins" / "module_utils"
        assert (folder / "library").resolve() == ROOT / "library"
        assert (folder / "roles").resolve() == ROOT / "roles"
