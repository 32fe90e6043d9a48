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
import packed
import reached
import screen
from invocation import ansible_cli

# Of those whose plugin this is, what may take long: it shows how far it is, and hears Ctrl-C.
_LONG = frozenset({"mongo_verify"})
# What the callback puts before a line.
_INDENT = 5


class ActionModule(packed.Packed, NormalAction):
    """Runs the module."""

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Run it; what changes something, for a command that passed the gate."""
        if self._task.args.get("fleet") or self._task.action.rpartition(".")[2] in _LONG:
            return self._watched(tmp, task_vars)
        gated.require(self, task_vars or {})
        host = str((task_vars or {}).get("inventory_hostname", "the host"))
        answer = reached.run(self, host, lambda: super(ActionModule, self).run(tmp, task_vars))
        result = _as_wide_as_the_screen(answer)
        completed: dict[str, Any] = ansible_cli.pasteable(result, task_vars or {})
        return completed

    def _watched(self, tmp: str | None, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Run it as the long modules are run: many databases, and much data, take their time."""
        action = self._shared_loader_obj.action_loader.get(
            "mongo_migrate",
            task=self._task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        result: dict[str, Any] = action.run(tmp, task_vars)
        return result


def _as_wide_as_the_screen(result: dict[str, Any]) -> dict[str, Any]:
    """Return *result* with its plan written for this screen, of which the module knows nothing."""
    columns = screen.columns()
    if columns is None or not result.get("plan") or not result.get("plan_text"):
        return result
    from mongo_migration.procedures import plan_text
    from mongo_migration.support import tables

    with tables.as_wide_as(columns - _INDENT):
        return {**result, "plan_text": plan_text.table(result["plan"]).splitlines()}
