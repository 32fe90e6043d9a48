"""Callback plugin of `bench.flow`: each result of a task, with its phase and how long it took."""

from __future__ import annotations

DOCUMENTATION = r"""
name: flow_calls
type: aggregate
short_description: Writes each result of a task, its phase and its seconds into a file
description:
  - One line of JSON for each result, into the file that FLOW_CALLS names.
requirements: []
author: The migration playbooks' authors
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

_INCLUDING = frozenset({"include_role", "ansible.builtin.include_role"})


class CallbackModule(CallbackBase):  # type: ignore[misc] # Ansible's classes have no types
    """Writes the calls."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "flow_calls"

    def __init__(self) -> None:
        super().__init__()
        self._file = Path(os.environ["FLOW_CALLS"])
        self._phase = "begin"
        self._last = time.monotonic()

    def v2_playbook_on_include(self, included_file: Any) -> None:
        """Note the phase: a role that the playbook itself includes."""
        task = included_file._task
        if task.action in _INCLUDING and task._role is None:
            self._phase = task.get_name()

    def v2_runner_on_ok(self, result: Any) -> None:
        """Note one result."""
        self._note(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Note one result."""
        self._note(result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        """Note one result."""
        self._note(result, skipped=True)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Note one turn of a loop."""
        self._note(result, turn=True)

    def _note(self, result: Any, *, skipped: bool = False, turn: bool = False) -> None:
        now = time.monotonic()
        line = {
            "phase": self._phase,
            "task": result.task.get_name(),
            "action": str(result.task.action).rpartition(".")[2],
            "loop": bool(result.task.loop) and not turn,
            "skipped": skipped,
            # Since the result before: what Ansible does between tasks is part of the cost.
            "seconds": round(now - self._last, 3),
        }
        self._last = now
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
