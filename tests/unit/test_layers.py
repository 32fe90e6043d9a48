"""The shape of the code: imports point down and never in a circle, and no function is long.

A room of the engine imports only from those below it. A function has at most 60 lines, which a
reader sees at once, with its docstring; those of tests, too.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "plugins" / "module_utils" / "mongo_migration"

# From the top down. What stands in one line may not import from each other.
FLOORS = [
    {"module_runner"},
    {"fleet"},
    {"procedures"},
    {"backup", "monitor"},
    {"operations", "maintenance"},
    {"ledger"},
    {"document", "pace"},
    {"server"},
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


FAMILIES = [
    {"whole_collections"},
    {"indexes", "merge"},
    {"documents"},
    {"transfer"},
    {"update"},
    {"fields"},
    {"refusals"},
]


def families_of(path: Path) -> set[str]:
    """The families of operations that a file of another one imports from."""
    here = path.relative_to(ENGINE / "operations").parts[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == len(here) + 1:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {name.split(".")[0] for name in names if name}
    return found & set().union(*FAMILIES)


@pytest.mark.parametrize(
    "path",
    sorted(
        path
        for path in (ENGINE / "operations").rglob("*.py")
        if path.parent.name in set().union(*FAMILIES)
    ),
    ids=lambda p: f"{p.parent.name}-{p.stem}",
)
def test_families_of_operations_import_downward(path: Path) -> None:
    def floor(family: str) -> int:
        return next(number for number, floor in enumerate(FAMILIES) if family in floor)

    up = {other for other in families_of(path) if floor(other) <= floor(path.parent.name)}
    assert up == set(), f"{path} imports from {', '.join(sorted(up))}, which isn't below it"


def test_every_folder_of_operations_is_a_family() -> None:
    folders = {
        path.name
        for path in (ENGINE / "operations").iterdir()
        if path.is_dir() and path.name != "__pycache__"
    }
    assert folders == set().union(*FAMILIES)


def test_every_room_has_a_floor() -> None:
    rooms = {
        path.stem
        for path in ENGINE.iterdir()
        if path.stem not in ("__init__", "__pycache__") and (path.is_dir() or path.suffix == ".py")
    }
    assert rooms == set().union(*FLOORS)
    assert len(rooms) <= 15


# Where the modules of the project are found; what stands in `plugins` is loaded by its path.
PACKAGES = {
    **{name: ROOT / name for name in ("authoring", "bench", "embedded", "library", "tests")},
    **{path.name: path for path in (ROOT / "plugins" / "module_utils").iterdir() if path.is_dir()},
    **{path.stem: path for path in (ROOT / "plugins" / "plugin_utils").glob("*.py")},
    **{f"plugins.{name}": ROOT / "plugins" / name for name in ("action", "callback", "lookup")},
}


def modules() -> dict[str, Path]:
    """Every module by its name."""
    found = {}
    for package, place in PACKAGES.items():
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            parts = path.relative_to(place).with_suffix("").parts if place.is_dir() else ()
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


def imported_by(name: str, path: Path, known: Container[str]) -> set[str]:
    """The modules that a module imports, wherever in it: also what only a function needs."""
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            start = ".".join([*(base if node.level else []), *filter(None, [node.module])])
            start = start.removeprefix("ansible.module_utils.")
            each = (f"{start}.{alias.name}" for alias in node.names)
            found |= {one if one in known else start for one in each}
    return {one for one in found if one in known and one != name}


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """The names along a circle, or nothing."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for other in sorted(arrows[name]):
            if found := walk(other, [*way, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(arrows) if (found := walk(name, []))), [])


def test_nothing_is_imported_in_a_circle() -> None:
    known = modules()
    arrows = {name: imported_by(name, path, known) for name, path in known.items()}
    assert circle(arrows) == []
    assert arrows["mongo_migration.procedures.migrate"] >= {"mongo_migration.procedures.work"}
    assert arrows["library.mongo_migrate"] >= {"mongo_migration.procedures.migrate"}
    assert arrows["tests.support.driver"] >= {"mongo_migration.procedures.migrate"}


def test_a_circle_would_be_seen() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


MOST_LINES = 60
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
        if length > MOST_LINES
    ]
    assert too_long == []
    assert len(files) > 400, "they are all looked at"


def test_it_would_be_noticed():
    body = "\n".join(f"    x = {number}" for number in range(MOST_LINES))
    assert list(functions(f"class A:\n  async def long():\n    'doc'\n{body}")) == [("long", 62)]
