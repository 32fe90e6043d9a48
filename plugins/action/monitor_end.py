"""Action plugin: end the sampling that the role monitor began, and read what it has found.

On the controller, without a module: a task each for the stop file, the waiting and the clearing
away would take longer than everything else.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

_LOOK_SECONDS = 0.1


class ActionModule(ActionBase):
    """Takes ``stop_file``, ``results_file`` of the job, and for how many ``seconds`` to wait."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Tell it to stop, wait, and return its result."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(
            {
                "stop_file": {"type": "path", "required": True},
                "results_file": {"type": "path", "required": True},
                "seconds": {"type": "float", "default": 30.0},
            }
        )
        stop, results = Path(arguments["stop_file"]), Path(arguments["results_file"])
        end = time.monotonic() + arguments["seconds"]
        try:
            stop.touch()
            while not (found := _finished(results)):
                if time.monotonic() > end:
                    raise AnsibleActionFail(
                        f"The sampling doesn't end within {arguments['seconds']:g} s; {results} "
                        "says why, and it ends with this command at the latest"
                    )
                time.sleep(_LOOK_SECONDS)
            results.unlink(missing_ok=True)
            stop.unlink(missing_ok=True)
        except OSError as error:
            raise AnsibleActionFail(f"The sampling can't be ended: {error}") from error
        if found.get("failed"):
            raise AnsibleActionFail(f"The sampling failed: {found.get('msg')}")
        kept = ("samples", "worst", "actions", "level", "gaps", "ended", "writes")
        return {**result, "changed": False, **{key: found.get(key) for key in kept}}


def _finished(results: Path) -> dict[str, Any] | None:
    """Return the job's result, or None while there is none."""
    try:
        found = json.loads(results.read_text())
    except (OSError, ValueError):
        return None  # not yet, or just being written
    # While it runs, the file only says that it was started.
    return None if "started" in found else dict(found)
