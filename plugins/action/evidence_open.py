"""Action plugin: make the folder of evidence for a run, and look for folders that nobody finished.

The fact ``evidence_path`` in its result tells the callback plugin ``migration_log`` where to write.
Evidence is no change of the managed system: `changed` is always false, and check mode opens a
folder, too.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

# Ansible loads a plugin by its path: what it shares with others lies beside it.
sys.path.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from evidence import bundle, record

FOLDER_MODE = 0o750
_TEXT = {"type": "str", "default": ""}


class ActionModule(ActionBase):
    """Takes ``root``, and what the folder is about."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Make the folder."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, given = self.validate_argument_spec(
            {
                "root": {"type": "path", "required": True},
                "action": {"type": "str", "required": True},
                **dict.fromkeys(("migration", "deployment", "database", "inventory"), _TEXT),
            }
        )
        root = Path(given.pop("root"))
        try:
            folder = _make(root, [given[name] for name in ("action", "migration", "deployment")])
            run = record.begin(
                folder,
                **{name: text or None for name, text in given.items()},
                check_mode=bool(self._task.check_mode),
            )
            found = bundle.unfinished(
                root, deployment=given["deployment"], database=given["database"], but=folder
            )
        except OSError as error:
            raise AnsibleActionFail(
                f"Can't make a folder of evidence in {root}: {error}"
            ) from error
        return {
            **result,
            "changed": False,
            "ansible_facts": {"evidence_path": str(folder), "evidence_started": run["started"]},
            "unfinished": [
                {"path": str(path), "name": path.name, **_about(record.read(path))}
                for path in found
            ],
        }


def _make(root: Path, about: list[str]) -> Path:
    """Make a folder that no other command has, though both may begin in the same second."""
    root.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    name = "-".join([datetime.now(UTC).strftime("%Y%m%d-%H%M%S"), *filter(None, about)])
    for number in range(1, 100):
        folder = root / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(mode=FOLDER_MODE)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{root / name} and 98 more of that name exist")


def _about(run: dict[str, Any]) -> dict[str, str]:
    return {name: str(run.get(name) or "") for name in ("action", "migration", "started")}
