"""Action plugin: all application hosts go into maintenance mode or out of it, at once.

Writers are stopped for as long as the slowest host takes, whatever their number. A host that
doesn't answer is a finding, and never leaves the others half told: all are judged at the end.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

# Ansible loads a plugin by its path: what it shares with others lies beside it.
_BESIDE = Path(__file__).resolve().parents[1]
sys.path += [str(_BESIDE / "module_utils"), str(_BESIDE / "plugin_utils")]

import everywhere
import gated
from release.application import inventory

_ARGUMENTS = {
    "state": {"type": "str", "choices": ["on", "off", "status", "check"], "required": True},
    "hosts": {"type": "list", "elements": "str", "default": []},
    "reason": {"type": "str", "default": ""},
    # Restart also where the flag was right already.
    "restart_always": {"type": "bool", "default": False},
    "health_seconds": {"type": "float", "default": 120},
    # Of the kind in the database, by host: `changed`, or the `problem`; for status what it `says`.
    "documents": {"type": "dict", "default": {}},
    # Whether a host that can't be told is a failure.
    "required": {"type": "bool", "default": True},
}


class ActionModule(ActionBase):
    """Runs `app_maintenance` on every application host."""

    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Run it and judge the hosts together."""
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        _result, given = self.validate_argument_spec(argument_spec=_ARGUMENTS)
        gated.require(self, task_vars)
        began, hosts = time.time(), given["hosts"]
        settings = {host: _settings(task_vars, host) for host in hosts}
        _refuse_wrong(settings)
        if given["state"] == "check":
            return {"changed": False, "hosts": hosts}
        documents = given["documents"]
        arguments = {
            host: inventory.arguments(
                settings[host],
                state=given["state"],
                reason=given["reason"],
                always=given["restart_always"],
                seconds=given["health_seconds"],
                changed=bool(documents.get(host, {}).get("changed")),
            )
            for host in hosts
            if not documents.get(host, {}).get("problem")
        }
        results = everywhere.run(
            self,
            task_vars,
            module="app_maintenance",
            arguments=arguments,
            become={host: bool(settings[host].get("app_become")) for host in hosts},
        )
        moments = {"began_at": began, "ended_at": time.time()}
        return {**self._judged(given, settings, results), **moments}

    def _judged(
        self,
        given: Mapping[str, Any],
        settings: Mapping[str, Mapping[str, Any]],
        results: Mapping[str, Mapping[str, Any]],
    ) -> dict[str, Any]:
        documents: Mapping[str, Any] = given["documents"]
        lost = {host: one["problem"] for host, one in documents.items() if one.get("problem")}
        lost |= {host: why for host, one in results.items() if (why := everywhere.problem_of(one))}
        outcomes = {host: one for host, one in results.items() if host not in lost}
        if given["state"] == "status":
            said = {host: one["says"] for host, one in documents.items() if "says" in one}
            told = inventory.words(given["hosts"], settings, outcomes, said)
            return {"changed": False, "says": told, "lost": lost}
        problems, untold = inventory.judge(outcomes, lost)
        found = {
            "state": given["state"],
            "changed": any(one["changed"] or one["restarted"] for one in outcomes.values()),
            "hosts": {host: _kept(one) for host, one in outcomes.items()},
            "untold": untold,
            "problems": problems,
            # Who was seen to refuse, or to accept again, and how many.
            "answering": [host for host, one in outcomes.items() if one["answered"] is True],
            "seen": sum(one["answered"] is True for one in outcomes.values()),
        }
        if problems and given["required"]:
            state = given["state"]
            found["failed"] = True
            found["msg"] = (
                f"Maintenance mode {state} isn't complete: {'; '.join(problems)}. Repair that, and "
                "run the same command again."
            )
        return found


def _settings(task_vars: Mapping[str, Any], host: str) -> dict[str, Any]:
    """Return what the inventory says of one host."""
    known = task_vars["hostvars"][host]
    try:
        return {name: known[name] for name in inventory.NAMES if name in known}
    except AnsibleError as error:
        raise AnsibleActionFail(
            f"The variables of the application host {host} can't be read, nothing was changed: "
            f"{error}"
        ) from error


def _refuse_wrong(settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse before the first host changes: a wrong one would leave some of them switched."""
    wrong, validator = [], ArgumentSpecValidator(dict(inventory.FLAG_SPEC))
    for host, one in settings.items():
        given = {name: one[name] for name in inventory.FLAG_SPEC if name in one}
        said = validator.validate(given).error_messages
        said = said or [text for text in [inventory.lacking(one)] if text]
        wrong += [f"{host}: {', '.join(said)}".rstrip(".")] if said else []
    if wrong:
        raise AnsibleActionFail(
            "The inventory describes the maintenance flag wrongly, nothing was changed: "
            f"{'; '.join(wrong)}. See docs/maintenance.md."
        )


def _kept(outcome: Mapping[str, Any]) -> dict[str, Any]:
    names = ("told", "changed", "restarted", "answered", "problems", "seconds")
    return {name: outcome[name] for name in names}
