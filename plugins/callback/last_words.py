"""Callback plugin: the last words of a command that didn't come to its end by itself."""

from __future__ import annotations

DOCUMENTATION = r"""
name: last_words
type: notification
short_description: Says what state things are in when a command is interrupted
version_added: "1.1.0"
description:
  - Ctrl-C runs neither C(rescue) nor C(always). Without this, the last words would be "User
    interrupted execution", with an application that may be read-only.
  - The long modules say it themselves, since they end at a batch of their own (see the action
    plugin C(mongo_migrate)); here it is said for every other moment.
author: The migration playbooks' authors (@migration-playbooks)
"""

import atexit
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.plugins.callback import CallbackBase

# Ansible loads a plugin by its path: what it shares with others lies beside it.
_BESIDE = Path(__file__).resolve().parents[1]
sys.path += [str(_BESIDE / "module_utils"), str(_BESIDE / "plugin_utils")]

import outcome
from invocation import interruption

_INCLUDING = frozenset({"include_role", "ansible.builtin.include_role"})


class CallbackModule(CallbackBase):
    """Follows the phases, and speaks when the process ends before the playbook has."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "last_words"

    def __init__(self) -> None:
        super().__init__()
        self._story = interruption.Story()
        self._task: Any = None
        atexit.register(self._on_exit, os.getpid())

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Remember what is being done."""
        self._task = task

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Remember what is being done."""
        self._task = task

    def v2_playbook_on_include(self, included_file: Any) -> None:
        """Remember the phase: a role that the playbook itself includes."""
        task = included_file._task
        if task.action in _INCLUDING and task._role is None:
            self._story.phase = task.get_name()

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Remember what may have been begun, since its result may never come."""
        self._story.begins(
            task.action, check=bool(task.check_mode), background=bool(task.async_val)
        )

    def v2_runner_on_ok(self, result: Any) -> None:
        """Remember what a task recorded."""
        self._story.learns(outcome.values(result).get("ansible_facts") or {})

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """It came to its end; the playbook has said how."""
        self._story.ended = True

    def _on_exit(self, process: int) -> None:
        if os.getpid() != process or self._task is None or self._story.ended:
            return
        again = shlex.join(["ansible-playbook", *sys.argv[1:]])
        task = self._task.get_name().rpartition(" : ")[2]
        for line in self._story.last_words(task, again):
            self._display.display(line, color=constants.COLOR_WARN)
