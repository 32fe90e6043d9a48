#!/usr/bin/python
"""Ansible module: everything on the server and in the data that could stop a migration."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mongo_preflight
short_description: Look days before for everything that could stop a migration
version_added: "1.0.0"
description:
  - Checks the server, the user's privileges, the changelog, the load, the oplog, the room, and all
    data that the migration would refuse. All of it, not up to the first problem.
  - Never writes, and never fails because of what it finds; look at RV(checks).
options:
  thresholds:
    description:
      - Limits of metrics in place of the defaults, as for M(mongo_monitor).
    type: dict
    default: {}
  long_operation_seconds:
    description:
      - From when on an operation is long.
    type: float
    default: 10.0
  maintenance:
    description:
      - Whether the migration will run in maintenance mode. V(auto) follows its C(downtime).
    type: str
    choices: [auto, "on", "off"]
    default: auto
  applications:
    description:
      - Hosts whose application can be seen to refuse a write in maintenance mode. Without one, only
        the server's write block can keep writers out.
    type: list
    elements: str
    default: []
  write_block:
    description:
      - How maintenance mode will use the server's write block.
    type: str
    choices: [auto, required, never]
    default: auto
  rehearsed:
    description:
      - What a rehearsal on a copy of the data measured, as for M(mongo_migration_info).
    type: dict
    default: {}
extends_documentation_fragment:
  - mongo_connection
  - mongo_definition
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
  - The user needs to be the one that will migrate, since its privileges are checked.
seealso:
  - module: mongo_migration_info
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Look before the night
  mongo_preflight:
    uri: "{{ mongo_uri }}"
    database: bizzai
    definition: "{{ lookup('ansible.builtin.file', document) }}"
    definition_name: "{{ document }}"
  vars:
    document: playbooks/migrations/004-add-organization-to-all-models.yml
  register: looked
"""

RETURN = r"""
checks:
  description: What was looked at.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: What it is about.
      returned: always
      type: str
      sample: oplog
    status:
      description: One of C(ok), C(warning), C(problem).
      returned: always
      type: str
      sample: warning
    found:
      description: What was found.
      returned: always
      type: str
      sample: the migration writes about 380 MB of an oplog of 1 GB
    fix:
      description: What to do; empty where all is well.
      returned: always
      type: str
      sample: "on each member: db.adminCommand({replSetResizeOplog: 1, size: 1521})"
migration:
  description: The migration; see M(mongo_migration_info).
  returned: success
  type: dict
  sample: {id: "004", name: add-organization-to-all-models, downtime: recommended}
state:
  description: The phase of its newest run, or C(pending) without one.
  returned: success
  type: str
  sample: pending
plan:
  description: What the migration would do; see M(mongo_migrate).
  returned: success; null where a collection is missing
  type: dict
  sample: {totals: {documents: 20000, to_change: 19874}}
plan_text:
  description: The plan as lines of an aligned table, for people.
  returned: with RV(plan)
  type: list
  elements: str
  sample: [Migration 004 add-organization-to-all-models on database bizzai]
lint:
  description: What the lint says of the document.
  returned: success
  type: list
  elements: str
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mongo_migration import module_runner
from ansible.module_utils.mongo_migration.argument_specs import (
    CONNECTION_OPTIONS,
    CONNECTION_RULES,
    DEFINITION_OPTIONS,
)


def examine(client: Any, module: AnsibleModule, definition: Any) -> dict[str, Any]:
    from ansible.module_utils.mongo_migration.procedures import plan, plan_text, preflight

    p = module.params
    found = preflight.examine(
        client=client,
        database=p["database"],
        definition=definition,
        thresholds=p["thresholds"],
        long_operation_seconds=p["long_operation_seconds"],
        maintenance=preflight.Maintenance(
            needed=p["maintenance"] == "on"
            or (p["maintenance"] == "auto" and definition.downtime != "none"),
            write_block=p["write_block"],
            applications=p["applications"],
        ),
    )
    if found["plan"]:
        found["plan"] = plan.rehearsed(found["plan"], p["rehearsed"])
    return plan_text.illustrate(found)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            **DEFINITION_OPTIONS,
            "thresholds": {"type": "dict", "default": {}},
            "long_operation_seconds": {"type": "float", "default": 10.0},
            "maintenance": {"type": "str", "choices": ["auto", "on", "off"], "default": "auto"},
            "applications": {"type": "list", "elements": "str", "default": []},
            "write_block": {
                "type": "str",
                "choices": ["auto", "required", "never"],
                "default": "auto",
            },
            "rehearsed": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
        **CONNECTION_RULES,
    )
    module_runner.run(module, examine, before=module_runner.load_definition)


if __name__ == "__main__":
    main()
