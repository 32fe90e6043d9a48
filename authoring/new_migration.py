"""Write a new migration document and its root playbook: `make new-migration NAME=add-currency`."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).parent
ROOT = HERE.parent

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NUMBERED = re.compile(r"([0-9]{3,})-(.+)[.]ya?ml")


class RefusedError(Exception):
    """The name can't be used; nothing was written."""


def create(name: str, root: Path = ROOT) -> list[Path]:
    """Write the document with the next number and its playbook; return both.

    Raises:
        RefusedError: the name is bad, or something of that name or number exists.
    """
    if not _NAME.fullmatch(name):
        raise RefusedError(
            f"'{name}' is no name for a migration: use small letters, digits and single hyphens, "
            "such as add-currency."
        )
    folder = root / "playbooks" / "migrations"
    existing = sorted(
        (match[1], match[2])
        for path in folder.glob("*.yml")
        if (match := _NUMBERED.fullmatch(path.name))
    )
    for number, other in existing:
        if other == name:
            raise RefusedError(
                f"Migration {number} is called '{name}' already. Choose another name."
            )
    last = existing[-1][0] if existing else "000"
    number = f"{int(last) + 1:03d}"
    document, playbook = folder / f"{number}-{name}.yml", root / f"migrate-{number}.yml"
    for path in (document, playbook):
        if path.exists():
            raise RefusedError(f"{path} exists already. Remove it, or give it its document.")
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        # Not {{ }}: those are the document's own.
        variable_start_string="<<",
        variable_end_string=">>",
    )
    facts = {"number": number, "name": name, "after": last if existing else None}
    document.write_text(environment.get_template("migration.yml.j2").render(facts))
    playbook.write_text(environment.get_template("playbook.yml.j2").render(facts))
    return [document, playbook]


def main(arguments: list[str] | None = None) -> int:
    """Write what the command line names; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m authoring.new_migration")
    parser.add_argument("name", help="such as add-currency")
    options = parser.parse_args(arguments)
    try:
        document, playbook = create(options.name)
    except RefusedError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{document.relative_to(ROOT)}  the document: edit it, its comments say how")
    print(f"{playbook.relative_to(ROOT)}  its playbook")
    print(
        "next: make lint-migrations, then "
        f"ansible-playbook {playbook.name} -i sandbox --check --diff"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
