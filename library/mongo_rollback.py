#!/usr/bin/python
"""Ansible module: undo a run of a migration exactly."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mongo_rollback
short_description: Roll a data migration of a MongoDB database back
version_added: "1.0.0"
description:
  - Walks the journal of one run backwards and restores what the run changed, from the before-images
    in the journal. Documents that had the field before keep it.
  - A document that no longer holds what the run wrote is a conflict. It is reported, and left
    alone unless O(on_conflict) says otherwise.
  - A document that the run inserted is deleted only if it is unchanged and nothing refers to it.
    An index is dropped only if the run built it.
  - It names the migration, and so never undoes another one. What may be undone, and what is run
    to undo a command, is said by the migration document on the controller; the run's own record
    in the database only says what documents held before.
options:
  definition:
    description:
      - The text of the migration document that the run was made with. Its digest must be the run's.
    type: str
    required: false
  without_document:
    description:
      - The name of the run, where its document isn't at hand any more. Then what is exact data is
        undone without it; a run with a command is refused.
    type: str
  migration:
    description:
      - The id of the migration, in quotes, for example V("004").
    type: str
    required: true
  run:
    description:
      - The run to undo. Without it, the newest run of the migration.
    type: str
  on_conflict:
    description:
      - What to do with documents that somebody changed after the run.
      - With V(keep), they stay as they are now, and are reported.
      - With V(restore), the field gets its old value in spite of the newer one.
      - With V(fail), the rollback stops at the first of them.
    type: str
    choices: [keep, restore, fail]
    default: keep
extends_documentation_fragment:
  - mongo_connection
  - mongo_fleet
  - mongo_definition
  - mongo_run
  - mongo_run.change
attributes:
  check_mode:
    description: Says what it would do, and writes nothing to the database.
    support: full
    details: Returns RV(plan).
  diff_mode:
    description: Returns what changes.
    support: none
    details: RV(plan) counts what is restored; mongo_verify proves that nothing else changed.
  idempotent:
    description: A second run changes nothing.
    support: full
notes:
  - The user needs the role C(readWrite) on O(database). While the write block is on it also needs
    the action C(bypassWriteBlockingMode), see M(mongo_maintenance).
seealso:
  - module: mongo_migrate
  - module: mongo_verify
  - module: mongo_restore
author: The migration playbooks' authors (@migration-playbooks)
"""

EXAMPLES = r"""
- name: Show what a rollback of 004 would restore
  mongo_rollback:
    uri: "{{ mongo_uri }}"
    database: bizzai
    migration: "004"
    definition: "{{ lookup('ansible.builtin.file', document) }}"
    definition_name: "{{ document }}"
  check_mode: true
  register: rollback

- name: Roll 004 back, and keep what users have changed since
  mongo_rollback:
    uri: "{{ mongo_uri }}"
    database: bizzai
    migration: "004"
    definition: "{{ lookup('ansible.builtin.file', document) }}"
    definition_name: "{{ document }}"
    change:
      ticket: CHG-1042
      operator: a.rao
"""

RETURN = r"""
fleet:
  description: >-
    Of many databases, how many are in which state (C(counts)), sums (C(numbers)), those that need
    attention with the reason, the C(canaries), and how many are left for C(later).
  returned: with O(fleet)
  type: dict
  sample:
    databases: 200
    counts: {"verified now": 199, "failed, rolled back": 1}
    numbers: {modified: 187300}
    attention: [{database: tenant_7, state: "failed, rolled back", reason: 1 of 31 checks failed}]
    canaries: []
    later: 0
fleet_text:
  description: The same as lines for people.
  returned: with O(fleet)
  type: list
  elements: str
  sample: ["verified now                     199 databases"]
pages:
  description: >-
    All that is known of each database, for the evidence. Base64 of zlib of lines of JSON, each
    C([database, page]).
  returned: with O(fleet)
  type: str
  sample: eJyLjgYAARUAuQ==
migration:
  description: The id of the migration.
  returned: success
  type: str
  sample: "004"
run:
  description: The run that was undone.
  returned: when the migration has a run
  type: str
  sample: 004-20261123020533-9f3c
phase:
  description: The phase of the run now. Where there is nothing to roll back, it says why.
  returned: success; C(interrupted) or C(rolling_back) on failure
  type: str
  sample: rolled_back
restored:
  description: Documents that got their former value back, or lost the field that they had not had.
  returned: success, not in check mode
  type: int
  sample: 19874
removed:
  description: Documents that the run had inserted and that were deleted.
  returned: success, not in check mode
  type: int
  sample: 0
dropped:
  description: Indexes that the run had built and that were dropped, each as C(collection.name).
  returned: success, not in check mode
  type: list
  elements: str
  sample: [items.organizationId_1, invoices.organizationId_1]
conflict_count:
  description: Documents that somebody had changed after the run.
  returned: success
  type: int
  sample: 1
conflicts:
  description: A few of them.
  returned: success
  type: list
  elements: dict
  contains:
    collection:
      description: The real name of the collection.
      returned: always
      type: str
      sample: invoices
    _id:
      description: The document, as extended JSON.
      returned: always
      type: raw
      sample: {"$oid": "656f1c0e8f1b2a0001c3d4e5"}
    expected:
      description: What the run had written.
      returned: always
      type: raw
      sample: {"$oid": "656f1c0e8f1b2a0001c3aaaa"}
    observed:
      description: What is there now.
      returned: always
      type: raw
      sample: {"$oid": "656f1c0e8f1b2a0001c3bbbb"}
    reason:
      description: Why it is a conflict, and what was done.
      returned: always
      type: str
      sample: changed after the run; kept
elapsed:
  description: Seconds that it took.
  returned: success, not in check mode
  type: float
  sample: 6.1
plan:
  description: What the journal holds for the rollback.
  returned: success
  type: dict
  sample: {restore: 19874, remove: 0, drop: [items.organizationId_1]}
warnings:
  description: What a person should look at. Ansible shows them too.
  returned: when there are any
  type: list
  elements: str
  sample: [1 document of invoices was changed after the run and was kept.]
next:
  description: The next command.
  returned: success, and on failure where there is one
  type: str
  sample: ansible-playbook verify.yml -e migration=004 -e expect=rolled_back
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.mongo_migration import module_runner
from ansible.module_utils.mongo_migration.argument_specs import (
    CONNECTION_OPTIONS,
    CONNECTION_RULES,
    DEFINITION_OPTIONS,
    FLEET_OPTIONS,
    RUN_OPTIONS,
)


def roll_back(client: Any, module: AnsibleModule, definition: Any) -> dict[str, Any]:
    from ansible.module_utils.mongo_migration.procedures import rollback

    p = module.params
    if (fleet := module_runner.fleet(client, module)) is not None:
        return roll_back_fleet(fleet, module, definition)
    target = {
        "migration": p["migration"],
        "definition": definition,
        "without_document": p["without_document"],
        "run": p["run"],
    }
    if module.check_mode:
        return rollback.plan(client[p["database"]], **target)
    return rollback.roll_back(
        module_runner.job(client, module),
        **target,
        on_conflict=p["on_conflict"],
    )


def roll_back_fleet(fleet: Any, module: AnsibleModule, definition: Any) -> dict[str, Any]:
    """Roll many databases back, or say what that would do."""
    from ansible.module_utils.mongo_migration.errors import MigrationError
    from ansible.module_utils.mongo_migration.fleet import undoing

    p = module.params
    if p["run"] or p["without_document"]:
        raise MigrationError("A run is one database's: name that database instead of a fleet.")
    if module.check_mode:
        return undoing.plan(fleet, p["migration"], definition)
    return undoing.undo(
        fleet,
        p["migration"],
        definition,
        on_conflict=p["on_conflict"],
        job=module_runner.job_in_lane(module),
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **CONNECTION_OPTIONS,
            **DEFINITION_OPTIONS,
            "definition": {"type": "str"},
            **RUN_OPTIONS,
            **FLEET_OPTIONS,
            "without_document": {"type": "str"},
            "migration": {"type": "str", "required": True},
            "run": {"type": "str"},
            "on_conflict": {
                "type": "str",
                "choices": ["keep", "restore", "fail"],
                "default": "keep",
            },
        },
        supports_check_mode=True,
        **CONNECTION_RULES,
    )
    module_runner.run(module, roll_back, before=module_runner.load_definition)


if __name__ == "__main__":
    main()
