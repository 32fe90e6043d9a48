"""Action plugin: write the files of an evidence folder, on the controller, in one task.

Each file through ansible.builtin.copy would run two modules; ten files for each command make that
the longest part of a quick one. Evidence is no change of the managed system, so `changed` is
always false, and check mode writes it too.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

FOLDER_MODE = 0o750
FILE_MODE = 0o640


class ActionModule(ActionBase):
    """Takes ``dest``, a folder that is made if needed, and ``files``, text by name."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Write the files; each appears whole or not at all."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, arguments = self.validate_argument_spec(
            {
                "dest": {"type": "path", "required": True},
                "files": {"type": "dict", "default": {}},
            }
        )
        folder = Path(str(arguments["dest"]))
        try:
            folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            for name, text in arguments["files"].items():
                _write(folder / str(name), str(text))
        except OSError as error:
            raise AnsibleActionFail(f"Can't write the evidence in {folder}: {error}") from error
        return {**result, "changed": False, "dest": str(folder)}


def _write(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.unfinished")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text.rstrip() + "\n")
    unfinished.replace(path)
