"""docs/writing-migrations.md: what it tells a developer to copy works as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from authoring import new_migration
from tests.support import migrations
from tests.support.migrations import Deployment
from tests.support.playbooks import ROOT

GUIDE = (ROOT / "docs" / "writing-migrations.md").read_text()


def test_the_guides_test_passes_on_the_document_that_the_generator_writes(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "playbooks" / "migrations"
    folder.mkdir(parents=True)
    (folder / "004-add-organization-to-all-models.yml").touch()
    new_migration.create("add-currency", tmp_path)
    monkeypatch.setattr(migrations, "PLAYBOOKS", tmp_path / "playbooks")
    match = re.search(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert match
    names: dict[str, Any] = {}
    exec(compile(match[1], "docs/writing-migrations.md", "exec", dont_inherit=True), names)
    (test,) = [value for name, value in names.items() if name.startswith("test_")]
    test(deployment)
