"""What a condition comes to is true or false: ansible-core ends a play over a text or a list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
from jinja2 import nodes

from tests.support.playbooks import ROOT, content
from tests.unit.test_booleans import booleans

_CONDITIONS = ("when", "until", "failed_when", "changed_when", "that")
# Facts and variables of plays that are made as booleans; a test of a text or a list isn't one.
_BOOLEANS = {"ansible_check_mode", "maintenance_entered", "maintenance_left", "fleet_wanted"}
_BOOLEANS |= {"announce_progress_wanted", "release_maintenance", "preflight_maintenance"}
_FILES = [
    path
    for pattern in ("playbooks/*.yml", "playbooks/tasks/*.yml", "roles/*/tasks/*.yml")
    for path in sorted(ROOT.glob(pattern))
]


def conditions(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in _CONDITIONS:
                yield from (str(one) for one in (inner if isinstance(inner, list) else [inner]))
            yield from conditions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from conditions(inner)


def results(node: nodes.Node) -> Iterator[str]:
    """Yield the names whose value may be what a condition comes to."""
    if isinstance(node, nodes.And | nodes.Or):
        yield from results(node.left)
        yield from results(node.right)
    elif isinstance(node, nodes.CondExpr):
        yield from results(node.expr1)
        yield from results(node.expr2) if node.expr2 else ()
    elif isinstance(node, nodes.Name):
        yield node.name


@pytest.mark.parametrize("path", _FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_condition_comes_to_true_or_false(path: Path):
    environment = jinja2.Environment()
    known = _BOOLEANS | booleans()
    for condition in conditions(content(path)):
        if "{{" in condition:
            continue  # an option of a module that has such a name
        found = environment.parse("{% if " + condition + " %}{% endif %}").find(nodes.If)
        assert found is not None
        # Those with two underscores are their file's own, made where one can look.
        texts = {name for name in results(found.test) if not name.startswith("__")} - known
        assert not texts, f"{condition}: {texts}"
