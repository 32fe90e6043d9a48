#!/usr/bin/python
"""Ansible module: steer a running migration or rollback from another terminal."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mongo_migration_control
short_description: Pause, resume, abort or retune a running migration or rollback
version_added: "1.0.0"
description:
  - Writes a command into the document of the run that is at work on the database. The process that
    does the run reads it with its next checkpoint, that is at the end of its batch; during the
    build of an index, it reads an abort only.
  - Returns when the command is written. The progress line of the run, and C(status.yml), show that
    it is obeyed.
  - Fails where no run is at work.
options:
  action:
    description:
      - With V(pause), the run stands still after its batch and keeps its lease.
      - With V(resume), a paused run goes on, and an abort that wasn't obeyed yet is taken back.
      - With V(abort), the run ends after its batch, in the phase C(interrupted), or
        C(rolling_back) for a rollback. The command that began it resumes it.
      - With V(limits), O(batch_size) and O(throttle) replace what was given here before; given
        none, the settings that the run was started with count again.
    type: str
    choices: [pause, resume, abort, limits]
    required: true
  batch_size:
    description:
      - How many documents are written at a time. A rollback keeps the batches of its run.
    type: int
  throttle:
    description:
      - How much the run may delay others, as in M(mongo_migrate).
    type: dict
    suboptions:
      pause_seconds:
        description: The least pause after each batch, at most 60.
        type: float
      target_seconds:
        description: How long a batch may take.
        type: float
      max_lag_seconds:
        description: How far the majority of the members may be behind.
        type: float
      max_latency_ratio:
        description: How many times slower other users' operations may be than before the run.
        type: float
      min_free_tickets:
        description: Share of the storage engine's tickets to leave free.
        type: float
      max_dirty_ratio:
        description: Share of the cache that may be dirty.
        type: float
extends_documentation_fragment:
  - mongo_connection
attributes:
  check_mode:
    description: Says what it would do, and writes nothing to the database.
    support: full
  diff_mode:
    description: Returns what would differ.
    support: none
  idempotent:
    description: A second run changes nothing.
    support: full
notes:
  - The user needs the role C(readWrite) on O(database). While the write block is on it also needs
    the action C(bypassWriteBlockingMode), see M(mongo_maintenance).
seealso:
  - module: mongo_migrate
  - module: mongo_rollback
  - module: mongo_migration_info
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Let the run stand still
  mongo_migration_control:
    uri: "{{ mongo_uri }}"
    database: bizzai
    action: pause

- name: Let it go on, more gently
  mongo_migration_control:
    uri: "{{ mongo_uri }}"
    database: bizzai
    action: limits
    batch_size: 200
    throttle:
      pause_seconds: 0.5

- name: End it where it can be resumed
  mongo_migration_control:
    uri: "{{ mongo_uri }}"
    database: bizzai
    action: abort
"""

RETURN = r"""
action:
  description: The command.
  returned: success
  type: str
  sample: pause
run:
  description: The run that it was given to.
  returned: success
  type: str
  sample: 004-20261123020533-9f3c
migration:
  description: The id of the run's migration.
  returned: success
  type: str
  sample: "004"
name:
  description: The name of the run's migration.
  returned: success
  type: str
  sample: add-organization-to-all-models
phase:
  description: The phase that the run was in.
  returned: success
  type: str
  sample: running
holder:
  description: Whose process does the run, and on which host.
  returned: success
  type: dict
  sample: {user: anna, host: bastion, pid: 4711}
counts:
  description: What the run has done so far.
  returned: success
  type: dict
  sample: {modified: 12000, inserted: 0, skipped: 0, batches: 12}
limits:
  description: The limits given from another terminal that count now.
  returned: success
  type: dict
  sample: {batch_size: 200, pause_seconds: 0.5}
control:
  description: What the run is asked for now, by whom and since when; null if for nothing.
  returned: success
  type: dict
  sample: {action: pause, by: anna@bastion, at: "2026-11-23T02:06:10Z"}
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
    LIMIT_OPTIONS,
)


def give(client: Any, module: AnsibleModule) -> dict[str, Any]:
    from ansible.module_utils.mongo_migration.ledger import control

    p = module.params
    return control.give(
        client=client,
        database=p["database"],
        action=p["action"],
        limits={**(p["throttle"] or {}), "batch_size": p["batch_size"]},
        operator=module_runner.operator(),
        check=module.check_mode,
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            "action": {
                "type": "str",
                "choices": ["pause", "resume", "abort", "limits"],
                "required": True,
            },
            "batch_size": {"type": "int"},
            "throttle": {"type": "dict", "options": LIMIT_OPTIONS},
        },
        supports_check_mode=True,
        **CONNECTION_RULES,
    )
    module_runner.run(module, give)


if __name__ == "__main__":
    main()
