"""Who runs a command, and what of its settings came by the command line."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, Sequence
from pathlib import PurePath
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


def platform_user(
    given: Mapping[str, Any], options: Sequence[str], environment: Mapping[str, str]
) -> str:
    """Return who started the job of an automation platform; empty where none runs this command.

    Args:
        given: the variables that came by ``-e``.
        options: the arguments of ``-e``, as on the command line.
        environment: of this process.

    Anybody can pass ``-e awx_user_name=…``. The platform's own comes in the one file that its
    runner writes, beside the folder that the environment names, and with nothing else by ``-e``.
    """
    artifacts = environment.get("AWX_ISOLATED_DATA_DIR", "")
    if not (artifacts and environment.get("AWX_PRIVATE_DATA_DIR")):
        return ""
    # …/artifacts/ID → …/env/extravars
    written = f"@{PurePath(artifacts).parents[1] / 'env' / 'extravars'}"
    if list(options) != [written]:
        return ""
    names = (str(given.get(f"{each}user_name") or "") for each in _CONTROLLER)
    return next(filter(None, names), "")


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
