"""Action plugin: make the report of a folder of evidence, seal the folder and pack it.

When a task with this action starts, the callback plugin ``migration_log`` writes the last lines of
the log and lets go of it. ``evidence_finish`` is a link to this file, for other folders: that of a
command that was killed, and that of one migration of a release. The log of the running command goes
on.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# Ansible loads a plugin by its path: what it shares with others lies beside it.
sys.path.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from evidence import bundle, log_writer


class ActionModule(ActionBase):
    """Takes ``dest``, the folder, and ``signing_key``.

    ``finished_by`` names the command that finishes what another one left; ``log_of`` is a folder
    whose log so far is a part of this evidence.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Seal the folder."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, given = self.validate_argument_spec(
            {
                "dest": {"type": "path", "required": True},
                "finished_by": {"type": "str", "default": ""},
                "log_of": {"type": "path"},
                "signing_key": {"type": "str", "no_log": True, "default": ""},
            }
        )
        if not given["dest"]:
            raise AnsibleActionFail("There is no folder for the evidence")
        folder = Path(given["dest"])
        try:
            if given["log_of"]:
                log_writer.copy(Path(given["log_of"]), folder)
            closed = bundle.close(
                folder,
                signing_key=given["signing_key"] or None,
                finished_by=given["finished_by"],
            )
        except OSError as error:
            raise AnsibleActionFail(f"Can't seal the evidence in {folder}: {error}") from error
        if closed["problems"]:
            raise AnsibleActionFail("; ".join(closed["problems"]), result=closed)
        return {**result, "changed": False, **closed}
