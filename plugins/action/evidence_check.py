"""Action plugin: find a folder of evidence, check its seal, and render its report anew.

The folder itself isn't touched: the new report, which says what the check found, lies beside it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# Ansible loads a plugin by its path: what it shares with others lies beside it.
sys.path.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from evidence import bundle, record, report, seal, signature


class ActionModule(ActionBase):
    """Takes ``root`` and ``run``; without a run, lists what there is."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Check, or list."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, given = self.validate_argument_spec(
            {
                "root": {"type": "path", "required": True},
                "run": {"type": "str", "default": ""},
                "public_key": {"type": "str", "default": ""},
            }
        )
        root = Path(given["root"])
        try:
            if not given["run"]:
                return {
                    **result,
                    "changed": False,
                    "folders": [bundle.describe(folder) for folder in bundle.folders_in(root)],
                }
            folder = bundle.find(root, given["run"])
            found = _check(folder, given["public_key"])
        except (LookupError, OSError, ValueError) as error:
            raise AnsibleActionFail(str(error.args[0]) if error.args else str(error)) from error
        return {**result, "changed": False, **found}


def _check(folder: Path, public_key: str) -> dict[str, Any]:
    problems = seal.verify(folder)
    if public_key and seal.is_sealed(folder):
        problems += signature.verify(folder, public_key)
    rendered = folder.with_name(f"{folder.name}.html")
    record.write_text(
        rendered, report.render(folder, checked=report.Checked(record.now(), tuple(problems)))
    )
    return {
        "folder": str(folder),
        "record": record.read(folder),
        "problems": problems,
        "report": str(rendered),
        "signed": (folder / seal.SIGNATURE).exists(),
    }
