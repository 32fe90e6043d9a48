"""The collection is made of the checkout's files, and is found by full names alone."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from authoring import collection
from tests.support.playbooks import BIN, ROOT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collection.build(tmp_path_factory.mktemp("collections"))


def test_every_playbook_and_module_is_in_it(folder: Path) -> None:
    playbooks = {file.stem.replace("-", "_") for file in (ROOT / "playbooks").glob("*.yml")}
    assert {file.stem for file in (folder / "playbooks").glob("*.yml")} == playbooks
    modules = {file.stem for file in (ROOT / "library").glob("*.py")}
    assert {file.stem for file in (folder / "plugins" / "modules").glob("*.py")} == modules
    group = yaml.safe_load((folder / "meta" / "runtime.yml").read_text())["action_groups"]
    assert set(group["mongodb"]) == {name for name in modules if name.startswith("mongo_")}


def test_no_module_or_plugin_is_named_shortly(folder: Path) -> None:
    actions = {file.stem for file in (folder / "plugins" / "action").glob("*.py")}
    modules = {file.stem for file in (folder / "plugins" / "modules").glob("*.py")}
    short = re.compile(rf"^\s+(?:- )?({'|'.join(actions | modules)}):", re.M)
    found = [
        f"{file.relative_to(folder)}: {match[1]}"
        for part in ("roles/*/tasks", "roles/*/handlers", "playbooks")
        for file in folder.glob(f"{part}/**/*.yml")
        for match in short.finditer(file.read_text())
    ]
    assert found == []
    for file in (folder / "plugins").rglob("*.py"):
        assert "from ansible.module_utils.mongo_migration" not in file.read_text(), file


def test_a_line_that_moved_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(
        collection._IN_A_CHECKOUT, "roles/evidence/defaults/main.yml", {"no such line": "x"}
    )
    with pytest.raises(ValueError, match="no such line"):
        collection.build(tmp_path)


def test_it_runs_from_anywhere_by_nothing_but_its_name(folder: Path, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("mongodb: {hosts: {db1: {ansible_connection: local, mongo_database: x}}}")
    command = [BIN / "ansible-playbook", f"{collection.FULL}.rollback", "-i", inventory]
    done = subprocess.run(
        command,
        cwd="/",
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "ANSIBLE_COLLECTIONS_PATH": str(folder.parents[2]),
            "ANSIBLE_STDOUT_CALLBACK": f"{collection.FULL}.phases",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    # Lookups, filters, roles and actions were found, and the documents that come along.
    assert "Which migration? Pass -e migration=NNN, one of 003-" in done.stdout, done.stderr
