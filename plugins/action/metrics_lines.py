"""Action plugin: add one line of figures to a file of JSON lines, on the controller.

The evidence plots the file. Several write to it at the same time, so a line is appended by one
write. Evidence is not a change of the managed system: `changed` is always false.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

FILE_MODE = 0o640


class ActionModule(ActionBase):
    """Takes ``dest``, the ``source`` of the figures, and ``values``, numbers by name."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Append the line."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(
            {
                "dest": {"type": "path", "required": True},
                "source": {"type": "str", "required": True},
                "values": {"type": "dict", "required": True},
            }
        )
        line = {
            "time": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "source": str(arguments["source"]),
            "values": {str(name): float(value) for name, value in arguments["values"].items()},
        }
        path = str(arguments["dest"])
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, FILE_MODE)
            try:
                os.write(descriptor, json.dumps(line).encode() + b"\n")
            finally:
                os.close(descriptor)
        except OSError as error:
            raise AnsibleActionFail(f"Can't add figures to {path}: {error}") from error
        return {**result, "changed": False}
