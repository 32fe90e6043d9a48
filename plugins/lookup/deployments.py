"""Lookup plugin: the hosts of a play, unless the command line leaves out what protects."""

from __future__ import annotations

DOCUMENTATION = r"""
name: deployments
short_description: The hosts that a play is about, after a look at the command line
version_added: "1.1.0"
description:
  - For C(hosts) of a play. Ansible evaluates that before anything else, whatever
    C(--start-at-task), C(--tags) or C(--limit) leave out, so that none of them leaves out this.
  - Fails with the reason for options that would skip the checks or the gate, and where C(--limit)
    leaves no deployment. Returns C(localhost) where the group is empty, so that a task can say so.
options:
  _terms:
    description: The group that holds one host per deployment.
    type: list
    elements: str
    required: true
  first:
    description: Whether one host of them is enough, the first.
    type: bool
    default: false
"""

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.lookup import LookupBase

# Ansible loads a plugin by its path: what it shares with others lies beside it.
sys.path.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from invocation import ansible_cli, command_line


class LookupModule(LookupBase):
    """Takes the group."""

    def run(
        self, terms: list[str], variables: dict[str, Any] | None = None, **options: Any
    ) -> list[str]:
        """Return what the play's ``hosts`` are."""
        self.set_options(var_options=variables, direct=options)
        line = ansible_cli.read()
        if problems := command_line.refusals(line):
            raise AnsibleLookupError("; ".join(problems) + ". Nothing was started.")
        groups = (variables or {}).get("groups") or {}
        group = terms[0]
        if not groups.get(group):
            return ["localhost"]
        left = _limited(groups, group, line.limit)
        if not left:
            raise AnsibleLookupError(
                f"--limit {line.limit} leaves no deployment: of the group '{group}' "
                f"({', '.join(groups[group])}) it must name at least one. Nothing was started."
            )
        return [left[0] if self.get_option("first") else group]


def _limited(groups: dict[str, list[str]], group: str, limit: str | None) -> list[str]:
    """Return the hosts of *group* that *limit* leaves, as Ansible itself understands it."""
    if not limit:
        return groups[group]
    inventory = InventoryManager(loader=DataLoader(), sources=[], parse=False)
    for name, hosts in groups.items():
        if name not in ("all", "ungrouped"):
            inventory.add_group(name)
        for host in hosts:
            inventory.add_host(host, group=name)
    inventory.subset(limit)
    return [host.name for host in inventory.get_hosts(group)]
