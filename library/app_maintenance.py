#!/usr/bin/python
"""Ansible module: an application host goes into maintenance mode or out of it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_maintenance
short_description: Tell an application of maintenance mode, and see that it has understood
version_added: "1.1.0"
description:
  - Runs on the host of an application, once for a whole switch. Sets the flag, restarts the
    application where it reads the flag only then, waits until it is healthy, and sends a write that
    it has to refuse.
  - What goes wrong is not a failure of the module but one of RV(problems), since one unhealthy host
    must not keep the others from being told. The action C(app_maintenance_everywhere) runs it on
    all hosts at once and judges them together.
options:
  state:
    description:
      - The state that is wanted; V(status) changes nothing and reads what the application is told.
    type: str
    choices: ["on", "off", status]
    required: true
  flag:
    description:
      - How the application is told. Without it the flag was set elsewhere, as one in the database.
    type: dict
    suboptions:
      kind:
        description:
          - V(env_file) is a file with one line that the application reads when it starts, V(file)
            one whose existence counts, V(http) a request.
        type: str
        choices: [env_file, file, http]
        required: true
      path:
        description:
          - Of the file.
        type: path
      mode:
        description:
          - Of the file.
        type: str
        default: "0644"
      variable:
        description:
          - Its variable in the environment file.
        type: str
        default: MAINTENANCE_MODE
      on_value:
        description:
          - What the variable holds in maintenance mode; by default C(true).
        type: raw
      off_value:
        description:
          - What it holds otherwise; by default C(false).
        type: raw
      content:
        description:
          - What stands in the file, for people; by default O(reason).
        type: str
      url:
        description:
          - Of the request.
        type: str
      method:
        description:
          - Of the request.
        type: str
        default: PUT
      headers:
        description:
          - Of all requests. They are kept out of all output, and shown to no other address.
        type: dict
      seconds:
        description:
          - How long an answer may take.
        type: int
        default: 10
      "on":
        description:
          - What the request into maintenance mode has of its own, C(url), C(method), C(headers),
            C(body) and C(status). It is kept out of all output.
        type: dict
      "off":
        description:
          - The same for the request out of it.
        type: dict
      read:
        description:
          - C(url) and C(headers) of a request that says what the application was told, and the text
            that the answer C(contains) in maintenance mode. Then the call is only made where it is
            needed, and has to have an effect.
        type: dict
  changed:
    description:
      - Whether the flag that was set elsewhere changed.
    type: bool
    default: false
  reason:
    description:
      - Why, for whoever finds the file.
    type: str
    default: ""
  restart:
    description:
      - The command that makes the application read its flag. Without it nothing is restarted.
    type: dict
    suboptions:
      command:
        description:
          - The command.
        type: str
        required: true
      chdir:
        description:
          - Where it runs.
        type: path
      always:
        description:
          - Also where the flag was right already.
        type: bool
        default: false
      seconds:
        description:
          - How long it may take.
        type: float
        default: 120
  health:
    description:
      - A request that says whether the application is well. Without it nothing is waited for.
    type: dict
    suboptions:
      url:
        description:
          - Where to, seen from the host itself.
        type: str
        required: true
      status:
        description:
          - The codes that are well.
        type: list
        elements: int
        default: [200]
      seconds:
        description:
          - How long it may take until it is.
        type: float
        default: 120
  write:
    description:
      - A request that writes, C(url), C(method), C(headers), C(body), and the list C(status) of the
        codes that are right. It is kept out of all output. An accepted write stays in the database.
    type: dict
attributes:
  check_mode:
    description: Says what it would do, and changes nothing.
    support: full
  diff_mode:
    description: Returns what differs.
    support: none
  idempotent:
    description: A second run changes nothing.
    support: full
requirements:
  - Python 3.9 or later on the host where the module runs, and nothing else
notes:
  - The user needs the right to write the file and to run the command; with C(become) another one.
seealso:
  - module: mongo_maintenance
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Stop writes at this application
  app_maintenance:
    state: "on"
    flag:
      kind: env_file
      path: /etc/shop/maintenance.env
    restart:
      command: systemctl restart shop
    health:
      url: http://localhost:5000/api/health
    # Its headers are keys.
    write: "{{ app_write_probe | combine({'status': [503]}) }}"
"""

RETURN = r"""
told:
  description: Whether the flag was taken.
  returned: success
  type: bool
  sample: true
restarted:
  description: Whether the application was restarted, or would be in check mode.
  returned: success
  type: bool
  sample: true
says:
  description: What the application is told now; C(unknown) where that can't be read.
  returned: success
  type: str
  sample: "on"
answered:
  description: Whether the write was answered as it should be; null where none was sent.
  returned: success
  type: bool
  sample: true
problems:
  description: What went wrong, in words that follow the name of the host; empty where all is well.
  returned: success
  type: list
  elements: str
  sample: ["answers a write with 201"]
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 1.318
"""

import os
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.release.application import flags, switch

_FLAG = {
    "kind": {"type": "str", "choices": ["env_file", "file", "http"], "required": True},
    "path": {"type": "path"},
    "mode": {"type": "str", "default": "0644"},
    "variable": {"type": "str", "default": "MAINTENANCE_MODE"},
    "on_value": {"type": "raw"},
    "off_value": {"type": "raw"},
    "content": {"type": "str"},
    "url": {"type": "str"},
    "method": {"type": "str", "default": "PUT"},
    "headers": {"type": "dict", "no_log": True},
    "seconds": {"type": "int", "default": 10},
    "on": {"type": "dict", "no_log": True},
    "off": {"type": "dict", "no_log": True},
    "read": {"type": "dict", "no_log": True},
}


def replace_file(module: AnsibleModule, path: str, text: str, mode: str) -> bool:
    """Replace a file as a whole, as whoever owned it; return whether it changed."""
    try:
        same = Path(path).read_bytes() == text.encode()
    except OSError:
        same = False
    if not same:
        made = Path(f"{path}.{os.getpid()}.new")
        made.touch(mode=0o600)
        made.write_text(text, encoding="utf-8")
        module.atomic_move(str(made), path)
    return bool(module.set_mode_if_different(path, mode, not same))


def switch_host(module: AnsibleModule) -> dict[str, Any]:
    p = module.params

    def replace(path: str, text: str, mode: str) -> bool:
        return replace_file(module, path, text, mode)

    flag = flags.build(p["flag"], replace, content=p["reason"]) if p["flag"] else None
    if p["state"] == "status":
        return {**switch.Outcome(told=True, says=flag.says() if flag else "unknown").as_dict()}
    restart, health = p["restart"] or {}, p["health"] or {}
    wanted = switch.Wanted(
        flag=flag,
        on=p["state"] == "on",
        changed=p["changed"],
        restart=switch.Restart(
            command=restart.get("command"),
            folder=restart.get("chdir"),
            always=restart.get("always", False),
            seconds=restart.get("seconds", 120),
        ),
        health=switch.Health(
            url=health.get("url"),
            status=tuple(health.get("status", (200,))),
            seconds=health.get("seconds", 120),
        ),
        write=switch.write_of(p["write"]),
    )
    return switch.switch(wanted, check=module.check_mode).as_dict()


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["on", "off", "status"], "required": True},
            "flag": {"type": "dict", "options": _FLAG},
            "changed": {"type": "bool", "default": False},
            "reason": {"type": "str", "default": ""},
            "restart": {
                "type": "dict",
                "options": {
                    "command": {"type": "str", "required": True},
                    "chdir": {"type": "path"},
                    "always": {"type": "bool", "default": False},
                    "seconds": {"type": "float", "default": 120},
                },
            },
            "health": {
                "type": "dict",
                "options": {
                    "url": {"type": "str", "required": True},
                    "status": {"type": "list", "elements": "int", "default": [200]},
                    "seconds": {"type": "float", "default": 120},
                },
            },
            "write": {"type": "dict", "no_log": True},
        },
        supports_check_mode=True,
    )
    module.exit_json(**switch_host(module))


if __name__ == "__main__":
    main()
