"""The command line at hand, from what Ansible keeps of it; on the controller only."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible import constants, context
from ansible.utils.vars import load_extra_vars

from . import command_line

# plugins/module_utils/invocation → the folder of the playbooks.
PROJECT = Path(__file__).resolve().parents[3]
# …/ansible_collections/NAMESPACE/NAME, where they are installed as a collection.
COLLECTION = (
    ".".join(PROJECT.parts[-2:]) if PROJECT.parts[-3:-2] == ("ansible_collections",) else ""
)
_GATE = ("ticket", "approver")


def read() -> command_line.CommandLine:
    """Return the command line of this process."""
    # Read by Ansible before the first play, and kept there.
    given = getattr(load_extra_vars, "extra_vars", None) or {}
    return command_line.read(context.CLIARGS, sys.argv[1:], constants.DEFAULT_HOST_LIST, given)


def target(variables: Mapping[str, Any], *, group: str = "mongodb") -> str:
    """Return the options of a command about the host of *variables*, such as ``-i production``."""
    return command_line.target(read(), host=_host(variables, group))


def pasteable(value: Any, variables: Mapping[str, Any], *, group: str = "mongodb") -> Any:
    """Return *value*, a text or any structure of them, with its commands fit to be pasted.

    Args:
        value: what is printed, or stored to be.
        variables: of the host that it is about.
        group: of the deployments; where it has several, commands name theirs.
    """
    return command_line.complete_all(
        value,
        line=read(),
        project=PROJECT,
        collection=COLLECTION,
        host=_host(variables, group),
        shown={name: str(variables[name]) for name in _GATE if variables.get(name)},
    )


def _host(variables: Mapping[str, Any], group: str) -> str:
    """Return the deployment that is meant, where the inventory has several."""
    deployments = (variables.get("groups") or {}).get(group) or ()
    host = str(variables.get("inventory_hostname") or "")
    return host if len(deployments) > 1 and host in deployments else ""
