"""Set up an inventory for a MongoDB: `make init`. It only looks at the server.

python -m authoring.init --name shop [--database shop] [--migrations migrations]

What isn't given is asked for, the connection string without showing it; MONGO_URI in the
environment is taken as well.
"""

from __future__ import annotations

import argparse
import getpass
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mongo_migration import argument_specs
from mongo_migration.document import definition
from mongo_migration.errors import MigrationError
from mongo_migration.operations import registry
from mongo_migration.procedures import first_look
from mongo_migration.server import connection
from mongo_migration.support import mongodb_uri, neutral
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from .inventory_files import Inventory, write
from .lint import documents

ROOT = Path(__file__).parents[1]
_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
_SHOWN = 15


class RefusedError(Exception):
    """It can't go on; nothing was written."""


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Set up the inventory that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(prog="make init")
    parser.add_argument("--name", help="of the inventory, such as staging (NAME=)")
    parser.add_argument("--database", help="that is to be migrated (DATABASE=)")
    parser.add_argument("--migrations", default="migrations", help="folder (MIGRATIONS=)")
    options = parser.parse_args(arguments)
    try:
        return _init(options, root)
    except (RefusedError, MigrationError) as error:
        message = getattr(error, "message", str(error))
    except PyMongoError as error:
        message = connection.explain(error)
    except OSError as error:
        message = f"{error.filename}: {error.strerror}"
    except (KeyboardInterrupt, EOFError):
        message = "Interrupted."
    print(f"{neutral.terminal(message)} Nothing was written.", file=sys.stderr)
    return 2


def _init(options: argparse.Namespace, root: Path) -> int:
    name = _new_name(options.name or _ask("Name of the inventory, such as staging", "NAME"), root)
    uri = _uri()
    for warning in connection.warnings({"uri": uri}):
        print(neutral.terminal(f"Note: {warning}"))
    with _connected(uri) as client:
        database = options.database or _database(uri, first_look.databases(client))
        connection.check_database_name(database)
        seen = first_look.look(client, database)
    migrations = root / options.migrations
    inventory = Inventory(
        name=name,
        uri=uri,
        secret=any(mongodb_uri.secrets(uri)),
        database=database,
        mapping=first_look.mapping(_named(migrations), seen.collections),
        migrations=migrations,
        seen=_server(seen),
    )
    print("\n".join(["", *_found(inventory, seen)]))
    made = write(inventory, root)
    print("\n".join(["", *_written(made, root), "", *_next(inventory, seen, root)]))
    return 0


def _new_name(name: str, root: Path) -> str:
    if not _NAME.fullmatch(name):
        raise RefusedError(
            f"'{name}' isn't a name for an inventory: use small letters, digits and single "
            "hyphens, such as staging."
        )
    if (root / "inventories" / name).exists():
        raise RefusedError(
            f"inventories/{name} exists already. Choose another name, or remove that folder first."
        )
    return name


def _ask(question: str, variable: str) -> str:
    if not sys.stdin.isatty():
        raise RefusedError(f"{question}? Without a terminal, pass it: make init {variable}=…")
    return input(f"{question}: ").strip()


def _uri() -> str:
    uri = os.environ.get("MONGO_URI", "").strip()
    if not uri and not sys.stdin.isatty():
        raise RefusedError("Which MongoDB? Without a terminal, set MONGO_URI in the environment.")
    uri = (
        uri
        or getpass.getpass(
            "Connection string (mongodb://user:password@host:27017/…; it isn't shown): "
        ).strip()
    )
    if not mongodb_uri.is_well_formed(uri):
        raise RefusedError(
            "That isn't a connection string. It looks like mongodb://user:password@host:27017/, "
            "with each of : / ? # [ ] @ % in user and password escaped."
        )
    if mongodb_uri.user(uri) and not mongodb_uri.has_password(uri) and sys.stdin.isatty():
        uri = mongodb_uri.with_password(uri, getpass.getpass("Password (it isn't shown): "))
    return uri


def _connected(uri: str) -> MongoClient[dict[str, object]]:
    defaults = {
        name: rule.get("default") for name, rule in argument_specs.CONNECTION_OPTIONS.items()
    }
    return connection.connect({**defaults, "uri": uri, "database": "admin"})


def _database(uri: str, present: Sequence[str]) -> str:
    if named := mongodb_uri.database(uri):
        return named
    if len(present) == 1:
        return present[0]
    shown = ", ".join(map(neutral.line, present)) or "none that this user may see"
    return _ask(f"Which database is to be migrated ({shown})", "DATABASE")


def _named(folder: Path) -> list[str]:
    """Return the names of collections in the documents of *folder*; a wrong one names none."""
    found: set[str] = set()
    for path in documents(folder) if folder.is_dir() else ():
        try:
            loaded = definition.load(definition.read_text(path), path.name)
        except (MigrationError, OSError):
            continue  # make lint-migrations says what is wrong with it
        found.update(*map(registry.names, loaded.steps))
    return sorted(found)


def _server(seen: first_look.Look) -> str:
    server = seen.server
    kind = server.topology.replace("_", " ")
    user = f", as {seen.login.user}" if seen.login.user else ", without a login"
    return neutral.line(
        f"MongoDB {server.version}, {kind}{' ' + server.set_name if server.set_name else ''}{user}"
    )


def _found(inventory: Inventory, seen: first_look.Look) -> list[str]:
    lines = [
        _server(seen),
        f"{neutral.line(inventory.database)}: {len(seen.collections)} collections",
    ]
    for name, documents_ in list(seen.collections.items())[:_SHOWN]:
        amount = "?" if documents_ is None else f"{documents_:,}"
        lines.append(f"  {neutral.line(name):<28} {amount:>12}{_called(name, inventory.mapping)}")
    if len(seen.collections) > _SHOWN:
        lines.append(f"  and {len(seen.collections) - _SHOWN} more")
    if not seen.collections:
        lines.append("  It holds nothing: is the name right? MongoDB makes a database of any name.")
    return lines


def _called(real: str, mapping: Mapping[str, str]) -> str:
    names = [name for name, other in mapping.items() if other == real]
    return f"   {names[0]} in the documents" if names else ""


def _written(made: Sequence[Path], root: Path) -> list[str]:
    about = {
        "vault-password": "opens this project's vaults; keep it, no commit has it",
        "migrations": "for your documents",
    }
    lines = []
    for path in made:
        shown = path.relative_to(root) if path.is_relative_to(root) else path
        lines.append(f"made  {f'{shown}':<28} {about.get(path.name, '')}".rstrip())
    return lines


def _next(inventory: Inventory, seen: first_look.Look, root: Path) -> list[str]:
    lines = []
    if seen.login.missing:
        lines += [
            f"{neutral.line(seen.login.user)} lacks {', '.join(seen.login.missing)}.",
            "An administrator grants it in mongosh (docs/privileges.md says what for):",
            *(f"  {command}" for command in seen.login.for_mongosh()),
            "",
        ]
    if not seen.login.user:
        lines += ["The server asks for no password: nothing but a flag keeps writers out.", ""]
    folder = inventory.migrations.name if inventory.migrations.is_relative_to(root) else ""
    collection = next(iter(seen.collections), "customers")
    where = " ".join(filter(None, [f"-i {inventory.name}", inventory.options]))
    number = "001" if folder == "migrations" else "NNN"
    lines += [
        f"next  edit inventories/{inventory.name}/group_vars/all/contacts.yml",
        f"      make new-migration NAME=add-source COLLECTION={neutral.shell(collection)} "
        "FIELD=source VALUE=unknown",
        f"      .venv/bin/ansible-playbook migrate-{number}.yml {where} --check --diff",
    ]
    return lines


if __name__ == "__main__":
    sys.exit(main())
