"""Run the playbooks as a user does: from the project's root, as a command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


class _Loader(yaml.CSafeLoader):
    """Reads what carries tags of Ansible's own, as nothing."""


_Loader.add_multi_constructor("!", lambda _loader, _suffix, _node: None)


@cache
def content(path: Path) -> Any:
    """Return what a YAML file of a playbook or role holds; nobody may change it."""
    return yaml.load(path.read_text(), _Loader)


# What a user's shell has, and nothing that a test runner adds.
_KEPT = ("HOME", "USER", "LOGNAME", "TMPDIR", "TZ")


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a clean environment in which the project's commands are on the path."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        **kept,
        "PATH": f"{BIN}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        **(more or {}),
    }


def run_playbook(
    arguments: Sequence[str],
    inventory: Path | str | None = None,
    env: Mapping[str, str] | None = None,
    *,
    timeout: float = 600,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `ansible-playbook ARGUMENTS -i INVENTORY`; standard error follows in `stderr`.

    Args:
        arguments: of ansible-playbook, the playbook among them.
        inventory: for `-i`; None leaves the default of ansible.cfg.
        env: variables beside those of a clean shell.
        timeout: seconds until the test fails.
        stdin: what the user types; None closes it.
    """
    command = [str(BIN / "ansible-playbook"), *map(str, arguments)]
    if inventory is not None:
        command += ["-i", str(inventory)]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        **({"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}),
    )


def recap(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, int]]:
    """Return the counters of PLAY RECAP by host."""
    _before, _heading, after = done.stdout.rpartition("PLAY RECAP")
    return {
        match["host"]: {
            name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", match["rest"])
        }
        for match in re.finditer(r"^(?P<host>\S+)\s+:\s+(?P<rest>ok=.*)$", after, re.MULTILINE)
    }
