"""From the variables of application hosts to the arguments of `app_maintenance`, and back to words.

Pure, and known to the controller alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .flags import OFF, ON, UNKNOWN

DOCUMENT = "document"
# What is read of a host's variables.
NAMES = (
    "app_flag",
    "app_flag_path",
    "app_flag_mode",
    "app_restart_command",
    "app_reload_command",
    "app_command_chdir",
    "app_become",
    "app_health_url",
    "app_health_status",
    "app_maintenance_health_status",
    "app_write_probe",
)

_REQUEST: Mapping[str, Any] = {
    "url": {"type": "str"},
    "method": {"type": "str"},
    "headers": {"type": "dict"},
    "body": {"type": "raw"},
    "status": {"type": "list", "elements": "int"},
}
#: What the flag of a host may hold, as an argument spec of Ansible.
FLAG_SPEC: Mapping[str, Any] = {
    "app_flag_path": {"type": "str"},
    "app_flag": {
        "type": "dict",
        "required_if": [
            ["kind", "env_file", ["path"]],
            ["kind", "file", ["path"]],
            ["kind", "http", ["on", "off"]],
            ["kind", DOCUMENT, ["collection", "filter", "field"]],
        ],
        "options": {
            "kind": {
                "type": "str",
                "required": True,
                "choices": ["env_file", "file", "http", DOCUMENT],
            },
            "restart": {"type": "bool"},
            "path": {"type": "str"},
            "mode": {"type": "str"},
            "variable": {"type": "str"},
            "on_value": {"type": "raw"},
            "off_value": {"type": "raw"},
            "content": {"type": "str"},
            "url": {"type": "str"},
            "method": {"type": "str"},
            "headers": {"type": "dict"},
            "seconds": {"type": "int"},
            "on": {"type": "dict", "options": dict(_REQUEST)},
            "off": {"type": "dict", "options": dict(_REQUEST)},
            "read": {
                "type": "dict",
                "options": {
                    "url": {"type": "str", "required": True},
                    "headers": {"type": "dict"},
                    "contains": {"type": "str", "required": True},
                },
            },
            "collection": {"type": "str"},
            "filter": {"type": "dict"},
            "field": {"type": "str"},
        },
    },
}
# Of the kind in the database the host itself needs nothing; of the rest, what the module takes.
_FOR_THE_MODULE = frozenset(
    {"kind", "path", "mode", "variable", "on_value", "off_value", "content", "url", "method"}
    | {"headers", "seconds", ON, OFF, "read"}
)


def kind_of(host: Mapping[str, Any]) -> str:
    """Return how the application of *host* is told."""
    flag = host.get("app_flag")
    return str(flag["kind"]) if flag else "env_file"


def lacking(host: Mapping[str, Any]) -> str:
    """Return what the variables of *host* lack to be told at all; nothing if all is there.

    What they hold is checked by :data:`FLAG_SPEC` before.
    """
    if not host.get("app_flag") and not host.get("app_flag_path"):
        return "neither app_flag nor app_flag_path is set"
    if restarts(host) and not _command(host):
        return (
            "it reads its flag when it starts, and neither app_restart_command nor "
            "app_reload_command is set"
        )
    return ""


def restarts(host: Mapping[str, Any]) -> bool:
    """Return whether the application has to be restarted to read its flag."""
    flag = host.get("app_flag") or {}
    if flag.get("restart") is not None:
        return bool(flag["restart"])
    return kind_of(host) == "env_file"


def arguments(
    host: Mapping[str, Any],
    *,
    state: str,
    reason: str,
    always: bool,
    seconds: float,
    changed: bool = False,
) -> dict[str, Any]:
    """Return the arguments of the module for one host.

    Args:
        host: its variables.
        state: on, off or status.
        reason: why, for people.
        always: restart also where the flag was right already.
        seconds: how long its restart, and then its health, may take.
        changed: whether a flag in the database changed.
    """
    found: dict[str, Any] = {"state": state, "reason": reason, "changed": changed}
    if flag := _flag(host):
        found["flag"] = flag
    if state == "status":
        return found
    on = state == ON
    if restarts(host):
        found["restart"] = {
            "command": _command(host),
            "always": always,
            "seconds": seconds,
            **({"chdir": host["app_command_chdir"]} if host.get("app_command_chdir") else {}),
        }
    if host.get("app_health_url"):
        status = host.get("app_maintenance_health_status" if on else "app_health_status")
        found["health"] = {
            "url": host["app_health_url"],
            "status": list(status or [200]),
            "seconds": seconds,
        }
    if write := _write(host, on=on):
        found["write"] = write
    return found


def judge(
    outcomes: Mapping[str, Mapping[str, Any]], lost: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Return what went wrong, in words, and which hosts were not told.

    Args:
        outcomes: what the module said of each host that answered.
        lost: why a host didn't answer, or couldn't be told, by host.
    """
    problems = [f"{host} did not take the flag: {why}" for host, why in lost.items()]
    problems += [
        f"{host} {problem}" for host, found in outcomes.items() for problem in found["problems"]
    ]
    untold = [*lost, *(host for host, found in outcomes.items() if not found["told"])]
    return problems, untold


def words(
    hosts: Sequence[str],
    settings: Mapping[str, Mapping[str, Any]],
    outcomes: Mapping[str, Mapping[str, Any]],
    documents: Mapping[str, str],
) -> dict[str, str]:
    """Return what each host is told now, for a table.

    Args:
        hosts: all of them.
        settings: their variables.
        outcomes: of the module; a host that can't be reached has none.
        documents: what the documents of the kind in the database say, by host.
    """
    found = {}
    for host in hosts:
        flag = settings[host].get("app_flag") or {}
        said = outcomes[host]["says"] if host in outcomes else "unreachable"
        if host in documents:
            said = documents[host]
        elif said == UNKNOWN and kind_of(settings[host]) == "http" and not flag.get("read"):
            said = "not readable: app_flag.read is not set"
        found[host] = said
    return found


def _flag(host: Mapping[str, Any]) -> dict[str, Any]:
    given = host.get("app_flag")
    if not given:
        mode = host.get("app_flag_mode")
        short = {"kind": "env_file", "path": host["app_flag_path"]}
        return {**short, **({"mode": mode} if mode else {})}
    if given["kind"] == DOCUMENT:
        return {}
    flag = {key: value for key, value in given.items() if key in _FOR_THE_MODULE}
    if given["kind"] == "env_file" and not flag.get("mode") and host.get("app_flag_mode"):
        flag["mode"] = host["app_flag_mode"]
    return flag


def _command(host: Mapping[str, Any]) -> str:
    return str(host.get("app_restart_command") or host.get("app_reload_command") or "")


def _write(host: Mapping[str, Any], *, on: bool) -> dict[str, Any]:
    """Return the write to try: in maintenance mode the right answer is a refusal.

    An accepted write stays in the database, so afterwards it is only tried where the inventory says
    which answer is right.
    """
    probe = host.get("app_write_probe")
    if not probe or not (on or probe.get("accepted_status")):
        return {}
    status = probe.get("refused_status") or [503] if on else probe["accepted_status"]
    known = {key: probe[key] for key in ("method", "headers", "body") if key in probe}
    return {**known, "url": probe["url"], "status": list(status)}
