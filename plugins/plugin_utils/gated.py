"""What every action that changes a database asks first: whether this command passed the gate.

A task that asserts it can be left out with ``--step``, ``--tags`` or ``--start-at-task``; the
action that does the change can't be left out and done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail

# Ansible loads a plugin by its path: what it shares with others lies beside it.
sys.path.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from evidence import command, record
from release import passage

_TRUE = frozenset({"true", "yes", "on", "1", "y", "t"})


def _always(_arguments: Mapping[str, Any]) -> bool:
    return True


def _backs_up(arguments: Mapping[str, Any]) -> bool:
    return bool(arguments.get("state", "present") != "list")


def _rehearses(arguments: Mapping[str, Any]) -> bool:
    return bool(arguments.get("state", "present") != "absent")


def _writes(arguments: Mapping[str, Any]) -> bool:
    return arguments.get("value") is not None


def _stops_writers(arguments: Mapping[str, Any]) -> bool:
    return str(arguments.get("state", "")).lower() in {"on", *_TRUE}


def _goes_on(arguments: Mapping[str, Any]) -> bool:
    return arguments.get("action") not in ("pause", "abort")


# Which calls change something, by module. To let writers in again, or to stop what is at work, is
# a way out: it is never refused.
_CHANGES: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "mongo_migrate": _always,
    "mongo_rollback": _always,
    "mongo_restore": _always,
    "mongo_prune": _always,
    "mongo_adopt": _always,
    "mongo_backup": _backs_up,
    # It writes a copy of all data, if only for a while.
    "mongo_rehearse": _rehearses,
    "mongo_maintenance": _stops_writers,
    "mongo_maintenance_flag": _writes,
    "app_maintenance_everywhere": _stops_writers,
    "mongo_migration_control": _goes_on,
}
# What begins a change also needs a place for what it leaves. What stops writers, ends a change or
# undoes it goes on without: the disk of the evidence may be what is broken meanwhile.
_WITH_EVIDENCE = frozenset(
    {
        *("mongo_migrate", "mongo_restore", "mongo_backup", "mongo_rehearse"),
        *("mongo_prune", "mongo_adopt"),
    }
)


def require(action: Any, task_vars: Mapping[str, Any]) -> None:
    """Refuse to change anything for a command that didn't pass the gate of its inventory.

    Args:
        action: the action plugin that is about to run its module.
        task_vars: its variables.

    Raises:
        AnsibleActionFail: the gate wasn't asked by this command, refuses, or isn't confirmed.
    """
    task = action._task
    module = str(task.action).rpartition(".")[2]
    changes = _CHANGES.get(module)
    if task.check_mode or changes is None or not changes(task.args):
        return
    if not _has_gate(action, task_vars):
        return
    now, host = command.of_worker(), str(task_vars.get("inventory_hostname", ""))
    shown = action._templar.template(task_vars.get("change_gate_passage", {}))
    problem = passage.refusal(shown, command=now, deployment=host)
    if not problem and module in _WITH_EVIDENCE:
        run = record.read(Path(str(shown.get("evidence", "")))) if shown.get("evidence") else {}
        problem = passage.without_evidence(shown, run, command=now)
    if problem:
        raise AnsibleActionFail(
            f"{module} changes nothing on {host}: {problem}. Run the whole command, without "
            "--step, --tags, --skip-tags or --start-at-task."
        )


def _has_gate(action: Any, task_vars: Mapping[str, Any]) -> bool:
    """Return whether this is one of the project's commands, or an inventory that asks for a gate.

    Who calls a module in a playbook of their own, with an inventory without a gate, needs none.
    """
    if "evidence_action" in task_vars:
        return True
    for name in passage.SETTINGS:
        value = action._templar.template(task_vars.get(name, False))
        if value.lower() in _TRUE if isinstance(value, str) else bool(value):
            return True
    return False
