"""Action plugin: make the folder of evidence for a run, and look for folders that nobody finished.

The callback plugin ``migration_log`` learns from the result of this action where to write. Evidence
isn't a change of the managed system: `changed` is always false, and check mode opens a folder, too.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

# Ansible loads a plugin by its path: what it shares with others lies beside it.
sys.path.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from evidence import bundle, command, log_writer, opening, record

_TEXT = {"type": "str", "default": ""}
_NO_LOG = (
    "Ansible didn't load the callback plugin migration_log: this command leaves no log, and its "
    "evidence will be incomplete. Run it in the project's folder, or name the folder "
    "plugins/callback in ANSIBLE_CALLBACK_PLUGINS (under ansible-runner, too)."
)


class ActionModule(ActionBase):
    """Takes ``root``, what the folder is about, and whether nothing is done without it."""

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
                "required": {"type": "bool", "default": True},
                "action": {"type": "str", "required": True},
                **dict.fromkeys(("migration", "deployment", "database", "inventory"), _TEXT),
            }
        )
        root, required = Path(given.pop("root")), given.pop("required")
        opened = self._begin(root, given, required=required)
        warnings = [*opened.warnings, *([] if log_writer.is_listening() else [_NO_LOG])]
        for warning in warnings:
            Display().warning(warning)
        left = _left(root, given, opened)
        return {
            **result,
            "changed": False,
            "path": str(opened.folder or ""),
            "started": opened.run.get("started", record.now()),
            "problems": warnings,
            "unfinished": [
                {"path": str(path), "name": path.name, **_about(record.read(path))} for path in left
            ],
        }

    def _begin(self, root: Path, about: Mapping[str, str], *, required: bool) -> opening.Opened:
        try:
            return opening.begin(
                root,
                [about[name] for name in ("action", "migration", "deployment")],
                required=required,
                **{name: text or None for name, text in about.items()},
                check_mode=bool(self._task.check_mode),
                command=command.of_worker(),
            )
        except OSError as error:
            raise AnsibleActionFail(
                f"Can't make a folder of evidence in {root}: {error.strerror or error}. Without a "
                "place for the evidence nothing is begun: make it writable, or set evidence_root."
            ) from error


def _left(root: Path, about: Mapping[str, str], opened: opening.Opened) -> list[Path]:
    """Return what other commands left; that it can't be seen is not a reason to stop."""
    if opened.folder is None or opened.folder.parent != root:
        return []
    try:
        return bundle.unfinished(
            root,
            deployment=about["deployment"],
            database=about["database"],
            but=opened.folder,
        )
    except OSError as error:
        Display().warning(f"Can't see what earlier commands left in {root}: {error}")
        return []


def _about(run: dict[str, Any]) -> dict[str, str]:
    return {name: str(run.get(name) or "") for name in ("action", "migration", "started")}
