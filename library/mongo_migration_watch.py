#!/usr/bin/python
"""Ansible module: watch a migration or rollback that another terminal runs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mongo_migration_watch
short_description: Watch a running migration or rollback from another terminal
version_added: "1.1.0"
description:
  - Returns when nobody works on the database any more. Meanwhile it writes how far the work is into
    O(progress_file), which the action plugin of the same name shows.
  - Never changes state. A signal ends the watching; the work goes on.
options:
  progress_file:
    description:
      - Path of a file that always holds the newest progress, as JSON.
    type: path
  between_seconds:
    description:
      - How long nobody may be at work before it counts as ended. A command is at work in several
        phases, with Ansible's own work between them.
    type: float
    default: 15.0
  seconds:
    description:
      - After which the watching ends by itself, with RV(at_work); 0 for never.
    type: float
    default: 0.0
extends_documentation_fragment:
  - mongo_connection
attributes:
  check_mode:
    description: Says what it would do, and writes nothing to the database.
    support: full
    details: The module never writes.
  diff_mode:
    description: Returns what differs.
    support: N/A
  idempotent:
    description: A second run changes nothing.
    support: full
notes:
  - The user needs the role C(read) on O(database).
seealso:
  - module: mongo_migration_control
  - module: mongo_migration_info
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Wait until nobody is at work
  mongo_migration_watch:
    uri: "{{ mongo_uri }}"
    database: bizzai
  register: watched
"""

RETURN = r"""
found:
  description: Whether anybody was at work.
  returned: success
  type: bool
  sample: true
at_work:
  description: Whether the work still goes on; only where a signal or O(seconds) ended the watching.
  returned: success
  type: bool
  sample: false
work:
  description: What was being done, and by whom; empty where nobody was at work.
  returned: success
  type: str
  sample: migrate 004 add-organization-to-all-models, by anna@bastion (process 4711)
run:
  description: The run that was worked at last.
  returned: success; null without one
  type: str
  sample: 004-20261123020533-9f3c
migration:
  description: The id of its migration.
  returned: success; null without one
  type: str
  sample: "004"
phase:
  description: The phase that it is in now.
  returned: success; null without one
  type: str
  sample: verified
error:
  description: Why it ended early.
  returned: success; null where it did not
  type: str
  sample: SIGTERM received
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mongo_migration import module_runner
from ansible.module_utils.mongo_migration.argument_specs import (
    CONNECTION_OPTIONS,
    CONNECTION_RULES,
)


def watch(client: Any, module: AnsibleModule) -> dict[str, Any]:
    from ansible.module_utils.mongo_migration.procedures import watching
    from ansible.module_utils.mongo_migration.support import progress, stop

    return watching.watch(
        client=client,
        database=module.params["database"],
        report=progress.sink(module.params["progress_file"]),
        stop=stop.listen(),
        between_seconds=module.params["between_seconds"],
        at_most_seconds=module.params["seconds"],
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            "progress_file": {"type": "path"},
            "between_seconds": {"type": "float", "default": 15.0},
            "seconds": {"type": "float", "default": 0.0},
        },
        supports_check_mode=True,
        **CONNECTION_RULES,
    )
    module_runner.run(module, watch)


if __name__ == "__main__":
    main()
