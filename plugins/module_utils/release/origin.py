"""Who runs a command, and what of its settings came by the command line."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from typing import Any

# What a person says of a change.
_SAID = frozenset(
    {"operator", "approver", "ticket", "reason", "override", "confirm", "checklist", "force"}
)
_GATE = "change_gate_"
# What an automation controller says of its job. It comes by -e as well, so anybody can say it.
_CONTROLLER = ("awx_", "tower_")
# May hold a password.
_NEVER_SHOWN = frozenset({"change_gate_ticket_system"})


def login() -> str:
    """Return as whom the person is logged in; who became root by sudo is named too."""
    number = os.geteuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:  # in a container
        name = f"uid {number}"
    before = os.environ.get("SUDO_USER", "")
    return f"{before}, as {name}" if before and before != name else name


def of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the evidence keeps of the variables that came by ``-e``.

    Values of what concerns the gate and of an automation controller; of all others the names alone,
    since any of them may be a secret.
    """
    said = {name for name in given if name in _SAID or name.startswith(_GATE)}
    controller = {name for name in given if name.startswith(_CONTROLLER)}
    shown = {name: _shown(name, given[name]) for name in sorted(said)}
    return {
        "from_command_line": shown,
        "controller": {name: _shown(name, given[name]) for name in sorted(controller)},
        "other_variables": sorted(map(str, set(given) - said - controller)),
    }


def _shown(name: str, value: Any) -> Any:
    if name in _NEVER_SHOWN:
        return "(not kept)"
    return value if isinstance(value, bool | int | float | list | type(None)) else str(value)
