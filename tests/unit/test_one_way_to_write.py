"""Documents are written through `Writer.write` alone: it knows the fence and validators."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[2] / "plugins" / "module_utils" / "mongo_migration"
WRITES = {
    "bulk_write",
    "delete_many",
    "delete_one",
    "find_one_and_delete",
    "find_one_and_replace",
    "find_one_and_update",
    "insert_many",
    "insert_one",
    "replace_one",
    "update_many",
    "update_one",
}


@pytest.mark.parametrize(
    "path", sorted((ENGINE / "operations").rglob("*.py")), ids=lambda p: p.stem
)
def test_no_operation_writes_past_the_writer(path: Path) -> None:
    calls = [
        f"line {node.lineno}: {node.func.attr}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in WRITES
    ]
    assert calls == []
