"""Names of phases stand in a column of their own, and hosts behind it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from plugins.callback import phases
from tests.support.playbooks import ROOT


def tasks(tree: Any) -> Iterator[dict[str, Any]]:
    """All tasks of a playbook, those in blocks, too."""
    for item in tree if isinstance(tree, list) else ():
        yield item
        for part in ("tasks", "pre_tasks", "post_tasks", "block", "rescue", "always"):
            yield from tasks(item.get(part))


def test_every_phase_fits_its_column():
    names = {
        re.sub(r"{{.*?}}", "004", task["name"])
        for path in (ROOT / "playbooks").rglob("*.yml")
        for task in tasks(yaml.safe_load(path.read_text(encoding="utf-8")))
        if "ansible.builtin.include_role" in task
    }
    assert len(names) > 20
    assert [name for name in names if len(name) >= phases._PHASE] == []
