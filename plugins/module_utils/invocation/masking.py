"""What a command must never show: the secrets of its inventory; on the controller only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from mongo_migration.support.secrets import Masker

from . import inventory_secrets

try:
    from ansible.template import is_trusted_as_template
except ImportError:  # ansible-core before 2.19, which marks what isn't
    from ansible.utils.unsafe_proxy import AnsibleUnsafe

    def is_trusted_as_template(value: object) -> bool:
        """Return whether *value* may be a template."""
        return not isinstance(value, AnsibleUnsafe)


def masker(of_hosts: Iterable[Mapping[str, Any]], loader: DataLoader) -> Masker:
    """Return what masks the secrets of every host.

    Args:
        of_hosts: the variables of each, their templates not resolved.
        loader: of the playbook.
    """
    found: set[str] = set()
    for variables in of_hosts:
        templar = Templar(loader=loader, variables=dict(variables))
        found |= inventory_secrets.find(variables, templar.template)
    return Masker(found)


def problems(of_hosts: Iterable[Mapping[str, Any]], loader: DataLoader) -> list[str]:
    """Return what YAML or Jinja made of secrets in the vault, each once."""
    found: list[str] = []
    for variables in of_hosts:
        templar = Templar(loader=loader, variables=dict(variables))
        found += inventory_secrets.problems(variables, templar.template, is_trusted_as_template)
    return list(dict.fromkeys(found))


def of_hosts(variables: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the variables of every host of the inventory, as a task's *variables* know them."""
    hostvars = variables.get("hostvars")
    if hostvars is None:
        return [variables]
    names = {host for group in (variables.get("groups") or {}).values() for host in group}
    return [variables, *(hostvars.raw_get(name) for name in sorted(names))]
