"""Public names that changed are understood until the next major version, and said to be old."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.template import Templar, trust_as_template

from tests.support.playbooks import BIN, ROOT, environment


def run(options: str) -> str:
    """Run mongo_migrate, which stops at its document before it connects to anything."""
    given = f"uri=mongodb://127.0.0.1:1/ database=shop definition_name=a.yml {options}"
    done = subprocess.run(
        [
            *(str(BIN / "ansible"), "localhost", "-i", "localhost,", "-c", "local"),
            *("-e", f"ansible_python_interpreter={sys.executable}"),
            *("-m", "mongo_migrate", "-a", given),
        ],
        cwd=ROOT,
        env=environment({}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.stdout + done.stderr


def test_frozen_is_the_old_name_of_writers_stopped():
    old = run("definition=none frozen=true")
    new = run("definition=none writers_stopped=true")

    for said in (old, new):
        assert "a.yml" in said and "Unsupported parameters" not in said
    assert "frozen is the old name of writers_stopped" in old
    assert "old name" not in new


@pytest.mark.parametrize("old", [True, False, None])
def test_the_role_takes_the_old_name(old: bool | None):
    defaults = yaml.safe_load(Path(ROOT / "roles/migrate/defaults/main.yml").read_text())
    given = {} if old is None else {"migrate_frozen": old}
    templar = Templar(None, given)
    found = templar.template(trust_as_template(defaults["migrate_writers_stopped"]))
    assert found is bool(old)
