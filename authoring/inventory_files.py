"""An inventory's files, made of what was seen of a deployment; written whole or not at all."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent / "templates" / "inventory"
VAULT_PASSWORD = "vault-password"
_VAULT = Path("group_vars/mongodb/vault.yml")
_HERE = "{{ inventory_dir | realpath | dirname | dirname }}"


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What an inventory says.

    Args:
        name: of its folder, and what ``-i`` takes.
        uri: the connection string.
        secret: whether it holds a password, and so belongs into a vault.
        database: the database that is migrated.
        mapping: names of collections in the documents → real names.
        migrations: the folder of the documents.
        seen: a comment on what answered there.
    """

    name: str
    uri: str
    secret: bool
    database: str
    mapping: Mapping[str, str]
    migrations: Path
    seen: str

    @property
    def options(self) -> str:
        """What a command needs beside ``-i``."""
        return f"--vault-password-file {VAULT_PASSWORD}" if self.secret else ""


def write(inventory: Inventory, root: Path) -> list[Path]:
    """Write the inventory, its vault, and the folder of the documents; return what was made.

    Raises:
        OSError: it can't be written; nothing is left then.
    """
    made = [root / "inventories" / inventory.name]
    with tempfile.TemporaryDirectory(dir=root / "inventories", prefix=".init-") as scratch:
        folder = Path(scratch) / inventory.name
        _render(inventory, folder, root)
        if inventory.secret:
            made += _write_vault(inventory, folder / _VAULT, root / VAULT_PASSWORD)
        folder.rename(made[0])
    link = root / inventory.name
    if not link.exists() and not link.is_symlink():
        link.symlink_to(Path("inventories") / inventory.name)
        made.append(link)
    if not inventory.migrations.exists():
        inventory.migrations.mkdir(parents=True)
        # An empty folder would be in no commit, and missing in the next clone.
        (inventory.migrations / ".gitkeep").touch()
        made.append(inventory.migrations)
    return made


def _render(inventory: Inventory, folder: Path, root: Path) -> None:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        # Not {{ }}: those are the inventory's own.
        variable_start_string="<<",
        variable_end_string=">>",
    )
    environment.filters.update(yaml=_text, no_template=_no_template, yaml_map=_map)
    facts = {
        **vars(inventory),
        "host": f"{inventory.name}-db",
        "confirm": "prod" in inventory.name,
        "vault_options": inventory.options,
        "migrations_dir": _place(inventory.migrations, root),
        "backup_dir": f"{_HERE}/backups/{inventory.name}",
    }
    for template in environment.list_templates(extensions=["j2"]):
        file = folder / template.removesuffix(".j2")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(environment.get_template(template).render(facts), encoding="utf-8")


def _write_vault(inventory: Inventory, file: Path, password_file: Path) -> list[Path]:
    """Encrypt the connection string, with a password that is made where there is none yet."""
    from ansible.parsing.vault import VaultLib, VaultSecret

    made = []
    if not password_file.exists():
        opened = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(opened, "w", encoding="utf-8") as stream:
            stream.write(secrets.token_urlsafe(32) + "\n")
        made.append(password_file)
    password = password_file.read_bytes().strip()
    text = f"---\nvault_mongo_uri: !unsafe {_text(inventory.uri)}\n"
    file.write_bytes(VaultLib([("default", VaultSecret(password))]).encrypt(text.encode()))
    file.chmod(0o600)
    return made


def _place(folder: Path, root: Path) -> str:
    """Return a folder so that every clone of the project finds it."""
    if folder.is_relative_to(root):
        return f"{_HERE}/{folder.relative_to(root)}"
    return str(folder)


def _text(value: str) -> str:
    """Return a text in quotes, of which YAML makes nothing else."""
    if not value.isprintable():  # what no line shows is escaped, which only double quotes can
        return yaml.safe_dump(value, default_style='"', width=1 << 20).strip()
    return "'" + value.replace("'", "''") + "'"


def _no_template(value: str) -> str:
    """Return a text of the server's, of which Ansible makes nothing else either."""
    return f"!unsafe {_text(value)}" if "{" in value else _text(value)


def _map(values: Mapping[str, str]) -> str:
    if not values:
        return "{}"
    lines = yaml.safe_dump(dict(values), default_flow_style=False, allow_unicode=True)
    return "\n" + "".join(f"  {line}\n" for line in lines.splitlines()).rstrip("\n")
