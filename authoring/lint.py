"""Lint migration documents: `python -m authoring.lint [FILE …]`, by default all of the project.

Exit code 1 if there are findings or a document isn't valid.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from mongo_migration.document import definition, lint
from mongo_migration.errors import MigrationError

PLAYBOOKS = Path(__file__).parents[1] / "playbooks"


def documents() -> list[Path]:
    """Return the project's migration and repair documents."""
    return [
        *sorted((PLAYBOOKS / "migrations").glob("*.yml")),
        *sorted((PLAYBOOKS / "repairs").glob("*.yml")),
    ]


def check(paths: Iterable[Path]) -> list[str]:
    """Return what is wrong, or dangerous, in the documents at *paths*, as lines to read."""
    lines: list[str] = []
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
            definition.load(text, str(path))
        except OSError as error:
            lines.append(f"{path}: {error.strerror}")
        except MigrationError as error:
            lines.append(error.message)
        else:
            lines += lint.explain(lint.findings(text, str(path)))
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Lint what the command line names; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m authoring.lint")
    parser.add_argument("files", nargs="*", type=Path, help="documents; by default all")
    parser.add_argument("--codes", action="store_true", help="explain every code")
    options = parser.parse_args(arguments)
    if options.codes:
        for rule in lint.RULES:
            print(f"{rule.code} {rule.title}\n    why   {rule.why}\n    safe  {rule.safe}")
        return 0
    paths = options.files or documents()
    found = check(paths)
    print("\n".join(found) if found else f"{len(paths)} documents: nothing found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
