#!/usr/bin/python
"""Ansible module: end the way back of runs on purpose."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mongo_prune
short_description: Remove what runs of migrations hold for their way back
version_added: "1.1.0"
description:
  - Removes the journal of a run, and the collections that it set aside, for good. From then on the
    run can't be rolled back; it stays in the changelog, in the phase C(pruned), and counts as
    applied.
  - Only runs that are verified, or rolled back, are pruned, and only after O(after_days).
  - A run is marked first, as C(pruning), and emptied then. Killed, the same call goes on.
options:
  migration:
    description:
      - The id of the migration whose runs are pruned, in quotes, for example V("004").
      - Without it, the runs of all migrations that are old enough.
    type: str
  after_days:
    description:
      - For so many days after its verification, or its rollback, a run is kept.
    type: float
    default: 30
  confirm:
    description:
      - The name of the run that is pruned; where there are several, the name of the database.
        RV(confirm) of a check says which. Nothing is removed without it.
    type: str
    default: ""
  export:
    description:
      - A folder that the journal of each run is written to before it is removed, as extended JSON,
        an entry a line, compressed, readable by its owner alone.
    type: str
extends_documentation_fragment:
  - mongo_connection
  - mongo_run
  - mongo_run.change
attributes:
  check_mode:
    description: Says what it would remove, in bytes, and removes nothing.
    support: full
    details: Returns RV(runs), RV(kept) and RV(confirm).
  diff_mode:
    description: Returns what changes.
    support: none
    details: RV(runs) lists all that is removed.
  idempotent:
    description: A second run changes nothing.
    support: full
notes:
  - The user needs the role C(readWrite) on O(database).
seealso:
  - module: mongo_rollback
  - module: mongo_migration_info
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Show what the way back of 004 holds
  mongo_prune:
    uri: "{{ mongo_uri }}"
    database: bizzai
    migration: "004"
  check_mode: true
  register: held

- name: End the way back of 004
  mongo_prune:
    uri: "{{ mongo_uri }}"
    database: bizzai
    migration: "004"
    confirm: 004-20261123020533-9f3c
"""

RETURN = r"""
runs:
  description: The runs that are pruned, each with what it holds.
  returned: success
  type: list
  elements: dict
  contains:
    run:
      description: The run.
      returned: always
      type: str
      sample: 004-20261123020533-9f3c
    migration:
      description: The id of its migration.
      returned: always
      type: str
      sample: "004"
    name:
      description: The name of its migration.
      returned: always
      type: str
      sample: add-organization-to-all-models
    phase:
      description: The phase before.
      returned: always
      type: str
      sample: verified
    backup:
      description: The backup that was made before the run, if there is one.
      returned: always
      type: str
      sample: /backups/mongodb/bizzai-20261123T020500Z.archive.gz
    entries:
      description: Entries of its journal.
      returned: always
      type: int
      sample: 214
    journal_bytes:
      description: Their bytes, not compressed.
      returned: always
      type: int
      sample: 1048576
    aside:
      description: The collections that it set aside, each with C(name), C(documents) and C(bytes).
      returned: always
      type: list
      elements: dict
      sample: []
    bytes:
      description: Bytes of all of it, not compressed.
      returned: always
      type: int
      sample: 1048576
kept:
  description: The runs that aren't pruned, and why.
  returned: success
  type: list
  elements: dict
  sample: []
bytes:
  description: Bytes of all runs together, not compressed.
  returned: success
  type: int
  sample: 1048576
confirm:
  description: What O(confirm) has to be.
  returned: success
  type: str
  sample: 004-20261123020533-9f3c
exported:
  description: The files that journals were written to.
  returned: success, not in check mode
  type: list
  elements: str
  sample: []
elapsed:
  description: Seconds that it took.
  returned: success, not in check mode
  type: float
  sample: 2.1
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


def prune_runs(client: Any, module: AnsibleModule) -> dict[str, Any]:
    from ansible.module_utils.mongo_migration.procedures import prune

    p = module.params
    wanted = {"migration": p["migration"], "after_days": p["after_days"]}
    if module.check_mode:
        return prune.plan(client, p["database"], **wanted)
    job = module_runner.job(client, module)
    return prune.prune(job, **wanted, confirm=p["confirm"], export=p["export"])


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            **RUN_OPTIONS,
            "migration": {"type": "str"},
            "after_days": {"type": "float", "default": 30},
            "confirm": {"type": "str", "default": ""},
            "export": {"type": "str"},
        },
        supports_check_mode=True,
        **CONNECTION_RULES,
    )
    module_runner.run(module, prune_runs)


if __name__ == "__main__":
    main()
