"""Action plugin: the smoke tests of all application hosts, at once, judged together."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase

# Ansible loads a plugin by its path: what it shares with others lies beside it.
_BESIDE = Path(__file__).resolve().parents[1]
sys.path += [str(_BESIDE / "module_utils"), str(_BESIDE / "plugin_utils")]

import everywhere
from release.application import smoke


class ActionModule(ActionBase):
    """Runs `http_watch` on every application host, each request once."""

    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Ask, and fail with all wrong answers of all hosts."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        spec = {"hosts": {"type": "list", "elements": "str", "default": []}}
        _result, given = self.validate_argument_spec(argument_spec=spec)
        if self._task.check_mode:
            return {"changed": False, "hosts": {}}
        asked = {host: _requests(task_vars, host) for host in given["hosts"]}
        results = everywhere.run(
            self,
            task_vars,
            module="http_watch",
            arguments={
                host: {"requests": listed, "seconds": 0} for host, listed in asked.items() if listed
            },
        )
        found = {host: _wrong(result) for host, result in results.items()}
        ill = [
            f"{host} doesn't answer as expected: {'; '.join(wrong)}"
            for host, wrong in found.items()
            if wrong
        ]
        answer: dict[str, Any] = {"changed": False, "hosts": found}
        return {**answer, "failed": True, "msg": ". ".join(ill)} if ill else answer


def _requests(task_vars: Mapping[str, Any], host: str) -> list[dict[str, Any]]:
    known = task_vars["hostvars"][host]
    try:
        return smoke.requests({name: known[name] for name in smoke.NAMES if name in known})
    except (AnsibleError, KeyError) as error:
        raise AnsibleActionFail(
            f"The smoke tests of {host} can't be read from its variables: {error}"
        ) from error


def _wrong(result: Mapping[str, Any]) -> list[str]:
    if problem := everywhere.problem_of(result):
        return [problem]
    return smoke.wrong(result.get("tally"))
