"""What isn't pure in the team's own Python, as far as its text says: a clock, chance, a network."""

from __future__ import annotations

import ast
from collections.abc import Iterator

# Modules of which nothing is pure.
_MODULES = frozenset(
    {"random", "secrets", "socket", "requests", "httpx", "urllib", "http", "subprocess", "pymongo",
     "time", "os"}
)  # fmt: skip
# What of other modules isn't.
_CALLS = frozenset({"now", "utcnow", "today", "uuid1", "uuid4", "urandom", "ObjectId"})
_BUILTINS = frozenset({"open", "print", "input"})


def places(text: str) -> Iterator[str]:
    """Yield, as ``line N: what``, what gives another value the next time; nothing of wrong text."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return  # the plan says so
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in _imported(node):
                if name.split(".")[0] in _MODULES:
                    yield f"line {node.lineno}: {name}"
        elif isinstance(node, ast.Call):
            what = _called(node)
            if what:
                yield f"line {node.lineno}: {what}"
        elif isinstance(node, ast.Global | ast.Nonlocal):
            yield f"line {node.lineno}: {', '.join(node.names)} is kept from call to call"


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [one.name for one in node.names]


def _called(node: ast.Call) -> str:
    made = node.func
    if isinstance(made, ast.Name):
        if made.id in _BUILTINS:
            return f"{made.id}()"
        name = made.id
    elif isinstance(made, ast.Attribute):
        name = made.attr
    else:
        return ""
    # With an argument, ObjectId() is what it is given, and now(zone) still the clock's.
    given = bool(node.args or node.keywords)
    return f"{name}()" if name in _CALLS and not (name == "ObjectId" and given) else ""


__all__ = ["places"]
