"""No function is longer than a reader sees at once: 60 lines with its docstring, tests included."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.support.playbooks import ROOT

MOST = 60
FOLDERS = ("authoring", "bench", "embedded", "library", "molecule", "plugins", "roles", "tests")


def functions(source: str) -> Iterator[tuple[str, int]]:
    """Yield each function's name and length, from ``def`` to its last line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def test_no_function_is_over_60_lines():
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    too_long = [
        f"{path.relative_to(ROOT)}: {name} has {length} lines"
        for path in files
        for name, length in functions(path.read_text(encoding="utf-8"))
        if length > MOST
    ]
    assert too_long == []
    assert len(files) > 400, "they are all looked at"


def test_it_would_be_noticed():
    body = "\n".join(f"    x = {number}" for number in range(MOST))
    assert list(functions(f"class A:\n  async def long():\n    'doc'\n{body}")) == [("long", 62)]
