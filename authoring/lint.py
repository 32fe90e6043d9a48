"""Lint migration documents: `python -m authoring.lint [FILE or folder …]`, by default all.

Exit code 1 if there are findings or a document isn't valid.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from mongo_migration.document import catalogue, definition, lint
from mongo_migration.errors import MigrationError

PLAYBOOKS = Path(__file__).parents[1] / "playbooks"


def documents(path: Path) -> list[Path]:
    """Return the documents in the folder *path*, or the one that it is."""
    if not path.is_dir():
        return [path]
    return sorted([*path.glob("*.yml"), *path.glob("*.yaml")])


def check(named: Iterable[Path]) -> list[str]:
    """Return what is wrong, or dangerous, in documents and folders of them, as lines to read."""
    lines: list[str] = []
    for path in named:
        folder = path if path.is_dir() else path.parent
        kind = catalogue.REPAIR if path.name.startswith("R") else catalogue.MIGRATION
        if path.is_dir():
            kind = catalogue.REPAIR if path.name == "repairs" else catalogue.MIGRATION
        known = catalogue.read(folder, kind)
        # Of a single document, too, those beside it say whether its number is its own.
        lines += [each for each in known.problems if path.is_dir() or str(path) in each]
        lines += (
            [f"{folder}/{each}" for each in catalogue.unknown_after(known)] if path.is_dir() else []
        )
        lines += _check_texts(documents(path))
    return lines


def _check_texts(paths: Iterable[Path]) -> list[str]:
    lines: list[str] = []
    for path in paths:
        try:
            text = definition.read_text(path)
            definition.load(text, str(path))
        except OSError as error:
            lines.append(f"{path}: {error.strerror}")
        except MigrationError as error:
            lines.append(error.message)
        else:
            lines += lint.explain(lint.findings(text, str(path)))
    return lines


def _folders() -> list[Path]:
    """Return every folder of documents that the project has: those that it brings, and its own."""
    own = PLAYBOOKS.parent / "migrations"
    return [PLAYBOOKS / "migrations", PLAYBOOKS / "repairs", *([own] if own.is_dir() else [])]


def main(arguments: list[str] | None = None) -> int:
    """Lint what the command line names; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m authoring.lint")
    parser.add_argument("files", nargs="*", type=Path, help="documents or folders; by default all")
    parser.add_argument("--codes", action="store_true", help="explain every code")
    options = parser.parse_args(arguments)
    if options.codes:
        for rule in lint.RULES:
            print(f"{rule.code} {rule.title}\n    why   {rule.why}\n    safe  {rule.safe}")
        return 0
    named = options.files or _folders()
    paths = [document for path in named for document in documents(path)]
    found = list(dict.fromkeys(check(named)))
    print("\n".join(found) if found else f"{len(paths)} documents: nothing found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
