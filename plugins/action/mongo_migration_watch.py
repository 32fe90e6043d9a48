"""Action plugin: show how far a run of another terminal is, until it ends or Ctrl-C."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible.plugins.loader import action_loader

Watching: Any = action_loader.get("mongo_migrate", class_only=True)


class ActionModule(Watching):
    """Runs the module, with the progress line of the run itself."""

    _stopping = "Ending to watch …"

    def _end(self, result: Mapping[str, Any], task_vars: Mapping[str, Any]) -> None:
        """Say that only the watching ended: Ansible has stopped to wait for results."""
        if result.get("failed"):
            words = str(result["msg"])
        elif result.get("at_work"):
            words = f"You watch no more; the work goes on: {result['work']}."
        else:
            words = "Nobody is at work any more."
        self._tell(f"\n{words}\n(The exit code 99 is Ansible's for a stop by a person.)")
        os._exit(1)
