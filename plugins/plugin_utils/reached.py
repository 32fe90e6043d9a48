"""A module on another host: nothing secret is left there, and a lost connection is a failure.

Ansible ends a host that it can't reach at once, without ``rescue``: a migration that was cut off
would leave the application in maintenance mode, and nobody would be told.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ansible.errors import AnsibleConnectionFailure

# Of ssh's words, only the last line is about the failure.
_LONGEST = 300


def pipe(action: Any) -> None:
    """Let *action* pipe its module to the host's Python: its arguments hold passwords.

    Otherwise they would lie in a file of the host while it runs, and after a loss for ever.
    """
    if action._connection.transport == "ssh":
        with suppress(Exception):  # a connection plugin that knows no such option
            action._connection.set_option("pipelining", True)


def run(
    action: Any,
    host: str,
    work: Callable[[], dict[str, Any]],
    *,
    ended: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Return what *work* does, or a failure like any other where the host wasn't reached.

    Args:
        action: the action plugin.
        host: the name of the host.
        work: runs the module there.
        ended: after a loss, says whether the module is known to be at work no more; without it the
            module takes but a moment.
    """
    pipe(action)
    try:
        return work()
    except AnsibleConnectionFailure as error:
        module = str(action._task.action).rpartition(".")[2]
        known = ended() if ended else None
        return {"failed": True, "changed": False, "msg": _told(host, module, str(error), known)}


def _told(host: str, module: str, words: str, ended: bool | None) -> str:
    # ssh's own words follow Ansible's, which always say the same.
    said = words.rpartition("ssh:")[2].strip() or "ssh ended without a word"
    why = said.splitlines()[-1].strip()[-_LONGEST:].rstrip(".")
    if ended is None:
        return f"{host} can't be reached for {module}: {why}."
    if ended:
        return (
            f"The connection to {host} was lost during {module}: {why}. Nothing of it is at work "
            "there any more: it ended at a batch."
        )
    return (
        f"The connection to {host} was lost during {module}, and {host} can't be reached: {why}. "
        "If it is still at work there, it ends at a batch within a minute or two."
    )
