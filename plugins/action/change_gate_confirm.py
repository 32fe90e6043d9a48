"""Action plugin: let the command pass if a person typed the right name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

# Ansible loads a plugin by its path: what it shares with others lies beside it.
sys.path.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from evidence import record


class ActionModule(ActionBase):
    """Takes ``passage`` and ``record`` of change_gate_check, ``typed`` and ``database``."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Compare the names; nothing typed is not an answer."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, given = self.validate_argument_spec(
            {
                "passage": {"type": "dict", "required": True},
                "record": {"type": "dict", "required": True},
                "database": {"type": "str", "required": True},
                "typed": {"type": "str", "default": ""},
            }
        )
        database = given["database"]
        if given["typed"] != database:
            raise AnsibleActionFail(
                "Not confirmed: this inventory asks for the database's name. Type it when asked, "
                f"or without a terminal pass -e confirm={database}."
            )
        passage = {**given["passage"], "to_confirm": ""}
        kept = {**given["record"], "to_confirm": "", "confirmed": database}
        folder = passage.get("evidence")
        try:
            if folder:
                record.write_json(Path(folder) / "gate.json", kept)
        except OSError as error:
            text = f"Can't keep the confirmation in {folder}: {error}"
            if passage.get("with_evidence"):
                raise AnsibleActionFail(text) from error
            Display().warning(text)
        return {**result, "changed": False, "passage": passage, "record": kept}
