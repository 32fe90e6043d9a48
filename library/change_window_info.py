#!/usr/bin/python
"""Ansible module: hold the time of a planned change against windows and freezes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: change_window_info
short_description: Tell whether a planned time lies within a change window
version_added: "1.0.0"
description:
  - Reads the time of a planned change in the inventory's timezone, and says what speaks against it.
options:
  at:
    description: When it begins, such as C(2026-11-28 22:00), with or without an offset.
    type: str
    required: true
  to:
    description: When it ends.
    type: str
  minutes:
    description: How long it takes, without O(to).
    type: float
    default: 60
  windows:
    description: When a change is allowed; none means always. See C(docs/releases.md).
    type: list
    elements: dict
    default: []
  freezes:
    description: When no change is allowed.
    type: list
    elements: dict
    default: []
  timezone:
    description: Of all times that don't name one.
    type: str
    default: UTC
attributes:
  check_mode:
    description: Says what it would do, and changes nothing.
    support: full
    details: The module never changes anything.
  diff_mode:
    description: Returns what differs.
    support: N/A
  idempotent:
    description: A second run changes nothing.
    support: full
requirements:
  - timezone data, as in the package tzdata
notes:
  - The user needs no rights.
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Read the planned time
  change_window_info:
    at: "2026-11-28 22:00"
    minutes: 30
    timezone: Asia/Kolkata
    windows:
      - {days: [sat], from: "22:00", to: "04:00"}
  delegate_to: localhost
"""

RETURN = r"""
starts:
  description: When it begins, in UTC.
  returned: success
  type: str
  sample: "2026-11-28T16:30:00Z"
ends:
  description: When it ends, in UTC.
  returned: success
  type: str
  sample: "2026-11-28T17:00:00Z"
text:
  description: Both, for people.
  returned: success
  type: str
  sample: Sat 2026-11-28 22:00 Asia/Kolkata to 22:30
problems:
  description: Why it can't be then.
  returned: success
  type: list
  elements: str
  sample: ["no change window is open Mon 2026-11-30 10:00 Asia/Kolkata"]
hours_ahead:
  description: How far it is away.
  returned: success
  type: float
  sample: 25.5
"""

from datetime import UTC, datetime

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.release import appointment
from ansible.module_utils.release.calendar import Calendar
from ansible.module_utils.release.errors import SettingError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "at": {"type": "str", "required": True},
            "to": {"type": "str"},
            "minutes": {"type": "float", "default": 60},
            "windows": {"type": "list", "elements": "dict", "default": []},
            "freezes": {"type": "list", "elements": "dict", "default": []},
            "timezone": {"type": "str", "default": "UTC"},
        },
        supports_check_mode=True,
    )
    p = module.params
    try:
        calendar = Calendar(windows=p["windows"], freezes=p["freezes"], timezone=p["timezone"])
        made = appointment.make(
            at=p["at"],
            until=p["to"],
            minutes=p["minutes"],
            calendar=calendar,
            now=datetime.now(UTC),
        )
    except SettingError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **made.as_dict())


if __name__ == "__main__":
    main()
