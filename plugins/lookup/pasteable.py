"""Lookup plugin: texts with their suggested commands fit to be pasted."""

from __future__ import annotations

DOCUMENTATION = r"""
name: pasteable
short_description: Completes the commands in a text by the inventory and the limit of this command
version_added: "1.1.0"
description:
  - A command that is suggested to a person stands in a text as C(ansible-playbook status.yml). Here
    it gets what only the command line knows, C(-i), C(--limit) and the options of the vault, as
    they were given. The action plugins of the modules do the same to what the engine suggests.
options:
  _terms:
    description: The texts.
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
    """Takes texts."""

    def run(
        self, terms: list[str], variables: dict[str, Any] | None = None, **_options: Any
    ) -> list[Any]:
        """Return the texts."""
        return [ansible_cli.pasteable(term, variables or {}) for term in terms]
