"""Which ansible-playbook is at work: what one command was allowed must not serve another one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def of_worker() -> str:
    """Return the command that the process asking is a worker of."""
    return identity(os.getppid())


def identity(process: int) -> str:
    """Return what tells *process* from every other one: its number, and when it began.

    Numbers of processes are used again; a number and an instant aren't.
    """
    return f"{process}@{_began(process)}"


def _began(process: int) -> str:
    try:
        # The name in the second field may hold spaces and parentheses; the 22nd is the begin.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return fields[19]
    except (OSError, IndexError):
        return _began_elsewhere(process)


def _began_elsewhere(process: int) -> str:
    """Ask ``ps``, where there is no /proc."""
    try:
        done = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(process)], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return "-".join(done.stdout.split())
