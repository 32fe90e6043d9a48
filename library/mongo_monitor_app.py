#!/usr/bin/python
"""Ansible module: ask an application on its own host how it is, and count lines of its log."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mongo_monitor_app
short_description: Ask an application how it is, and count lines of its log
version_added: "1.0.0"
description:
  - Makes health requests from the application's own host and returns response time, share of
    errors and throughput; counts the lines of a log that match a pattern.
  - Needs nothing but Python on that host. Hand the result to M(mongo_monitor).
options:
  name:
    description:
      - What the instance is called.
    type: str
    required: true
  url:
    description: The health request. Without it nothing is asked.
    type: str
  status:
    description: The codes that are well.
    type: list
    elements: int
    default: [200]
  timeout:
    description: Seconds until a request counts as failed.
    type: float
    default: 5.0
  log:
    description:
      - C(path) of a log and the regular expression C(pattern) whose matching lines are counted;
        with C(request_pattern), the lines that stand for a request are the throughput.
    type: dict
  requests:
    description: How many health requests to make.
    type: int
    default: 5
  seconds:
    description: For how long to follow the log.
    type: float
    default: 2.0
attributes:
  check_mode:
    description: Says what it would do, and writes nothing.
    support: full
    details: The module never writes.
  diff_mode:
    description: Returns what differs.
    support: N/A
  idempotent:
    description: A second run changes nothing.
    support: full
requirements:
  - python >= 3.8 on the application's host
notes:
  - The user needs to be able to read the log.
seealso:
  - module: mongo_monitor
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Ask the application
  mongo_monitor_app:
    name: app1
    url: http://localhost:5000/api/health/ready
    log:
      path: /var/log/bizzai/app.log
      pattern: ' (ERROR|FATAL) '
  register: seen
"""

RETURN = r"""
application:
  description: What was found; what was not asked is missing.
  returned: success
  type: dict
  sample:
    name: app1
    response_ms: 4.1
    error_ratio: 0.0
    requests_per_second: 240.0
    status: 200
    error: ""
    log_matches: 3
    log_matches_per_minute: 0.0
    gaps: []
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mongo_migration.argument_specs import APPLICATION_OPTIONS
from ansible.module_utils.mongo_migration.monitor import apps


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            **APPLICATION_OPTIONS,
            "requests": {"type": "int", "default": 5},
            "seconds": {"type": "float", "default": 2.0},
        },
        supports_check_mode=True,
    )
    p = module.params
    try:
        (app,) = apps.make([p])
    except apps.AppError as error:
        module.fail_json(msg=str(error))
    if p["log"]:
        time.sleep(max(0.0, p["seconds"]))
    module.exit_json(changed=False, application=app.look(p["requests"]))


if __name__ == "__main__":
    main()
