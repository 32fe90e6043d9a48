"""Action plugin: ask the gate, keep its answer in the evidence, and let this command pass or not.

It runs where ansible-playbook runs, whatever host the task is for: there are the checkout and the
evidence, and there alone is known who is logged in and what came by ``-e``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible import context
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible.utils.vars import load_extra_vars

# Ansible loads a plugin by its path: what it shares with others lies beside it.
sys.path.append(str(Path(__file__).resolve().parents[1] / "module_utils"))

from evidence import command, proof, record
from mongo_migration.document import definition
from mongo_migration.errors import DefinitionError
from release import asking, origin, passage
from release.errors import SettingError


class ActionModule(ActionBase):
    """Takes the options of the module of the same name."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Ask the gate; what it refuses is in the result."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validated, given = self.validate_argument_spec(asking.ARGUMENTS)
        given_by_command = load_extra_vars(self._loader)
        settings = {**given, "login": origin.login()}
        platform = origin.platform_user(
            given_by_command, context.CLIARGS.get("extra_vars") or (), os.environ
        )
        settings["operator"] = platform or given["operator"] or settings["login"]
        verdict = _ask(settings)
        passed = passage.issue(
            command=command.of_worker(),
            deployment=given["deployment"],
            missing=[*verdict["missing"], *verdict["unconfirmed"]],
            to_confirm=_to_confirm(given),
            evidence=given["record_in"] or "",
            with_evidence=given["record_required"],
        )
        came = origin.of(given_by_command)
        kept = {
            **verdict["change"],
            **{name: passed[name] for name in ("passed", "missing", "to_confirm")},
            "confirmed": given["database"] if given["confirm"] == given["database"] else "",
            "findings": verdict["findings"],
            "settings": asking.kept(settings),
            **came,
        }
        _keep(given, kept)
        lines = [*verdict["lines"], *_changed_settings(came["from_command_line"])]
        return {
            **result,
            **verdict,
            "changed": False,
            "lines": lines,
            "passage": passed,
            "record": kept,
        }


def _ask(settings: Mapping[str, Any]) -> dict[str, Any]:
    now = datetime.now(UTC)
    try:
        return asking.ask(settings, now=now, load=definition.load, prove=proof.problems).as_dict()
    except (SettingError, DefinitionError, OSError, ValueError) as error:
        raise AnsibleActionFail(str(error)) from error


def _to_confirm(given: Mapping[str, Any]) -> str:
    """Return the name that has to be typed after the plan, if it wasn't passed already."""
    if given["way_out"] or not given["confirmation_required"]:
        return ""
    return "" if given["confirm"] == given["database"] else str(given["database"])


def _keep(given: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
    """Write the answer down at once: whatever happens later, it was given."""
    if not given["record_in"]:
        return
    path = Path(given["record_in"]) / "gate.json"
    try:
        record.write_json(path, kept)
    except OSError as error:
        if given["record_required"]:
            raise AnsibleActionFail(f"Can't keep what the gate says in {path}: {error}") from error
        Display().warning(f"Can't keep what the gate says in {path}: {error}")


def _changed_settings(came: Mapping[str, Any]) -> list[str]:
    names = sorted(name for name in came if name.startswith("change_gate_"))
    return [f"settings of the gate that came by -e: {', '.join(names)}"] if names else []
