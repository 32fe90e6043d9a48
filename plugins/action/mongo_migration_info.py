"""Action plugin: run the module of the same name, and complete the commands that it suggests.

The engine knows what to type next, but not with which inventory; that is known here, where
ansible-playbook runs, and so is whether this command passed the gate. The other modules that
suggest commands or change something are links to this file, or do the same in their own.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.action.normal import ActionModule as NormalAction

# Ansible loads a plugin by its path: what it shares with others lies beside it.
_BESIDE = Path(__file__).resolve().parents[1]
sys.path += [str(_BESIDE / "module_utils"), str(_BESIDE / "plugin_utils")]

import gated
from invocation import ansible_cli


class ActionModule(NormalAction):
    """Runs the module."""

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Run it; what changes something, for a command that passed the gate."""
        gated.require(self, task_vars or {})
        result = super().run(tmp, task_vars)
        completed: dict[str, Any] = ansible_cli.pasteable(result, task_vars or {})
        return completed
