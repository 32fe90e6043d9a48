"""Arrows point down: a room of the engine imports only from those below it, never in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[2] / "plugins" / "module_utils" / "mongo_migration"

# From the top down. What stands in one line may not import from each other.
FLOORS = [
    {"module_runner"},
    {"procedures"},
    {"backup", "monitor"},
    {"operations", "maintenance"},
    {"ledger"},
    {"document", "pace"},
    {"server"},
    {"connection"},
    {"support", "argument_specs"},
    {"values"},
    {"errors"},
]


def imports_of(path: Path) -> set[str]:
    """The rooms of the engine's root that a file imports from."""
    here = path.relative_to(ENGINE).parts[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = (*here[: len(here) - node.level + 1], *(node.module or "").split("."))
        base = tuple(part for part in base if part)
        rooms = [base[0]] if base else [alias.name for alias in node.names]
        found |= {room for room in rooms if room not in here[:1]}
    return found


def floor_of(room: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if room in floor)


@pytest.mark.parametrize("path", sorted(ENGINE.rglob("*.py")), ids=lambda p: p.stem)
def test_arrows_point_down(path: Path) -> None:
    if path.parent == ENGINE and path.stem == "__init__":
        return
    room = path.relative_to(ENGINE).parts[0].removesuffix(".py")
    up = {other for other in imports_of(path) if floor_of(other) <= floor_of(room)}
    assert up == set(), f"{room} imports from {', '.join(sorted(up))}, which isn't below it"


def test_every_room_has_a_floor() -> None:
    rooms = {
        path.stem
        for path in ENGINE.iterdir()
        if path.stem not in ("__init__", "__pycache__") and (path.is_dir() or path.suffix == ".py")
    }
    assert rooms == set().union(*FLOORS)
    assert len(rooms) <= 15
