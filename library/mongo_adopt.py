#!/usr/bin/python
"""Ansible module: take over what another migration tool has applied."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mongo_adopt
short_description: Take over the changelog of another migration tool
version_added: "1.1.0"
description:
  - Reads what migrate-mongo, Mongock, Flamingock, Liquibase or mongodb-migrations have recorded in
    a database, by the shape of their documents, and records each migration that they have applied
    as adopted. A migration document can name it then in its C(after), as C(tool:name).
  - Nothing of theirs is changed. What was adopted isn't ours to undo; it can be forgotten again.
  - Refuses while the tool's lock is held, and where a document isn't of the tool's shape.
options:
  state:
    description:
      - With V(present), what the tool has applied is taken over.
      - With V(absent), what was taken over is forgotten, unless a migration builds on it.
    type: str
    choices: [present, absent]
    default: present
  tool:
    description:
      - Whose changelog. Without it, those that are found in the collections that the tools use by
        default.
    type: str
    choices: [migrate-mongo, mongock, flamingock, liquibase, mongodb-migrations]
  collection:
    description:
      - Where O(tool) keeps its changelog, if not where it does by default.
    type: str
  lock_collection:
    description:
      - Where it keeps its lock, if not where it does by default.
    type: str
extends_documentation_fragment:
  - mongo_connection
  - mongo_run
  - mongo_run.change
attributes:
  check_mode:
    description: Says what it would take over, and writes nothing to the database.
    support: full
  diff_mode:
    description: Returns what changes.
    support: none
    details: RV(entries) lists all.
  idempotent:
    description: A second run changes nothing.
    support: full
notes:
  - The user needs the role C(readWrite) on O(database).
seealso:
  - module: mongo_migrate
  - module: mongo_migration_info
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Show what migrate-mongo has applied
  mongo_adopt:
    uri: "{{ mongo_uri }}"
    database: bizzai
    tool: migrate-mongo
  check_mode: true
  register: theirs

- name: Take it over
  mongo_adopt:
    uri: "{{ mongo_uri }}"
    database: bizzai
    tool: migrate-mongo
"""

RETURN = r"""
entries:
  description: What the tool has recorded, one row a migration.
  returned: success
  type: list
  elements: dict
  contains:
    migration:
      description: What a document names it by.
      returned: always
      type: str
      sample: migrate-mongo:20240501120000-users.js
    tool:
      description: The tool.
      returned: always
      type: str
      sample: migrate-mongo
    at:
      description: When it was applied, as far as the tool says so.
      returned: always
      type: dict
      sample: {"$date": "2024-05-01T12:00:00Z"}
    by:
      description: Its author, as far as the tool says so.
      returned: always
      type: str
      sample: asha
    state:
      description: Its state, in the tool's words, if it has some.
      returned: always
      type: str
      sample: EXECUTED
    why:
      description: Why it isn't taken over; empty if it is.
      returned: always
      type: str
      sample: ""
    new:
      description: Whether it wasn't taken over before.
      returned: always
      type: bool
      sample: true
new:
  description: How many are taken over now.
  returned: success
  type: int
  sample: 12
removed:
  description: What is forgotten, with O(state=absent).
  returned: success
  type: list
  elements: str
  sample: []
elapsed:
  description: Seconds that it took.
  returned: success, not in check mode
  type: float
  sample: 0.2
next:
  description: The next command.
  returned: success
  type: str
  sample: ansible-playbook status.yml
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mongo_migration import module_runner
from ansible.module_utils.mongo_migration.argument_specs import (
    CONNECTION_OPTIONS,
    CONNECTION_RULES,
    RUN_OPTIONS,
)


def take_over(client: Any, module: AnsibleModule) -> dict[str, Any]:
    from ansible.module_utils.mongo_migration.procedures import adopt

    p = module.params
    wanted = {
        "present": p["state"] == "present",
        "tool": p["tool"],
        "collection": p["collection"],
        "lock_collection": p["lock_collection"],
    }
    if module.check_mode:
        return adopt.plan(client, p["database"], **wanted)
    job = module_runner.job(client, module)
    return adopt.adopt(job, **wanted)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            **RUN_OPTIONS,
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "tool": {
                "type": "str",
                "choices": [
                    "migrate-mongo",
                    "mongock",
                    "flamingock",
                    "liquibase",
                    "mongodb-migrations",
                ],
            },
            "collection": {"type": "str"},
            "lock_collection": {"type": "str"},
        },
        supports_check_mode=True,
        **CONNECTION_RULES,
    )
    module_runner.run(module, take_over)


if __name__ == "__main__":
    main()
