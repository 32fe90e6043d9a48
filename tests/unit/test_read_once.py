"""The files of ``vars_files`` are read once in a play, and their templates stay templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ansible.cli.playbook  # noqa: F401 (Ansible's own start-up: its loaders know their places)
import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play import Play
from ansible.template import Templar
from ansible.vars.manager import VariableManager

from plugins.callback.read_once import CallbackModule


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are parsed."""
    found: list[str] = []
    parse = DataLoader.load

    def counted(self: DataLoader, data: str, file_name: str = "", **more: Any) -> Any:
        found.append(Path(file_name).name)
        return parse(self, data, file_name=file_name, **more)

    monkeypatch.setattr(DataLoader, "load", counted)
    return found


def a_play(folder: Path, *names: str) -> tuple[Play, VariableManager]:
    (folder / "vars").mkdir()
    (folder / "vars" / "wiring.yml").write_text('told: "{{ given }} and more"\n')
    loader = DataLoader()
    loader.set_basedir(str(folder))
    inventory = InventoryManager(loader, sources=["localhost,"])
    manager = VariableManager(loader, inventory)
    what = {"name": "p", "hosts": "localhost", "vars": {"given": "one"}, "vars_files": list(names)}
    return Play().load(what, variable_manager=manager, loader=loader), manager


def test_they_are_parsed_when_the_play_starts_and_never_again(tmp_path: Path, reads: list[str]):
    play, manager = a_play(tmp_path, "vars/wiring.yml")
    CallbackModule().v2_playbook_on_play_start(play)
    for _task in range(3):
        known = manager.get_vars(play=play)
    assert reads == ["wiring.yml"]
    assert Templar(loader=play.get_loader(), variables=known).template(known["told"]) == (
        "one and more"
    )


@pytest.mark.parametrize("name", ["vars/nowhere.yml", "vars/{{ given }}.yml"])
def test_what_cannot_be_read_now_is_left_to_ansible(tmp_path: Path, reads: list[str], name: str):
    play, _manager = a_play(tmp_path, name)
    CallbackModule().v2_playbook_on_play_start(play)
    assert reads == []
