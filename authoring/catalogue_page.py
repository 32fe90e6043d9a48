"""``docs/catalogue.md``: a migration for each need, of those that the tests take there and back.

python -m authoring.catalogue_page
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "catalogue.md"
_CORPUS = ROOT / "tests" / "corpus"
_OPERATIONS = ROOT / "docs" / "operations"

_HEAD = """\
# Catalogue: a migration for each need

Of every kind that teams write: what was needed, and a complete document for it. A test takes each
of them through plan, kill, resume, verification and rollback, on a replica set and on a standalone
server. Copy the `document` of the one that is next to yours. Made of
[`tests/corpus`](../tests/corpus) by `make schema`.

| need | steps | downtime | document |
| --- | --- | --- | --- |
"""
_OURS = """
The two that this project began with, and its repairs, are real documents as well:

| | steps |
| --- | --- |
"""


def page() -> str:
    """Return the page."""
    rows = [_row(path) for path in sorted(_CORPUS.glob("*.yml"))]
    ours = [
        f"| [{path.stem}](../{path.relative_to(ROOT)}): {document['summary']} "
        f"| {_steps(document)} |"
        for path, document in _documents()
    ]
    return _HEAD + "\n".join(filter(None, rows)) + "\n" + _OURS + "\n".join(ours) + "\n"


def _row(path: Path) -> str:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not case.get("document"):
        return ""
    document = yaml.safe_load(case["document"])
    need = " ".join(case["need"].split()).replace("|", "\\|")
    link = f"[{path.stem}](../tests/corpus/{path.name})"
    return f"| {need} | {_steps(document)} | {document['downtime']} | {link} |"


def _documents() -> Iterator[tuple[Path, dict[str, Any]]]:
    for folder in ("migrations", "repairs"):
        for path in sorted((ROOT / "playbooks" / folder).glob("*.yml")):
            yield path, yaml.safe_load(path.read_text(encoding="utf-8"))


def _steps(document: dict[str, Any]) -> str:
    kinds = [key for step in document["steps"] for key in step if key not in ("name", "when")]
    return ", ".join(dict.fromkeys(map(_linked, kinds)))


def _linked(kind: str) -> str:
    has_page = (_OPERATIONS / f"{kind}.md").exists()
    return f"[`{kind}`](operations/{kind}.md)" if has_page else f"`{kind}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
