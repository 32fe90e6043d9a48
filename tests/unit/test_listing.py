"""What a database has is listed by our own helpers: the driver's decode strictly."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[2] / "plugins" / "module_utils" / "mongo_migration"
STRICT = {"list_collections", "list_indexes", "index_information"}


@pytest.mark.parametrize("path", sorted(ENGINE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_definition_is_read_past_the_listing(path: Path) -> None:
    """A validator may name a date beyond the year 9999, and then they raise."""
    calls = [
        f"line {node.lineno}: {node.func.attr}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and (
            node.func.attr in STRICT
            or (node.func.attr == "options" and not node.args)
            # With a filter, the driver asks for more than names.
            or (node.func.attr == "list_collection_names" and (node.args or node.keywords))
        )
    ]
    assert calls == []
