"""Publish the schema of migration documents, described, and a reference of every option.

`make schema` writes both into docs/; a test compares them. Editors read the
schema: `# yaml-language-server: $schema=…` names it in each document.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from mongo_migration.document import schema

ROOT = Path(__file__).parent.parent
SCHEMA = ROOT / "docs" / "migration-document.schema.json"
REFERENCE = ROOT / "docs" / "options.md"
_HELP = Path(__file__).with_name("schema_help.yml")
_ADDRESS = "migration-document.schema.json"

Node = dict[str, Any]
Path_ = tuple[str, ...]


def published() -> str:
    """Return the schema with a description of every key, as JSON."""
    described = json.loads(json.dumps(schema.DOCUMENT))
    known = _help()
    for path, node in _keys(described):
        node["description"] = known.get(path, "")
    return json.dumps({"$id": _ADDRESS, **described}, indent=1, ensure_ascii=False) + "\n"


def undescribed() -> list[str]:
    """Return the keys that have no help, and the help that has no key."""
    there = {path for path, _node in _keys(json.loads(json.dumps(schema.DOCUMENT)))}
    known = set(_help())
    return sorted(there - known) + sorted(f"{path} (no such key)" for path in known - there)


def reference() -> str:
    """Return every key of a document with its meaning, as Markdown."""
    lines = [
        "# Every key of a migration document",
        "",
        "Made from the schema by `make schema`. `source` is what a value comes",
        "from, `checks` what pre- and postconditions are; `*` stands for a name of your own.",
        "",
        "| key | means | values |",
        "| --- | --- | --- |",
    ]
    known = _help()
    for path, node in _keys(schema.DOCUMENT):
        values = ", ".join(f"`{value}`" for value in node.get("enum", ()))
        lines.append(f"| `{path}` | {known.get(path, '')} | {values} |")
    return "\n".join(dict.fromkeys(lines)) + "\n"


def write() -> None:
    """Write both files."""
    SCHEMA.write_text(published(), encoding="utf-8")
    REFERENCE.write_text(reference(), encoding="utf-8")


def _help() -> dict[str, str]:
    found: dict[str, str] = yaml.safe_load(_HELP.read_text(encoding="utf-8"))
    return found


def _keys(document: Node) -> Iterator[tuple[str, Node]]:
    """Yield the path and the schema of every key, each path as often as it stands."""
    for name, node in document["properties"].items():
        if name in ("preconditions", "postconditions"):
            yield name, node
            yield from _inside(("checks",), node["items"])
        else:
            yield name, node
            yield from _inside((name,), node)
    for name, node in document.get("$defs", {}).items():
        yield from _inside((name,), node)


def _inside(path: Path_, node: Any) -> Iterator[tuple[str, Node]]:
    if not isinstance(node, dict):
        return
    for key, below in node.get("properties", {}).items():
        if not isinstance(below, dict):
            continue
        here = (*path, key)
        if path[0] == "checks" and len(here) == 3 and key in ("in", "where", "by", "pipeline"):
            yield f"checks.*.{key}", below
        else:
            yield ".".join(here), below
        yield from _inside(here, below)
    more = node.get("additionalProperties")
    if isinstance(more, dict) and "properties" in more:
        yield ".".join((*path, "*")), more
        yield from _inside((*path, "*"), more)
    for part in ("items", "oneOf", "anyOf"):
        for below in node.get(part, ()) if part != "items" else [node.get(part)]:
            yield from _inside(path, below)


if __name__ == "__main__":
    write()
