"""Write a new migration document and its root playbook: `make new-migration NAME=add-currency`.

With COLLECTION, FIELD and VALUE it gives that field that value wherever it is missing: a first
migration for any database. Without, it is a commented document that shows more.

Where the project has a folder `migrations/` (`make init` makes it), the document goes there; else
beside those that the project brings. DIR= names another one.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).parent
ROOT = HERE.parent

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NUMBERED = re.compile(r"([0-9]{3,})-(.+)[.]ya?ml")


class RefusedError(Exception):
    """The name can't be used; nothing was written."""


@dataclass(frozen=True, kw_only=True)
class Constant:
    """A value for a field of a collection, where it is missing."""

    collection: str
    field: str
    value: Any

    @property
    def type(self) -> str | None:
        """The BSON type of the value, where a constant of it tells."""
        return {bool: "bool", int: "int", float: "double", str: "string"}.get(type(self.value))


def folder_of(root: Path) -> Path:
    """Return where the project's own documents are."""
    own = root / "migrations"
    return own if own.is_dir() else root / "playbooks" / "migrations"


def create(
    name: str, root: Path = ROOT, *, folder: Path | None = None, constant: Constant | None = None
) -> list[Path]:
    """Write the document with the next number and, where there is none, its playbook; return both.

    Raises:
        RefusedError: the name is bad, or something of that name or number exists.
    """
    folder = folder or folder_of(root)
    if not _NAME.fullmatch(name):
        raise RefusedError(
            f"'{name}' isn't a name for a migration: use small letters, digits and single hyphens, "
            "such as add-currency."
        )
    if not folder.is_dir():
        raise RefusedError(f"{folder}: there is no such folder. Make it, or name another: DIR=.")
    existing = sorted(
        (int(match[1]), match[1], match[2])
        for path in folder.iterdir()
        if (match := _NUMBERED.fullmatch(path.name))
    )
    for _place, number, other in existing:
        if other == name:
            raise RefusedError(
                f"Migration {number} is called '{name}' already. Choose another name."
            )
    last = existing[-1][1] if existing else None
    number = f"{int(last or 0) + 1:03d}"
    document, playbook = folder / f"{number}-{name}.yml", root / f"migrate-{number}.yml"
    facts = {
        "number": number,
        "name": name,
        "after": last,
        "schema": os.path.relpath(root / "docs" / "migration-document.schema.json", folder),
    }
    # The playbook of a number is the same for every folder.
    text = _render("playbook.yml.j2", facts)
    if playbook.exists() and yaml.safe_load(playbook.read_text()) != yaml.safe_load(text):
        raise RefusedError(f"{playbook} exists already. Remove it, or give it its document.")
    template = "constant.yml.j2" if constant else "migration.yml.j2"
    document.write_text(_render(template, {**facts, "constant": constant}), encoding="utf-8")
    if not playbook.exists():
        playbook.write_text(text, encoding="utf-8")
    return [document, playbook]


def _render(template: str, facts: dict[str, Any]) -> str:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        # Not {{ }}: those are the document's own.
        variable_start_string="<<",
        variable_end_string=">>",
    )
    environment.filters["yaml"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.get_template(template).render(facts)


def main(arguments: list[str] | None = None) -> int:
    """Write what the command line names; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m authoring.new_migration")
    parser.add_argument("name", help="such as add-currency")
    parser.add_argument("--dir", type=Path, help="folder of the documents (DIR=)")
    parser.add_argument("--collection", default="", help="of a first, simple one (COLLECTION=)")
    parser.add_argument("--field", default="", help="that gets a value (FIELD=)")
    parser.add_argument("--value", default="", help="in YAML, such as EUR or 0 (VALUE=)")
    options = parser.parse_args(arguments)
    try:
        folder = options.dir.resolve() if options.dir else None
        document, playbook = create(
            options.name,
            folder=folder,
            constant=_constant(options.collection, options.field, options.value),
        )
    except RefusedError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{_shown(document)}  the document: edit it, its comments say how")
    print(f"{_shown(playbook)}  its playbook")
    print(
        "next: make lint-migrations, then "
        f"ansible-playbook {playbook.name} -i {_inventory(document.parent)} --check --diff"
    )
    return 0


def _constant(collection: str, field: str, value: str) -> Constant | None:
    if not (collection or field or value):
        return None
    if not (collection and field and value):
        raise RefusedError("COLLECTION, FIELD and VALUE belong together: pass all three, or none.")
    if "." in field or field.startswith("$") or field == "_id":
        raise RefusedError(f"FIELD={field}: it takes a top-level field; write `update` for others.")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        parsed = value
    # What YAML makes of a date or of ~ isn't what was typed.
    plain = parsed if isinstance(parsed, bool | int | float | str) else value
    return Constant(collection=collection, field=field, value=plain)


def _inventory(folder: Path) -> str:
    """Return what to pass with -i for the documents of *folder*: the inventory that names them."""
    if folder == ROOT / "playbooks" / "migrations":
        return "sandbox"
    wanted = re.compile(rf"^migrations_dir: .*/{re.escape(folder.name)}['\"]?$", re.MULTILINE)
    for settings in sorted((ROOT / "inventories").glob("*/group_vars/all/main.yml")):
        if wanted.search(settings.read_text(encoding="utf-8")):
            name = settings.parents[2].name
            vault = settings.parents[1] / "mongodb" / "vault.yml"
            return f"{name} --vault-password-file vault-password" if vault.exists() else name
    return "INVENTORY"


def _shown(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


if __name__ == "__main__":
    sys.exit(main())
