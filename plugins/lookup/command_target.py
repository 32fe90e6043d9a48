"""Lookup plugin: the options by which a suggested command meets the same deployment."""

from __future__ import annotations

DOCUMENTATION = r"""
name: command_target
short_description: C(-i), C(--limit) and the options of the vault, as this command was given them
version_added: "1.1.0"
description:
  - Where the inventory has several deployments and no limit was given, the host of the task is.
options:
  _terms:
    description: The group of the deployments.
    type: list
    elements: str
    required: true
"""

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.lookup import LookupBase

# Ansible loads a plugin by its path: what it shares with others lies beside it.
sys.path.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from invocation import ansible_cli


class LookupModule(LookupBase):
    """Takes the group."""

    def run(
        self, terms: list[str], variables: dict[str, Any] | None = None, **_options: Any
    ) -> list[str]:
        """Return the options."""
        return [ansible_cli.target(variables or {}, group=terms[0])]
